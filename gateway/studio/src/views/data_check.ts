// What the dataset would be to a run: its defects by line, its counts, and which tokens are learned.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import type { Check, RunRequest, ShownRow, SideCount } from "../api";
import { num } from "../lib/format";
import { post } from "../lib/http";
import { Action, Badge, Card, Note } from "../ui/parts";

const SHOWN = 5;

export function DataCheck({ request }: { request: () => RunRequest }) {
  const [found, setFound] = useState<Check | null>(null);
  const check = async () => setFound(await post<Check>("/api/datasets/check", { ...request(), show: SHOWN }));
  return html`<${Card} id="data-check" title="Data check" class="check" actions=${html`<${Action} act=${check} testid="check">Check the data<//>`}>
    ${!found ? html`<p class="hint pad">Reads the dataset as the run would, before it starts: every defect with its line, what is held out, and which tokens are learned.</p>` : html`<${Found} found=${found} />`}
  <//>`;
}

function Found({ found }: { found: Check }) {
  const isSound = found.defects_total === 0 && found.conversations > 0;
  return html`<div class="pad">
    <p class="row"><${Badge} status=${isSound ? "sound" : "defects"} /><span data-testid="check-result">${isSound ? "A run would start." : `${found.defects_total} defect${found.defects_total === 1 ? "" : "s"}: a run would be refused.`}</span></p>
    <p class="hint">${found.file}${found.form ? `, ${found.form}` : ""}; tokens of ${found.base} (${found.base_reason}); rows up to ${num(found.max_length)} tokens.</p>
    ${found.defects.length > 0 && html`<ul class="defects" data-testid="defects" tabindex="0" aria-label="Defects">${found.defects.map((defect, i) => html`<li key=${i} class="mono">${defect}</li>`)}</ul>`}
    <table class="table counts"><thead><tr><th scope="col"><span class="sr">Count</span></th><th scope="col" class="n">learned from</th><th scope="col" class="n">held out</th></tr></thead>
      <tbody>${COUNTS.map(([name, label]) => html`<tr key=${name}><th scope="row">${label}</th><td class="n">${num(found.train[name])}</td><td class="n">${num(found.held_out[name])}</td></tr>`)}</tbody></table>
    ${found.duplicates > 0 && html`<${Note} tone="warn">${found.duplicates} conversations equal an earlier one.<//>`}
    ${found.held_out_equal_to_train > 0 && html`<${Note} tone="warn">${found.held_out_equal_to_train} held-out rows are also learned from; their loss says little.<//>`}
    ${found.conversations_tokenised < found.conversations && html`<${Note}>Tokens were counted for ${num(found.conversations_tokenised)} of ${num(found.conversations)} conversations; the time for it was spent.<//>`}
    ${found.shown.length > 0 && html`<h3>As the model sees it <small><mark>learned</mark> and read tokens</small></h3>
    <div class="tokens" data-testid="tokens" tabindex="0" role="region" aria-label="Rows with the learned tokens marked">${found.shown.map((row) => html`<${Tokens} key=${row.line} row=${row} />`)}</div>`}</div>`;
}

const COUNTS: readonly (readonly [keyof SideCount, string])[] = [
  ["conversations", "conversations"],
  ["rows", "rows of tokens"],
  ["tokens", "tokens"],
  ["supervised_tokens", "learned tokens"],
  ["over_max_length", "over the length"],
];

function Tokens({ row }: { row: ShownRow }) {
  return html`<figure><figcaption>line ${row.line}: ${row.supervised_tokens} of ${row.tokens} tokens learned</figcaption>
    <pre>${row.spans.map((span, i) => (span.supervised ? html`<mark key=${i}>${span.text}</mark>` : html`<span key=${i}>${span.text}</span>`))}</pre></figure>`;
}
