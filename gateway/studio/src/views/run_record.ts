// What the run said and did: timeline with filter, log with search, its settings.
import { html } from "htm/preact";
import { useMemo, useState } from "preact/hooks";
import type { Event, Run } from "../api";
import type { Course } from "../lib/course";
import { clock, num } from "../lib/format";
import { Card, Tabs, save } from "../ui/parts";

type Tab = "timeline" | "log" | "plan";

export function RunRecord({ run, course }: { run: Run; course: Course }) {
  const [tab, setTab] = useState<Tab>("timeline");
  return html`<${Card} id="record" class="flush">
    <header class="card-head"><${Tabs} label="Record" testid="tab" now=${tab} pick=${setTab}
      tabs=${[["timeline", "Event timeline"], ["log", "Log"], ["plan", "Settings of this run"]] as const} /></header>
    ${tab === "timeline" && html`<${Timeline} course=${course} />`}
    ${tab === "log" && html`<${Log} course=${course} runId=${run.run_id} />`}
    ${tab === "plan" && html`<${Plan} run=${run} />`}
  <//>`;
}

/** Events shown at once; the log has them all. */
const MOST_SHOWN = 400;
const KINDS = ["state", "metrics", "log", "error", "complete"] as const;

/** One sentence for an event. */
function sentence(event: Event): string {
  if (event.type === "metrics") {
    const parts = Object.entries(event.metrics ?? {}).map(([name, value]) => `${name.replace("_", " ")} ${num(value)}`);
    return `Measured at step ${event.step}: ${parts.join(", ")}`;
  }
  if (event.type === "state") return [event.status, event.message].filter(Boolean).join(": ");
  return event.message ?? event.type;
}

function allOf(course: Course): Event[] {
  return [...course.said, ...course.evaluations].sort((a, b) => a.ts.localeCompare(b.ts));
}

function Timeline({ course }: { course: Course }) {
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  course.told.value;
  const events = allOf(course).filter((event) => !hidden.has(event.type));
  const flip = (kind: string) => {
    const next = new Set(hidden);
    if (!next.delete(kind)) next.add(kind);
    setHidden(next);
  };
  return html`<div class="pad"><div class="row chips" role="group" aria-label="Kinds of events">
      ${KINDS.map((kind) => html`<button type="button" key=${kind} class="chip" aria-pressed=${!hidden.has(kind)} data-testid=${`kind-${kind}`} onClick=${() => flip(kind)}>${kind}</button>`)}</div>
    ${events.length > MOST_SHOWN && html`<p class="hint">${events.length - MOST_SHOWN} earlier ones are in the log.</p>`}
    <ol class="timeline" data-testid="timeline" tabindex="0" aria-label="Events">${events.slice(-MOST_SHOWN).map((event, at) => html`<li key=${at} class=${`kind-${event.type} status-${event.status ?? ""}`}>
      <time datetime=${event.ts}>${clock(event.ts)}</time><span class="dot" aria-hidden="true"></span><span><b>${event.type}</b> ${sentence(event)}</span></li>`)}</ol></div>`;
}

function Log({ course, runId }: { course: Course; runId: string }) {
  const [search, setSearch] = useState("");
  const [copied, setCopied] = useState(false);
  const lines = useMemo(
    () => allOf(course).map((event) => `${event.ts}  ${event.type.padEnd(8)}  ${event.step == null ? "" : `step ${event.step}  `}${sentence(event)}`),
    [course.told.value, course],
  );
  const shown = search ? lines.filter((line) => line.toLowerCase().includes(search.toLowerCase())) : lines;
  const copy = async () => {
    await navigator.clipboard.writeText(shown.join("\n"));
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<div class="pad"><div class="row"><label class="inline grow"><span class="sr">Search the log</span>
      <input type="search" placeholder="Search the log" value=${search} data-testid="log-search" onInput=${(event: Event_) => setSearch((event.target as HTMLInputElement).value)} /></label>
      <span class="hint" role="status">${shown.length} of ${lines.length} lines</span>
      <button type="button" class="button quiet" data-testid="log-copy" onClick=${copy}>${copied ? "Copied" : "Copy"}</button>
      <button type="button" class="button quiet" data-testid="log-export" onClick=${() => save(`${runId}.log`, `${shown.join("\n")}\n`)}>Export</button></div>
    <pre class="log" data-testid="log" tabindex="0" aria-label="Log">${shown.join("\n")}</pre></div>`;
}

type Event_ = globalThis.Event;

function Plan({ run }: { run: Run }) {
  return html`<div class="scroll"><table class="table" data-testid="plan"><thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead>
    <tbody>${Object.entries(run.plan).map(([name, value]) => html`<tr key=${name}><th scope="row" class="mono">${name}</th><td class="mono">${Array.isArray(value) ? value.join(", ") : String(value)}</td></tr>`)}</tbody></table></div>`;
}
