// Paints a path of many thousand points: one stroke for each shade, not one for each segment.
import { px, py, type Frame } from "./frame";
import { SHADE, SHADES, shadeOf, shareOf, type Scale } from "./scale";
import type { Spot } from "./scene";

export type Colouring = "probe" | "step";

/** A path ready to be painted: places and shades in flat arrays. */
export interface Trail {
  readonly x: Float64Array;
  readonly y: Float64Array;
  readonly shade: Uint8Array;
  readonly length: number;
}

/** Without a scale of losses, or where a spot has no loss, the step decides the shade. */
export function trailOf(spots: readonly Spot[], colouring: Colouring, scale: Scale | null): Trail {
  const [first, last] = [spots[0]?.step ?? 0, spots.at(-1)?.step ?? 1];
  const share = (spot: Spot) =>
    colouring === "probe" && scale && spot.probeLoss !== null ? shareOf(scale, spot.probeLoss) : (spot.step - first) / Math.max(1, last - first);
  return {
    x: Float64Array.from(spots, (spot) => spot.x),
    y: Float64Array.from(spots, (spot) => spot.y),
    shade: Uint8Array.from(spots, (spot) => shadeOf(share(spot))),
    length: spots.length,
  };
}

/** Paint the segments that lead to the points `from`..`to`, over a casing that keeps them apart from the surface. */
export function paintTrail(ctx: CanvasRenderingContext2D, frame: Frame, trail: Trail, from: number, to: number, casing: string): void {
  const first = Math.max(1, from);
  if (to <= first - 1 || trail.length < 2) return;
  ctx.lineJoin = "bevel";
  ctx.lineCap = "round";
  ctx.strokeStyle = casing;
  ctx.lineWidth = 5;
  ctx.beginPath();
  ctx.moveTo(px(frame, trail.x[first - 1]!), py(frame, trail.y[first - 1]!));
  for (let i = first; i < to; i++) ctx.lineTo(px(frame, trail.x[i]!), py(frame, trail.y[i]!));
  ctx.stroke();
  ctx.lineWidth = 2.6;
  for (const [shade, path] of byShade(frame, trail, first, to).entries()) {
    if (!path) continue;
    ctx.strokeStyle = SHADE[shade]!;
    ctx.stroke(path);
  }
}

function byShade(frame: Frame, trail: Trail, first: number, to: number): (Path2D | undefined)[] {
  const paths: (Path2D | undefined)[] = new Array<Path2D | undefined>(SHADES);
  let before = -1;
  for (let i = first; i < to; i++) {
    const shade = trail.shade[i]!;
    const path = (paths[shade] ??= new Path2D());
    if (shade !== before) path.moveTo(px(frame, trail.x[i - 1]!), py(frame, trail.y[i - 1]!));
    path.lineTo(px(frame, trail.x[i]!), py(frame, trail.y[i]!));
    before = shade;
  }
  return paths;
}
