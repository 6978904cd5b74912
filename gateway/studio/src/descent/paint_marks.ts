// Paints axes and the marks of the path; each mark has a shape of its own, so that none is told apart by colour alone.
import { num } from "../lib/format";
import { px, py, unitX, unitY, type Frame } from "./frame";
import { ticks } from "./scale";

export type MarkKind = "start" | "current" | "best" | "promoted";

export interface Mark {
  readonly kind: MarkKind;
  readonly x: number;
  readonly y: number;
}

export interface Ink {
  readonly text: string;
  readonly grid: string;
  readonly fill: string;
  readonly edge: string;
  readonly accent: string;
  /** Around the path, where no surface is below it. */
  readonly casing: string;
}

export function paintAxes(ctx: CanvasRenderingContext2D, frame: Frame, ink: Ink): void {
  ctx.font = "11px system-ui, sans-serif";
  ctx.fillStyle = ink.text;
  ctx.strokeStyle = ink.grid;
  ctx.lineWidth = 1;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const at of ticks(unitX(frame, frame.left), unitX(frame, frame.right), 6)) {
    const x = Math.round(px(frame, at)) + 0.5;
    line(ctx, x, frame.top, x, frame.bottom);
    ctx.fillText(num(at), x, frame.bottom + 5);
  }
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const at of ticks(unitY(frame, frame.bottom), unitY(frame, frame.top), 6)) {
    const y = Math.round(py(frame, at)) + 0.5;
    line(ctx, frame.left, y, frame.right, y);
    ctx.fillText(num(at), frame.left - 6, y);
  }
}

export function paintAxisNames(ctx: CanvasRenderingContext2D, frame: Frame, ink: Ink): void {
  ctx.font = "11px system-ui, sans-serif";
  ctx.fillStyle = ink.text;
  ctx.textAlign = "center";
  ctx.textBaseline = "bottom";
  ctx.fillText("displacement along direction 1", (frame.left + frame.right) / 2, frame.height - 1);
  ctx.save();
  ctx.translate(9, (frame.top + frame.bottom) / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.textBaseline = "middle";
  ctx.fillText("along direction 2", 0, 0);
  ctx.restore();
}

function line(ctx: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

export function paintMark(ctx: CanvasRenderingContext2D, kind: MarkKind, x: number, y: number, ink: Ink, size = 7): void {
  ctx.beginPath();
  shape(ctx, kind, x, y, size);
  ctx.lineJoin = "round";
  ctx.lineWidth = 4;
  ctx.strokeStyle = ink.edge;
  ctx.stroke();
  ctx.fillStyle = kind === "promoted" ? "transparent" : ink.fill;
  ctx.fill();
  ctx.lineWidth = kind === "promoted" ? 2.2 : 1.2;
  ctx.strokeStyle = kind === "promoted" ? ink.fill : ink.edge;
  ctx.stroke();
}

function shape(ctx: CanvasRenderingContext2D, kind: MarkKind, x: number, y: number, r: number): void {
  if (kind === "start") ctx.rect(x - r * 0.75, y - r * 0.75, 1.5 * r, 1.5 * r);
  else if (kind === "current") ctx.arc(x, y, r * 0.95, 0, 2 * Math.PI);
  else if (kind === "promoted") polygon(ctx, x, y, [[0, -1.9], [1.9, 0], [0, 1.9], [-1.9, 0]], r);
  else polygon(ctx, x, y, STAR, r);
}

const STAR: readonly (readonly [number, number])[] = Array.from({ length: 10 }, (_, i) => {
  const [angle, radius] = [(Math.PI * i) / 5 - Math.PI / 2, i % 2 ? 0.52 : 1.25];
  return [radius * Math.cos(angle), radius * Math.sin(angle)] as const;
});

function polygon(ctx: CanvasRenderingContext2D, x: number, y: number, corners: readonly (readonly [number, number])[], r: number): void {
  corners.forEach(([dx, dy], i) => (i ? ctx.lineTo(x + r * dx, y + r * dy) : ctx.moveTo(x + r * dx, y + r * dy)));
  ctx.closePath();
}
