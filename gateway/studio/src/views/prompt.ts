// Debug Prompt: one question to two models side by side, and who really answered.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import { moves } from "../lib/live";
import { Note } from "../ui/parts";
import { Answering } from "./answering";
import { askModels, ModelPicker, models } from "./model_picker";

const BOTH = [new Answering("left", "ragweld"), new Answering("right", "")] as const;
const prompt = signal("Who keeps the lighthouse of Port Ellery?");
const system = signal("");
const temperature = signal("0");
const maxTokens = signal("256");
const strict = signal(true);
const isDouble = signal(true);

export function PromptView() {
  const active = moves.value;
  useEffect(() => void askModels(), [active]);
  useEffect(preferBase, [models.value]);
  const shown = isDouble.value ? BOTH : BOTH.slice(0, 1);
  const isBusy = shown.some((one) => one.isBusy.value);
  // A pane whose model is not known yet would be answered by the default one.
  const canAsk = prompt.value.trim() !== "" && shown.every((one) => one.model.value);
  const send = () => canAsk && shown.forEach((one) => void one.ask(question()));
  const stop = () => BOTH.forEach((one) => one.stop());
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  };
  return html`<header class="page-head"><h1>Debug Prompt</h1><label class="inline"><input type="checkbox" checked=${isDouble.value} data-testid="side-by-side" onChange=${() => (isDouble.value = !isDouble.value)} />side by side</label></header>
    <section class="card ask" aria-label="Prompt"><label class="field"><span>Prompt</span>
      <textarea rows="3" data-testid="prompt" value=${prompt.value} onInput=${(event: Event) => (prompt.value = (event.target as HTMLTextAreaElement).value)} onKeyDown=${keys}></textarea></label>
      <div class="row ask-row"><details><summary>System prompt</summary><label class="field"><span class="sr">System prompt</span><textarea rows="2" data-testid="system" value=${system.value} onInput=${(event: Event) => (system.value = (event.target as HTMLTextAreaElement).value)}></textarea></label></details>
      <label class="inline">temperature<input class="brief" inputmode="decimal" data-testid="temperature" value=${temperature.value} onInput=${(event: Event) => (temperature.value = (event.target as HTMLInputElement).value)} /></label>
      <label class="inline">most tokens<input class="brief" inputmode="numeric" data-testid="max-tokens" value=${maxTokens.value} onInput=${(event: Event) => (maxTokens.value = (event.target as HTMLInputElement).value)} /></label>
      <label class="inline" title="x-ragweld-strict: refuse instead of letting another model answer"><input type="checkbox" checked=${strict.value} data-testid="strict" onChange=${() => (strict.value = !strict.value)} />nobody else may answer</label>
      <span class="grow"></span><span class="hint">Ctrl+Enter</span>
      ${isBusy ? html`<button type="button" class="button" data-testid="stop" onClick=${stop}>Stop</button>` : html`<button type="button" class="button primary" data-testid="send" disabled=${!canAsk} onClick=${send}>Ask</button>`}</div></section>
    <div class="answers ${shown.length > 1 ? "two" : ""}">${shown.map((one) => html`<${Pane} key=${one.name} answering=${one} />`)}</div>`;
}

function question() {
  return { prompt: prompt.value, system: system.value, temperature: Number(temperature.value) || 0, maxTokens: Number(maxTokens.value) || 256, strict: strict.value };
}

/** The bare base is what an adapter is compared with until somebody chooses; where there is none, any model. */
function preferBase(): void {
  const base = models.value.find((model) => model.id.endsWith("@base")) ?? models.value[0];
  if (!BOTH[1].model.peek() && base) BOTH[1].model.value = base.id;
}

function Pane({ answering }: { answering: Answering }) {
  const { spoke, text, thoughts, fault, took } = { spoke: answering.spoke.value, text: answering.text.value, thoughts: answering.thoughts.value, fault: answering.fault.value, took: answering.took.value };
  return html`<section class="card answer" data-testid=${`answer-${answering.name}`} aria-label=${`Answer on the ${answering.name}`}>
    <header class="card-head"><${ModelPicker} now=${answering.model.value} pick=${(id: string) => (answering.model.value = id)} label=${`Model on the ${answering.name}`} testid=${`model-${answering.name}`} /></header>
    <div class="answer-text" aria-live="polite" aria-busy=${answering.isBusy.value} data-testid=${`text-${answering.name}`}>
      ${thoughts && html`<p class="thoughts">${thoughts}</p>`}${text || (!fault && !answering.isBusy.value && html`<span class="hint">No answer yet.</span>`)}${answering.isBusy.value && html`<i class="caret" aria-hidden="true"></i>`}</div>
    ${fault && html`<${Note} tone="bad" testid=${`fault-${answering.name}`}>${fault}<//>`}
    ${spoke && html`<dl class="spoke" data-testid=${`spoke-${answering.name}`}><div><dt>answered by</dt><dd class="mono" data-testid=${`spoke-model-${answering.name}`}>${spoke.model}</dd></div>
      <div><dt>provider</dt><dd>${spoke.provider}</dd></div>${spoke.adapter && html`<div><dt>adapter</dt><dd class="mono" title=${spoke.adapter}>${spoke.adapter.slice(0, 12)}</dd></div>`}
      ${spoke.fallback && html`<div class="bad-text"><dt>instead, because</dt><dd>${spoke.fallback}</dd></div>`}${took && html`<div><dt>took</dt><dd>${took}</dd></div>`}</dl>`}
  </section>`;
}
