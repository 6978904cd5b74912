// Every run, as it is now: filter by scope and status, see the best loss, pick two to compare.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import type { Run } from "../api";
import { useNow } from "../lib/clock";
import { ago, duration, num, percent, seconds } from "../lib/format";
import { courseOf, hasRuns, runs, watch } from "../lib/live";
import { go, to } from "../lib/route";
import { Badge, Card, Empty } from "../ui/parts";

const scope = signal("");
const status = signal("");
const picked = signal<readonly string[]>([]);

export function RunsView() {
  const all = [...runs.value.values()];
  const shown = all.filter((run) => (!scope.value || run.scope === scope.value) && (!status.value || run.status === status.value));
  return html`<header class="page-head"><h1>Runs</h1><div class="row">
      <${Picker} name="Scope" testid="filter-scope" now=${scope.value} values=${all.map((run) => run.scope)} pick=${(v: string) => (scope.value = v)} />
      <${Picker} name="Status" testid="filter-status" now=${status.value} values=${all.map((run) => run.status)} pick=${(v: string) => (status.value = v)} />
      <button type="button" class="button" disabled=${picked.value.length !== 2} data-testid="compare" onClick=${compare}>Compare${picked.value.length ? ` (${picked.value.length} of 2)` : ""}</button>
      <a class="button primary" href=${to("start")} data-testid="new-run">New run</a></div></header>
    ${hasRuns.value && !all.length && html`<${Empty} title="No run yet">Start one, and watch the model descend. Without a dataset of your own the shipped sample is used. <a href=${to("start")}>Start a run</a><//>`}
    ${all.length > 0 && html`<${Card} id="runs" class="flush"><div class="scroll"><table class="table rows">
      <thead><tr><th scope="col"><span class="sr">Compare</span></th><th scope="col">Run</th><th scope="col">Status</th><th scope="col" class="wide-only">Progress</th>
        <th scope="col" class="n">Best eval loss</th><th scope="col" class="n wide-only">At step</th><th scope="col">Promotion</th><th scope="col" class="n wide-only">Duration</th><th scope="col">Started</th></tr></thead>
      <tbody>${shown.map((run) => html`<${Row} key=${run.run_id} run=${run} />`)}</tbody></table>
      ${!shown.length && html`<p class="hint pad">No run has this scope and status.</p>`}</div><//>`}`;
}

function compare() {
  const [current, baseline] = [...runs.value.keys()].filter((id) => picked.value.includes(id));
  if (baseline && current) go("compare", baseline, current);
}

function Picker(props: { name: string; testid: string; now: string; values: readonly string[]; pick: (value: string) => void }) {
  const values = [...new Set(props.values)].sort();
  return html`<label class="inline"><span>${props.name}</span><select data-testid=${props.testid} value=${props.now}
    onChange=${(event: Event) => props.pick((event.target as HTMLSelectElement).value)}>
    <option value="">all</option>${values.map((value) => html`<option key=${value} value=${value}>${value}</option>`)}</select></label>`;
}

function Row({ run }: { run: Run }) {
  const now = useNow();
  useEffect(() => (run.status === "running" ? watch(run.run_id) : undefined), [run.run_id, run.status]);
  const course = courseOf(run.run_id);
  course.told.value;
  const best = run.summary?.primary_best ?? course.best?.metrics?.["eval_loss"];
  const share = run.status === "completed" ? 1 : run.progress ? run.progress.step / run.progress.steps : null;
  const began = seconds(run.started_at);
  const took = began === null ? null : (seconds(run.ended_at) ?? now / 1000) - began;
  const isPicked = picked.value.includes(run.run_id);
  const pick = () => (picked.value = isPicked ? picked.value.filter((id) => id !== run.run_id) : [...picked.value.slice(-1), run.run_id]);
  return html`<tr data-testid="run-row" data-run=${run.run_id}>
    <td><input type="checkbox" checked=${isPicked} onChange=${pick} aria-label=${`Compare ${run.run_id}`} data-testid="pick" /></td>
    <th scope="row"><a href=${to("runs", run.run_id)} class="mono">${run.run_id}</a></th>
    <td><${Badge} status=${run.stalled ? "stalled" : run.status} testid="row-status" /></td>
    <td class="wide-only">${share === null ? "–" : html`<span class="meter" role="img" aria-label=${percent(share)}><i style=${{ width: percent(share, 1).replace(" ", "") }}></i></span>`}</td>
    <td class="n">${num(best)}</td><td class="n wide-only">${num(run.summary?.best_step ?? course.best?.step)}</td>
    <td>${run.promotion ? (run.promotion.promoted ? html`<span class="good-text">promoted</span>` : "not promoted") : "–"}</td>
    <td class="n wide-only">${duration(took)}</td><td title=${run.created_at}>${ago(run.created_at, now)}</td></tr>`;
}
