// One run: what it is doing, how it descends, what it measured, what it said, what it was told to do.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { Run } from "../api";
import { RunCharts } from "../charts/run_charts";
import { DescentCard } from "../descent/card";
import { courseOf, runs, watch } from "../lib/live";
import { get, wordsOf } from "../lib/http";
import { to } from "../lib/route";
import { Badge, Note } from "../ui/parts";
import { Hud } from "./run_hud";
import { RunActions } from "./run_actions";
import { RunRecord } from "./run_record";
import { Verdict } from "./verdict";

export function RunView({ runId }: { runId: string }) {
  const run = useRun(runId);
  useEffect(() => (run.known ? watch(runId) : undefined), [runId, !run.known]);
  const course = courseOf(runId);
  if (!run.known) return html`<header class="page-head"><h1 class="mono">${runId}</h1></header>${run.fault && html`<${Note} tone="bad">${run.fault}<//>`}`;
  const known = run.known;
  return html`<header class="page-head"><div><p class="crumb"><a href=${to("runs")}>Runs</a></p>
      <h1 class="mono" data-testid="run-id">${runId}</h1><${Badge} status=${known.stalled ? "stalled" : known.status} testid="run-status" /></div>
      <${RunActions} run=${known} course=${course} /></header>
    ${known.reason && html`<${Note} tone=${known.status === "paused" || known.status === "cancelled" ? "plain" : "bad"} testid="reason">${known.reason}<//>`}
    <${Hud} run=${known} course=${course} />
    ${known.promotion && html`<${Verdict} promotion=${known.promotion} />`}
    <div class="studio-grid"><${DescentCard} run=${known} course=${course} /><${RunCharts} course=${course} run=${known} /></div>
    <${RunRecord} run=${known} course=${course} />`;
}

/** The run as the stream tells it; asked for once when it is older than the list. */
function useRun(runId: string): { known: Run | null; fault: string } {
  const listed = runs.value.get(runId) ?? null;
  const [asked, setAsked] = useState<Run | null>(null);
  const [fault, setFault] = useState("");
  useEffect(() => {
    if (!listed) get<Run>(`/api/agent/train/run/${encodeURIComponent(runId)}`).then(setAsked, (error) => setFault(wordsOf(error)));
  }, [runId, !listed]);
  return { known: listed ?? asked, fault };
}
