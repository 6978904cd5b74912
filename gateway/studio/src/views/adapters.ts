// Adapters kept here, which one is active, and the way back.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import type { AdapterList, AdapterRow, AliasMove, RolledBack } from "../api";
import { bytes, moment, num, short } from "../lib/format";
import { call, get, post, wordsOf } from "../lib/http";
import { moves, runs } from "../lib/live";
import { to } from "../lib/route";
import { Action, Card, Empty, Note } from "../ui/parts";

const list = signal<AdapterList | null>(null);
const fault = signal("");

async function ask(): Promise<void> {
  try {
    list.value = await get<AdapterList>("/api/adapters");
    fault.value = "";
  } catch (error) {
    fault.value = wordsOf(error);
  }
}

export function AdaptersView() {
  const told = moves.value;
  useEffect(() => void ask(), [told]);
  const bases = Object.entries(told);
  return html`<header class="page-head"><h1>Adapters</h1></header>
    ${fault.value && html`<${Note} tone="bad">${fault.value}<//>`}
    ${bases.map(([base, line]) => html`<${History} key=${base} base=${base} line=${line} />`)}
    ${list.value && !list.value.adapters.length && html`<${Empty} title="No adapter yet">A finished run that is promoted makes one. <a href=${to("start")}>Start a run</a><//>`}
    ${!!list.value?.adapters.length && html`<${Card} id="adapters" title="Kept here" class="flush"><div class="scroll"><table class="table rows"><thead><tr><th scope="col">Adapter</th><th scope="col">Names</th><th scope="col">Base</th><th scope="col" class="n">Rank</th><th scope="col" class="n">Scale</th><th scope="col">Layers</th><th scope="col" class="n">Size</th><th scope="col">Now</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${list.value.adapters.map((row) => html`<${Row} key=${row.id} row=${row} />`)}</tbody></table></div><//>`}`;
}

function Row({ row }: { row: AdapterRow }) {
  const isActive = row.active_on.length > 0;
  const finished = row.names.find((name) => runs.value.get(name)?.status === "completed");
  const remove = async () => {
    await call("DELETE", `/api/adapters/${row.id}`);
    await ask();
  };
  return html`<tr data-testid="adapter-row" data-adapter=${row.id}><th scope="row" class="mono" title=${row.id}>${short(row.id)}</th>
    <td>${row.names.map((name) => (runs.value.has(name) ? html`<a key=${name} class="mono" href=${to("runs", name)}>${name}</a> ` : html`<span key=${name} class="mono">${name} </span>`))}</td>
    <td>${row.base ?? "–"}</td><td class="n">${row.rank}</td><td class="n">${num(row.scale)}</td><td>${row.targets?.map((target) => target.split(".").at(-1)).join(", ") ?? "–"}</td><td class="n">${bytes(row.bytes)}</td>
    <td>${isActive ? html`<span class="badge good"><i aria-hidden="true"></i>active</span>` : row.resident ? html`<span class="badge"><i aria-hidden="true"></i>in memory</span>` : "–"}</td>
    <td class="n">${!isActive && finished && html`<${Action} act=${() => post(`/api/agent/train/run/${encodeURIComponent(finished)}/promote`)} class="quiet" testid="promote-adapter">Promote<//>`}
      ${!isActive && html`<${Action} act=${remove} class="quiet" confirm="Really delete?" testid="delete-adapter">Delete<//>`}</td></tr>`;
}

function History({ base, line }: { base: string; line: readonly AliasMove[] }) {
  const last = line.at(-1);
  const back = () => post<RolledBack>("/api/adapters/rollback", { base });
  return html`<${Card} id="history" title=${html`${base} <span class="unit">answers with ${last?.adapter_id ? html`<span class="mono">${short(last.adapter_id)}</span>` : "no adapter"}</span>`} class="flush"
    actions=${last && html`<${Action} act=${back} testid="rollback" confirm=${`Go back to ${short(last.previous)}?`}>Roll back<//>`}>
    <div class="scroll"><table class="table"><thead><tr><th scope="col" class="n">Version</th><th scope="col">Active</th><th scope="col">Before</th><th scope="col">Why</th><th scope="col">When</th></tr></thead>
      <tbody>${[...line].reverse().map((move, i) => html`<tr key=${move.version} data-testid="move" aria-current=${i === 0 ? "true" : undefined}><td class="n">${move.version}</td><td class="mono" title=${move.adapter_id}>${short(move.adapter_id)}</td><td class="mono" title=${move.previous}>${short(move.previous)}</td><td>${move.reason}</td><td>${moment(move.ts)}</td></tr>`)}</tbody></table></div><//>`;
}
