// What the colours and shapes of the picture mean, and in words what it shows and what it leaves out.
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import { num, percent } from "../lib/format";
import { theme } from "../lib/theme";
import { inkNow } from "./flat";
import { paintMark, type MarkKind } from "./paint_marks";
import type { Colouring } from "./paint_path";
import { MAP, valueAt, type Scale } from "./scale";
import { KIND_WORDS, type Plane, type Spot } from "./scene";

const TICKS = 5;

export function ColourBar({ scale, colouring, steps }: { scale: Scale | null; colouring: Colouring; steps: readonly [number, number] }) {
  const isLoss = colouring === "probe" && scale;
  const shares = Array.from({ length: TICKS }, (_, i) => i / (TICKS - 1));
  const at = (share: number) => (isLoss ? num(valueAt(scale, share), 3) : String(Math.round(steps[0] + share * (steps[1] - steps[0]))));
  return html`<figure class="colour-bar" data-testid="colour-bar"><figcaption>${isLoss ? `Loss on the fixed probe rows, nats per token${scale.isLog ? ", logarithmic" : ""}` : "Step"}</figcaption>
    <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><defs><linearGradient id="bar">${MAP.map((hex, i) => html`<stop key=${i} offset=${i / (MAP.length - 1)} stop-color=${hex} />`)}</linearGradient></defs><rect width="100" height="8" fill="url(#bar)" /></svg>
    <div class="ticks">${shares.map((share) => html`<span key=${share}>${at(share)}</span>`)}</div></figure>`;
}

const MARKS: readonly (readonly [MarkKind, string])[] = [["start", "start"], ["current", "shown step"], ["best", "best on held-out rows"], ["promoted", "promoted"]];

export function MarkLegend({ present }: { present: ReadonlySet<MarkKind> }) {
  return html`<ul class="marks" aria-label="Marks">${MARKS.filter(([kind]) => present.has(kind)).map(([kind, text]) => html`<li key=${kind}><${MarkSample} kind=${kind} />${text}</li>`)}</ul>`;
}

function MarkSample({ kind }: { kind: MarkKind }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const now = theme.value;
  useEffect(() => {
    const ctx = canvas.current?.getContext("2d");
    if (!ctx) return;
    const ink = inkNow();
    ctx.setTransform(2, 0, 0, 2, 0, 0);
    ctx.clearRect(0, 0, 24, 24);
    paintMark(ctx, kind, 12, 12, kind === "current" ? { ...ink, fill: ink.accent } : ink, 6);
  }, [now, kind]);
  return html`<canvas ref=${canvas} width="48" height="48" aria-hidden="true"></canvas>`;
}

/** What the picture shows at a step, and how much of the motion it cannot show. */
export function descentWords(plane: Plane, spot: Spot | null, noSurface: string | null): string {
  const share = plane.kind === "frozen" ? (spot?.share ?? plane.share) : plane.share;
  const moved = spot && Math.hypot(spot.x, spot.y, spot.offPlane ?? 0);
  const parts = [
    share !== null && `This plane shows ${percent(share)} of the motion.`,
    spot && spot.offPlane !== null && `At step ${spot.step} the adapter has moved ${num(moved, 3)} from its start and lies ${num(spot.offPlane, 3)} off this plane.`,
    `It is the ${KIND_WORDS[plane.kind]}${plane.note ? `: ${plane.note.replace(/\.$/, "")}` : ""}.`,
    surfaceWords(plane, noSurface),
  ];
  return parts.filter(Boolean).join(" ");
}

function surfaceWords({ surface }: Plane, noSurface: string | null): string {
  if (!surface) return noSurface || "No surface was measured on this plane, so none is drawn.";
  if (surface.measured < surface.total) return `The surface is being measured: ${surface.measured} of ${surface.total} points; what is drawn is the ${surface.xs.length} by ${surface.ys.length} of them that are whole.`;
  return `The surface is the model's measured loss at ${surface.xs.length} by ${surface.ys.length} points of this plane, on ${surface.probe.rows} fixed probe rows.`;
}
