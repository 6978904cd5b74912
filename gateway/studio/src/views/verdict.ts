// What the gate, or a person, decided about a run's adapter, with the losses that it rests on.
import { html } from "htm/preact";
import type { Promotion } from "../api";
import { moment, num, short } from "../lib/format";

/** The reason without the word that the heading says already. */
function reasonOf({ reason }: Promotion): string {
  const rest = reason.replace(/^(Promoted|Not promoted): /, "");
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

export function Verdict({ promotion }: { promotion: Promotion }) {
  const losses: readonly (readonly [string, number | null])[] = [
    ["this run", promotion.candidate_loss],
    ["active before", promotion.active_loss],
    ["base", promotion.base_loss],
  ];
  const most = Math.max(...losses.map(([, loss]) => loss ?? 0));
  return html`<section class="card verdict ${promotion.promoted ? "good" : "warn"}" data-testid="verdict" aria-label="The gate's verdict">
    <div><h2>${promotion.promoted ? "Promoted" : "Not promoted"}</h2><p>${reasonOf(promotion)}</p>
      <p class="hint">adapter <span class="mono" title=${promotion.adapter_id}>${short(promotion.adapter_id)}</span>, ${moment(promotion.ts)}</p></div>
    ${most > 0 && html`<table class="bars"><caption>Loss on the held-out rows</caption><tbody>${losses.map(([name, loss]) => html`<tr key=${name}>
      <th scope="row">${name}</th><td><span class="bar"><i style=${{ width: `${(100 * (loss ?? 0)) / most}%` }}></i></span></td><td class="n">${num(loss)}</td></tr>`)}</tbody></table>`}
  </section>`;
}
