// Paints the measured loss of a plane as bands of equal loss.
import { contours } from "d3-contour";
import { px, py, type Frame } from "./frame";
import { SHADE, shadeOf, shareOf, valueAt, type Scale } from "./scale";
import type { Grid } from "./scene";

const BANDS = 22;

export interface Band {
  readonly value: number;
  readonly rings: readonly (readonly (readonly [number, number])[])[];
}

/**
 * Where the loss is at least each level, as rings on the plane, lowest level first. d3 takes a value to lie in the middle
 * of its cell, so the first point of the grid is at 0.5; one cell is added around, or bands would bend at the edge.
 */
export function bandsOf(grid: Grid, levels: readonly number[]): Band[] {
  const made = contours().size([grid.xs.length + 2, grid.ys.length + 2]).thresholds([...levels])(padded(grid));
  return made.map((band) => ({
    value: band.value,
    rings: band.coordinates.flatMap((polygon) => polygon.map((ring) => ring.map(([x = 0, y = 0]) => [along(grid.xs, x - 1.5), along(grid.ys, y - 1.5)] as const))),
  }));
}

/** The value at a place between two entries; beyond the ends it goes on as before them. */
function along(values: readonly number[], at: number): number {
  const low = Math.min(Math.max(Math.floor(at), 0), values.length - 2);
  return values[low]! + (at - low) * (values[low + 1]! - values[low]!);
}

/** The grid with its edge repeated once around. */
function padded({ loss, xs, ys }: Grid): number[] {
  const at = (i: number, last: number) => Math.min(Math.max(i - 1, 0), last);
  const values: number[] = [];
  for (let i = 0; i < ys.length + 2; i++) {
    const row = loss[at(i, ys.length - 1)]!;
    for (let j = 0; j < xs.length + 2; j++) values.push(Math.min(row[at(j, xs.length - 1)]!, Number.MAX_VALUE));
  }
  return values;
}

export function paintSurface(ctx: CanvasRenderingContext2D, frame: Frame, grid: Grid, scale: Scale, line: string): void {
  if (grid.xs.length < 2 || grid.ys.length < 2) return;
  const [left, right, top, bottom] = [px(frame, grid.xs[0]!), px(frame, grid.xs.at(-1)!), py(frame, grid.ys.at(-1)!), py(frame, grid.ys[0]!)];
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, right - left, bottom - top);
  ctx.clip();
  ctx.fillStyle = SHADE[0]!;
  ctx.fillRect(left, top, right - left, bottom - top);
  ctx.strokeStyle = line;
  ctx.lineWidth = 0.75;
  const levels = Array.from({ length: BANDS - 1 }, (_, i) => valueAt(scale, (i + 1) / BANDS));
  for (const band of bandsOf(grid, levels)) {
    ctx.beginPath();
    for (const ring of band.rings) trace(ctx, frame, ring);
    ctx.fillStyle = SHADE[shadeOf(shareOf(scale, band.value) + 0.5 / BANDS)]!;
    ctx.fill("evenodd");
    ctx.stroke();
  }
  ctx.restore();
}

function trace(ctx: CanvasRenderingContext2D, frame: Frame, ring: readonly (readonly [number, number])[]): void {
  ring.forEach(([x, y], i) => (i ? ctx.lineTo(px(frame, x), py(frame, y)) : ctx.moveTo(px(frame, x), py(frame, y))));
  ctx.closePath();
}
