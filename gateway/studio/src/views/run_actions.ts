// What a person can ask of a run, as its state allows it.
import { html } from "htm/preact";
import type { Asked, Promoted, RolledBack, Run } from "../api";
import type { Course } from "../lib/course";
import { headers, post, reach } from "../lib/http";
import { moves } from "../lib/live";
import { short } from "../lib/format";
import { go } from "../lib/route";
import { Action, save } from "../ui/parts";

const ENDED = new Set(["completed", "failed", "cancelled", "interrupted", "diverged"]);

export function RunActions({ run }: { run: Run; course: Course }) {
  const ask = (wish: string) => () => post<Asked>(`/api/agent/train/run/${encodeURIComponent(run.run_id)}/${wish}`);
  const isActive = run.adapter_id !== null && moves.value[run.plan.base]?.at(-1)?.adapter_id === run.adapter_id;
  const canPause = (run.status === "running" && !run.cancel_requested) || run.status === "queued";
  const canResume = run.status === "paused" || run.status === "interrupted" || (run.status === "running" && run.pause_requested);
  return html`<div class="row actions" data-testid="actions">
    ${canPause && !run.pause_requested && html`<${Action} act=${ask("pause")} testid="pause">Pause<//>`}
    ${canResume && html`<${Action} act=${ask("resume")} testid="resume" class="primary">Resume<//>`}
    ${!ENDED.has(run.status) && html`<${Action} act=${ask("cancel")} testid="cancel" confirm="Really cancel?" disabled=${run.cancel_requested}>${run.cancel_requested ? "Cancelling" : "Cancel"}<//>`}
    ${run.status === "completed" && (isActive
      ? html`<span class="badge good" data-testid="is-active"><i aria-hidden="true"></i>active adapter</span>
        <${Action} act=${() => post<RolledBack>("/api/adapters/rollback", { base: run.plan.base })} testid="rollback" confirm=${`Go back to ${short(moves.value[run.plan.base]?.at(-1)?.previous)}?`}>Roll back<//>`
      : html`<${Action} act=${() => post<Promoted>(`/api/agent/train/run/${encodeURIComponent(run.run_id)}/promote`)} class="primary" testid="promote">Promote<//>`)}
    ${run.status === "completed" && html`<button type="button" class="button" data-testid="try" onClick=${() => go("prompt")}>Debug Prompt</button>`}
    <${Action} act=${() => exportEvents(run.run_id)} class="quiet" testid="export">Export metrics.jsonl<//>
  </div>`;
}

/** Every event as the run stored it, one JSON object a line. */
async function exportEvents(runId: string): Promise<void> {
  const answer = await reach(`/api/agent/train/run/${encodeURIComponent(runId)}/metrics.jsonl`, { headers: headers() });
  save(`${runId}.metrics.jsonl`, await answer.text(), "application/jsonl");
}
