// Paints the measured loss of a plane: smooth bands once every point of the grid is measured, plain cells before.
import { contours } from "d3-contour";
import { px, py, type Frame } from "./frame";
import { SHADE, shadeOf, shareOf, valueAt, type Scale } from "./scale";
import type { Surface } from "./scene";

const BANDS = 22;

export function paintSurface(ctx: CanvasRenderingContext2D, frame: Frame, surface: Surface, scale: Scale, line: string): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(...outline(frame, surface));
  ctx.clip();
  if (surface.measured < surface.total) paintCells(ctx, frame, surface, scale);
  else paintBands(ctx, frame, surface, scale, line);
  ctx.restore();
}

const step = (values: readonly number[]): number => (values.length > 1 ? (values.at(-1)! - values[0]!) / (values.length - 1) : 1);

function outline(frame: Frame, { xs, ys }: Surface): [number, number, number, number] {
  const [left, right] = [px(frame, xs[0]!), px(frame, xs.at(-1)!)];
  const [top, bottom] = [py(frame, ys.at(-1)!), py(frame, ys[0]!)];
  return [left, top, right - left, bottom - top];
}

function paintCells(ctx: CanvasRenderingContext2D, frame: Frame, { xs, ys, loss }: Surface, scale: Scale): void {
  const [w, h] = [step(xs) * frame.perUnit, step(ys) * frame.perUnit];
  loss.forEach((row, i) => row.forEach((value, j) => {
    if (value === null) return;
    ctx.fillStyle = SHADE[shadeOf(shareOf(scale, value))]!;
    ctx.fillRect(px(frame, xs[j]!) - w / 2, py(frame, ys[i]!) - h / 2, w + 0.5, h + 0.5);
  }));
}

/** d3 takes a value to lie in the middle of its cell, so the grid's first point is at 0.5; one cell is added around. */
function paintBands(ctx: CanvasRenderingContext2D, frame: Frame, surface: Surface, scale: Scale, line: string): void {
  const { xs, ys } = surface;
  const [x, y, w, h] = outline(frame, surface);
  ctx.fillStyle = SHADE[0]!;
  ctx.fillRect(x, y, w, h);
  const toX = (at: number) => px(frame, xs[0]! + (at - 1.5) * step(xs));
  const toY = (at: number) => py(frame, ys[0]! + (at - 1.5) * step(ys));
  const levels = Array.from({ length: BANDS - 1 }, (_, i) => valueAt(scale, (i + 1) / BANDS));
  ctx.strokeStyle = line;
  ctx.lineWidth = 0.75;
  for (const band of contours().size([xs.length + 2, ys.length + 2]).thresholds(levels)(padded(surface))) {
    ctx.beginPath();
    for (const polygon of band.coordinates) for (const ring of polygon) trace(ctx, ring, toX, toY);
    ctx.fillStyle = SHADE[shadeOf(shareOf(scale, band.value) + 0.5 / BANDS)]!;
    ctx.fill("evenodd");
    ctx.stroke();
  }
}

function trace(ctx: CanvasRenderingContext2D, ring: readonly (readonly number[])[], toX: (at: number) => number, toY: (at: number) => number): void {
  ring.forEach(([x = 0, y = 0], i) => (i ? ctx.lineTo(toX(x), toY(y)) : ctx.moveTo(toX(x), toY(y))));
  ctx.closePath();
}

/** The grid with its edge repeated once around, so that no band bends at the edge. */
function padded({ loss, xs, ys }: Surface): number[] {
  const at = (i: number, last: number) => Math.min(Math.max(i - 1, 0), last);
  const values: number[] = [];
  for (let i = 0; i < ys.length + 2; i++) {
    const row = loss[at(i, ys.length - 1)]!;
    for (let j = 0; j < xs.length + 2; j++) values.push(row[at(j, xs.length - 1)] ?? NaN);
  }
  return values;
}
