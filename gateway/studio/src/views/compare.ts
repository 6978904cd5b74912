// Two runs side by side: what they were told, what came of it, and whether the comparison is fair.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { Diff, Run } from "../api";
import { CompareCharts } from "../charts/compare_charts";
import { DescentCard } from "../descent/card";
import { DASH, duration, num, signed } from "../lib/format";
import { post, wordsOf } from "../lib/http";
import { courseOf, runs, watch } from "../lib/live";
import { to } from "../lib/route";
import { Card, Note } from "../ui/parts";

export function CompareView({ baseline, current }: { baseline: string; current: string }) {
  const [diff, setDiff] = useState<Diff | null>(null);
  const [fault, setFault] = useState("");
  const state = [baseline, current].map((id) => runs.value.get(id)?.status).join();
  useEffect(() => {
    post<Diff>(`/api/agent/train/run/${encodeURIComponent(current)}/diff`, { baseline_run_id: baseline, current_run_id: current }).then(setDiff, (error) => setFault(wordsOf(error)));
  }, [baseline, current, state]);
  const areKnown = runs.value.has(baseline) && runs.value.has(current);
  useEffect(() => {
    const stop = areKnown ? [watch(baseline), watch(current)] : [];
    return () => stop.forEach((end) => end());
  }, [baseline, current, areKnown]);
  const [before, after] = [runs.value.get(baseline), runs.value.get(current)];
  return html`<header class="page-head"><div><p class="crumb"><a href=${to("runs")}>Runs</a></p><h1>Comparison</h1></div>
      <a class="button" href=${to("compare", current, baseline)} data-testid="swap">Swap</a></header>
    ${fault && html`<${Note} tone="bad">${fault}<//>`}
    ${diff && html`<${Outcome} diff=${diff} />`}
    ${diff && html`<${Deltas} diff=${diff} />`}
    ${before && after && html`<div class="studio-grid"><${DescentCard} run=${after} course=${courseOf(current)} overlay=${baseline} /><${CompareCharts} baseline=${courseOf(baseline)} current=${courseOf(current)} /></div><${Plans} before=${before} after=${after} />`}`;
}

function Outcome({ diff }: { diff: Diff }) {
  if (!diff.compatible) return html`<${Note} tone="warn" testid="diff-outcome">Their results cannot be compared: ${diff.reason}.<//>`;
  if (diff.improved === null) return html`<${Note} testid="diff-outcome">There is no result to compare yet.<//>`;
  return html`<${Note} tone=${diff.improved ? "good" : "plain"} testid="diff-outcome">The current run's best ${diff.primary_metric.replace("_", " ")} is ${diff.improved ? "lower, which is better" : "not lower"}, on the same held-out rows.<//>`;
}

function Deltas({ diff }: { diff: Diff }) {
  const rows = [
    ["Best eval loss", num(diff.baseline.primary_best), num(diff.current.primary_best), signed(diff.delta_best)],
    ["Final eval loss", num(diff.baseline.primary_final), num(diff.current.primary_final), signed(diff.delta_final)],
    ["Best at step", num(diff.baseline.best_step), num(diff.current.best_step), ""],
    ["Time to best", duration(diff.baseline.time_to_best_secs), duration(diff.current.time_to_best_secs), diff.delta_time_to_best_secs === null ? DASH : `${signed(diff.delta_time_to_best_secs)} s`],
    ["Deviation of the last five", num(diff.baseline.stability_stddev), num(diff.current.stability_stddev), signed(diff.delta_stability_stddev)],
  ] as const;
  return html`<${Card} id="diff" title="Results" class="flush"><div class="scroll"><table class="table"><thead><tr><th scope="col"><span class="sr">Number</span></th>
    <th scope="col" class="n"><a class="mono" href=${to("runs", diff.baseline_run_id)}>${diff.baseline_run_id}</a><br /><small>baseline</small></th><th scope="col" class="n"><a class="mono" href=${to("runs", diff.current_run_id)}>${diff.current_run_id}</a><br /><small>current</small></th><th scope="col" class="n">current − baseline</th></tr></thead>
    <tbody>${rows.map(([name, ...cells]) => html`<tr key=${name}><th scope="row">${name}</th>${cells.map((cell, i) => html`<td class="n" key=${i}>${cell}</td>`)}</tr>`)}</tbody></table></div><//>`;
}

function Plans({ before, after }: { before: Run; after: Run }) {
  const names = Object.keys(after.plan) as (keyof Run["plan"])[];
  const differing = names.filter((name) => JSON.stringify(before.plan[name]) !== JSON.stringify(after.plan[name]));
  return html`<${Card} id="plans" title="Settings that differ" class="flush">${!differing.length ? html`<p class="hint pad">None: both were told the same.</p>`
    : html`<div class="scroll"><table class="table"><thead><tr><th scope="col">Setting</th><th scope="col">baseline</th><th scope="col">current</th></tr></thead><tbody>${differing.map((name) => html`<tr key=${name}><th scope="row" class="mono">${name}</th><td class="mono">${String(before.plan[name])}</td><td class="mono">${String(after.plan[name])}</td></tr>`)}</tbody></table></div>`}<//>`;
}
