// Who can answer: the health of every provider, what the engine holds, and every model of the catalog with why not.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { CatalogRow, CatalogRows, EngineView, Health } from "../api";
import { useNow } from "../lib/clock";
import { num } from "../lib/format";
import { get, post, wordsOf } from "../lib/http";
import { Action, Badge, Card, Note } from "../ui/parts";

const EVERY_MS = 5000;
const health = signal<Health | null>(null);
const engine = signal<EngineView | null>(null);
const catalog = signal<CatalogRows | null>(null);
const fault = signal("");

async function ask(): Promise<void> {
  try {
    [health.value, engine.value, catalog.value] = await Promise.all([get<Health>("/api/chat/health"), get<EngineView>("/api/engine"), get<CatalogRows>("/api/models")]);
    fault.value = "";
  } catch (error) {
    fault.value = wordsOf(error);
  }
}

export function ModelsView() {
  const tick = Math.floor(useNow() / EVERY_MS);
  useEffect(() => void ask(), [tick]);
  return html`<header class="page-head"><h1>Models</h1></header>${fault.value && html`<${Note} tone="bad">${fault.value}<//>`}
    <div class="two-cards"><${Providers} /><${Engine} /></div><${Catalog} />`;
}

function Providers() {
  return html`<${Card} id="health" title="Providers" class="flush"><div class="scroll"><table class="table"><thead><tr><th scope="col">Provider</th><th scope="col">State</th><th scope="col">Detail</th></tr></thead>
    <tbody>${health.value?.providers.map((one) => html`<tr key=${one.provider} data-testid="provider"><th scope="row">${one.provider}<br /><small>${one.base_url ?? "in this process"}</small></th><td><${Badge} status=${one.state} /></td><td>${one.detail}</td></tr>`)}</tbody></table></div><//>`;
}

function Engine() {
  const now = engine.value;
  const load = (base: string, isLoaded: boolean) => async () => {
    await post(`/api/engine/${isLoaded ? "unload" : "load"}`, { base });
    await ask();
  };
  return html`<${Card} id="engine" title=${html`Engine <span class="unit">${[now?.device, now?.precision].filter(Boolean).join(", ")}</span>`} class="flush">
    ${now && !now.ready && html`<div class="pad"><${Note} tone="warn">${now.reason}<//></div>`}
    <div class="scroll"><table class="table"><thead><tr><th scope="col">Base</th><th scope="col">Now</th><th scope="col"><span class="sr">Actions</span></th></tr></thead><tbody>${now?.bases?.map((one) => html`<tr key=${one.base}><th scope="row">${one.base} ${one.default && html`<small>default</small>`}</th>
      <td><${Badge} status=${one.loaded ? "loaded" : "on disk"} /></td><td class="n"><${Action} act=${load(one.base, one.loaded)} class="quiet">${one.loaded ? "Unload" : "Load"}<//></td></tr>`)}</tbody></table></div><//>`;
}

function Catalog() {
  const [search, setSearch] = useState("");
  const [answering, setAnswering] = useState(false);
  const rows = (catalog.value?.models ?? []).filter((row) => (!answering || row.answers_now) && `${row.provider} ${row.model} ${row.family}`.toLowerCase().includes(search.toLowerCase()));
  const actions = html`<label class="inline"><input type="checkbox" checked=${answering} onChange=${() => setAnswering(!answering)} />can answer now</label><label class="inline"><span class="sr">Search models</span><input type="search" placeholder="Search" value=${search} data-testid="model-search" onInput=${(event: Event) => setSearch((event.target as HTMLInputElement).value)} /></label>`;
  return html`<${Card} id="catalog" class="flush" title=${html`Catalog <span class="unit">prices in ${catalog.value?.currency ?? ""} per million tokens, as of ${catalog.value?.last_updated ?? ""}</span>`} actions=${actions}>
    <div class="scroll"><table class="table rows"><thead><tr><th scope="col">Model</th><th scope="col">Provider</th><th scope="col">For</th><th scope="col" class="n">Context</th><th scope="col" class="n">In</th><th scope="col" class="n">Out</th><th scope="col">Can answer</th></tr></thead>
    <tbody>${rows.map((row) => html`<${Row} key=${row.provider + row.model} row=${row} />`)}</tbody></table></div><//>`;
}

const perMillion = (price: number | null) => (price === null ? "–" : num(price * 1000));

function Row({ row }: { row: CatalogRow }) {
  return html`<tr><th scope="row" class="mono">${row.model}</th><td>${row.provider}</td><td>${row.components.join(", ")}</td><td class="n">${num(row.context)}</td><td class="n">${perMillion(row.input_per_1k)}</td><td class="n">${perMillion(row.output_per_1k)}</td>
    <td>${row.answers_now ? html`<span class="good-text">now</span>` : html`<span class="hint">${row.why_not}</span>`}</td></tr>`;
}
