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

/** A corner nearer than this to the one before it cannot be told apart from it, in pixels. */
const NEAR = 0.8;
/** From so many corners on a path is drawn thin: wide it would be a blot, and each frame takes fifty milliseconds. */
const DENSE = 2500;

/** Paint the segments that lead to the points `from`..`to`, over a casing that keeps them apart from the surface. */
export function paintTrail(ctx: CanvasRenderingContext2D, frame: Frame, trail: Trail, from: number, to: number, casing: string): void {
  const first = Math.max(1, from);
  if (to <= first || trail.length < 2) return;
  const corners = seen(frame, trail, first - 1, to);
  const whole = new Path2D();
  for (const i of corners) whole.lineTo(px(frame, trail.x[i]!), py(frame, trail.y[i]!));
  ctx.lineJoin = "bevel";
  ctx.lineCap = "round";
  ctx.strokeStyle = casing;
  if (corners.length > DENSE) strokeThin(ctx, whole);
  else strokeWide(ctx, whole);
  for (const [shade, path] of byShade(frame, trail, corners).entries()) {
    if (!path) continue;
    ctx.strokeStyle = SHADE[shade]!;
    ctx.stroke(path);
  }
}

function strokeWide(ctx: CanvasRenderingContext2D, casing: Path2D): void {
  ctx.lineWidth = 5;
  ctx.stroke(casing);
  ctx.lineWidth = 2.6;
}

/** One pixel of the screen, with the casing beside it instead of below. */
function strokeThin(ctx: CanvasRenderingContext2D, casing: Path2D): void {
  const pixel = 1 / ctx.getTransform().a;
  ctx.lineWidth = pixel;
  for (const by of [-pixel, pixel]) {
    ctx.translate(by, by);
    ctx.stroke(casing);
    ctx.translate(-by, -by);
  }
}

/** Those of the points `from`..`to` that lie visibly apart, the first and the last one always. */
export function seen(frame: Frame, trail: Trail, from: number, to: number): number[] {
  const near = (NEAR / frame.perUnit) ** 2;
  const kept = [from];
  let [x, y] = [trail.x[from]!, trail.y[from]!];
  for (let i = from + 1; i < to - 1; i++) {
    if ((trail.x[i]! - x) ** 2 + (trail.y[i]! - y) ** 2 < near) continue;
    [x, y] = [trail.x[i]!, trail.y[i]!];
    kept.push(i);
  }
  if (to - 1 > from) kept.push(to - 1);
  return kept;
}

function byShade(frame: Frame, trail: Trail, corners: readonly number[]): (Path2D | undefined)[] {
  const paths: (Path2D | undefined)[] = new Array<Path2D | undefined>(SHADES);
  let before = -1;
  for (let k = 1; k < corners.length; k++) {
    const [last, i] = [corners[k - 1]!, corners[k]!];
    const shade = trail.shade[i]!;
    const path = (paths[shade] ??= new Path2D());
    if (shade !== before) path.moveTo(px(frame, trail.x[last]!), py(frame, trail.y[last]!));
    path.lineTo(px(frame, trail.x[i]!), py(frame, trail.y[i]!));
    before = shade;
  }
  return paths;
}
