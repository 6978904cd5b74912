// What the gate, or a person, decided about a run's adapter, with the losses that it rests on.
import { html } from "htm/preact";
import type { Comparison, Decision, Promotion } from "../api";
import { moment, num, short, signed } from "../lib/format";

const AGAINST: Readonly<Record<Comparison["against"], string>> = {
  base: "base", active: "active before", regression: "active before, on the regression set",
};

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
    ${promotion.decision && html`<${Weighed} decision=${promotion.decision} />`}
  </section>`;
}

/** What the gate asked and what it found: each comparison, and the checks that failed. */
function Weighed({ decision }: { decision: Decision }) {
  const failed = decision.checks.filter((check) => !check.passed);
  return html`<div class="weighed" data-testid="decision"><div class="scroll"><table class="table"><caption>This run's loss minus the other's, row by row</caption>
    <thead><tr><th scope="col">Against</th><th scope="col" class="n">difference</th><th scope="col" class="n" title="5th to 95th percentile of ${decision.resamples} paired bootstrap draws of the rows">interval</th>
      <th scope="col" class="n wide-only">asked of its end</th><th scope="col" class="n wide-only">lower on</th><th scope="col">passed</th></tr></thead>
    <tbody>${decision.comparisons.map((one) => html`<tr key=${one.against}><th scope="row">${AGAINST[one.against]}</th><td class="n">${signed(one.difference)}</td><td class="n">${signed(one.low)} to ${signed(one.high)}</td>
      <td class="n wide-only">${one.against === "regression" ? "at most" : "below"} ${num(one.limit + 0)}</td><td class="n wide-only">${one.better_rows} of ${one.rows} rows</td><td>${one.passed ? "yes" : "no"}</td></tr>`)}</tbody></table></div>
    ${decision.checks.length > 0 && html`<p class="hint">${decision.checks.length - failed.length} of ${decision.checks.length} checks passed${failed.map((check) => `; line ${check.line} (${check.rule}): ${check.why}`)}.</p>`}</div>`;
}
