// The run in one look: where it is, how far, how long still, on what.
import { html } from "htm/preact";
import type { Run } from "../api";
import { useNow } from "../lib/clock";
import type { Course } from "../lib/course";
import { DASH, duration, num, percent, seconds, short, words } from "../lib/format";
import { moves } from "../lib/live";
import { Stat } from "../ui/parts";
import { useBackend } from "./backend";

export function Hud({ run, course }: { run: Run; course: Course }) {
  course.told.value;
  const { progress, lastMeasured, best, stepsPlanned } = course;
  const backend = useBackend();
  const active = moves.value[run.plan.base]?.at(-1)?.adapter_id ?? null;
  const share = run.status === "completed" ? 1 : progress?.percent == null ? null : progress.percent / 100;
  const isRunning = run.status === "running";
  return html`<section class="card hud-card" aria-label="Where the run is" data-testid="hud">
    <div class="meter wide" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${share === null ? undefined : Math.round(100 * share)}><i style=${{ width: `${100 * (share ?? 0)}%` }}></i></div>
    <dl class="hud">
    <${Stat} label="Status" testid="hud-status">${words(run.stalled ? "stalled" : run.status)}${run.pause_requested ? ", pausing" : run.cancel_requested && isRunning ? ", cancelling" : ""}<//>
    <${Stat} label="Step" testid="hud-step">${num(progress?.step)}<small> / ${stepsPlanned ?? DASH}</small><//>
    <${Stat} label="Epoch" testid="hud-epoch">${num(progress?.epoch, 3)}<small> / ${run.plan.epochs}</small><//>
    <${Stat} label="Progress" testid="hud-progress">${percent(share)}<//>
    <${Stat} label=${isRunning ? "Running for" : "Duration"} testid="hud-duration"><${Took} run=${run} /><//>
    <${Stat} label="ETA" testid="hud-eta" title="At the pace of the latest steps">${isRunning ? duration(progress?.eta_s) : DASH}<//>
    <${Stat} label="Loss" testid="hud-loss">${num(lastMeasured?.loss)}<//>
    <${Stat} label="Best eval loss" testid="hud-best">${num(run.summary?.primary_best ?? best?.metrics?.["eval_loss"])}<small> step ${num(run.summary?.best_step ?? best?.step)}</small><//>
    <${Stat} label="Scope" testid="hud-scope"><span class="name">${run.scope}</span><//>
    <${Stat} label="Base" testid="hud-base"><span class="name">${run.plan.base}</span><//>
    <${Stat} label="Active adapter" testid="hud-active" title=${active ?? "none: the bare base answers"}><span class="name mono">${short(active)}</span><//>
    <${Stat} label="Backend" testid="hud-backend"><span class="name">${backend}</span><//>
    </dl></section>`;
}

function Took({ run }: { run: Run }) {
  const now = useNow();
  const began = seconds(run.started_at);
  return html`${began === null ? DASH : duration((seconds(run.ended_at) ?? now / 1000) - began)}`;
}
