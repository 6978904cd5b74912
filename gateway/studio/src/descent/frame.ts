// From the plane to the canvas and back: both axes have one scale, so that distances look as they are.
import type { Extent } from "./scene";

export interface Look {
  /** 1 shows everything. */
  readonly zoom: number;
  /** Shift of the picture, in pixels. */
  readonly dx: number;
  readonly dy: number;
}

export const WHOLE: Look = { zoom: 1, dx: 0, dy: 0 };
const LEFT = 46;
const BOTTOM = 34;
const AROUND = 14;

export interface Frame {
  readonly width: number;
  readonly height: number;
  /** The room inside the axes. */
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  readonly perUnit: number;
  readonly originX: number;
  readonly originY: number;
}

export function frameOf(extent: Extent, width: number, height: number, look: Look): Frame {
  const [left, top, right, bottom] = [LEFT, AROUND, width - AROUND, height - BOTTOM];
  const fit = Math.min((right - left) / (extent.x1 - extent.x0), (bottom - top) / (extent.y1 - extent.y0)) * 0.94;
  const perUnit = fit * look.zoom;
  const [cx, cy] = [(extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2];
  return {
    width, height, left, top, right, bottom, perUnit,
    originX: (left + right) / 2 - cx * perUnit + look.dx,
    originY: (top + bottom) / 2 + cy * perUnit + look.dy,
  };
}

export const px = (frame: Frame, x: number): number => frame.originX + x * frame.perUnit;
export const py = (frame: Frame, y: number): number => frame.originY - y * frame.perUnit;
export const unitX = (frame: Frame, at: number): number => (at - frame.originX) / frame.perUnit;
export const unitY = (frame: Frame, at: number): number => (frame.originY - at) / frame.perUnit;

/** The look after zooming by `factor` around a place on the canvas. */
export function zoomed(look: Look, frame: Frame, factor: number, atX: number, atY: number): Look {
  const zoom = Math.min(64, Math.max(1, look.zoom * factor));
  if (zoom === 1) return WHOLE;
  const by = zoom / look.zoom;
  const [middleX, middleY] = [(frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2];
  return { zoom, dx: (look.dx - atX + middleX) * by + atX - middleX, dy: (look.dy - atY + middleY) * by + atY - middleY };
}
