// The numbers of a chart as a table; long ones in pages, newest first.
import { html } from "htm/preact";
import { useState } from "preact/hooks";

const PAGE = 100;

export interface TableProps {
  readonly name: string;
  readonly columns: readonly string[];
  /** One list for each column, all of one length. */
  readonly values: readonly (readonly (number | null | undefined)[])[];
  readonly format: (value: number | null | undefined) => string;
}

export function DataTable({ name, columns, values, format }: TableProps) {
  const [page, setPage] = useState(0);
  const count = values[0]?.length ?? 0;
  const pages = Math.max(1, Math.ceil(count / PAGE));
  const at = Math.min(page, pages - 1);
  const rows = Array.from({ length: Math.min(PAGE, count - at * PAGE) }, (_, i) => count - 1 - at * PAGE - i);
  return html`<div class="scroll data-table" tabindex="0" role="region" aria-label=${`${name} as a table`}>
      <table class="table"><thead><tr>${columns.map((column) => html`<th scope="col" class="n" key=${column}>${column}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row}>${values.map((column, i) => html`<td class="n" key=${i}>${i === 0 ? String(Number((column[row] ?? 0).toFixed(2))) : format(column[row])}</td>`)}</tr>`)}</tbody></table></div>
    ${pages > 1 && html`<div class="row pager"><button type="button" class="button quiet" disabled=${at === 0} onClick=${() => setPage(at - 1)}>Newer</button>
      <span class="hint">${at + 1} of ${pages}</span><button type="button" class="button quiet" disabled=${at === pages - 1} onClick=${() => setPage(at + 1)}>Older</button></div>`}`;
}
