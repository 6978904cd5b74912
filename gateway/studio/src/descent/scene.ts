// What the gradient-descent view shows, as plain values. Decides nothing about pixels; draws nothing.
import type { Point } from "../lib/course";

export interface Spot {
  readonly step: number;
  readonly x: number;
  readonly y: number;
  /** Distance of the true point from the plane. */
  readonly offPlane: number | null;
  /** Measured on the fixed probe batch, at the true point. */
  readonly probeLoss: number | null;
  /** The same on the plane itself, where it was measured. */
  readonly planeLoss: number | null;
  readonly loss: number | null;
  readonly lr: number | null;
  /** Share of the squared displacement that the plane holds at this point. */
  readonly share: number | null;
}

/** Measured losses at every point of a grid, which may be spaced unevenly. Infinite where the loss is not finite. */
export interface Grid {
  readonly xs: readonly number[];
  readonly ys: readonly number[];
  /** Row y, column x. */
  readonly loss: readonly (readonly number[])[];
}

export interface Surface extends Grid {
  readonly measured: number;
  readonly total: number;
  /** What the loss was measured on. */
  readonly probe: { readonly rows: number; readonly tokens: number };
}

export type PlaneKind = "frozen" | "sketch_pca" | "snapshot_pca";

export interface Plane {
  readonly kind: PlaneKind;
  readonly digest: string;
  /** Of the whole motion; null where each point has its own. */
  readonly share: number | null;
  readonly note: string;
  readonly spots: readonly Spot[];
  readonly surface: Surface | null;
}

export const KIND_WORDS: Readonly<Record<PlaneKind, string>> = {
  frozen: "plane of the first steps",
  sketch_pca: "principal plane of the path so far",
  snapshot_pca: "principal plane of the snapshots",
};

/** The same, short enough to choose from. */
export const KIND_NAMES: Readonly<Record<PlaneKind, string>> = {
  frozen: "first steps",
  sketch_pca: "path so far",
  snapshot_pca: "snapshots",
};

export interface Extent {
  readonly x0: number;
  readonly x1: number;
  readonly y0: number;
  readonly y1: number;
}

export interface Range {
  readonly low: number;
  readonly high: number;
}

/** The plane that the run itself draws on while it runs, from its telemetry. */
export function livePlane(points: readonly Point[]): Plane | null {
  const last = points.at(-1);
  if (!last?.proj_digest) return null;
  const spots = points.filter((point) => point.proj_digest === last.proj_digest && point.proj_x != null && point.proj_y != null).map(spotOf);
  return { kind: "frozen", digest: last.proj_digest, share: last.proj_share ?? null, note: "", spots, surface: null };
}

export function spotOf(point: Point): Spot {
  return {
    step: point.step,
    x: point.proj_x ?? 0,
    y: point.proj_y ?? 0,
    offPlane: point.proj_off_plane ?? null,
    probeLoss: point.probe_loss ?? null,
    planeLoss: null,
    loss: point.loss ?? null,
    lr: point.lr ?? null,
    share: point.proj_share ?? null,
  };
}

/** What has to be in sight: start, every path, the surface. */
export function extentOf(planes: readonly Plane[]): Extent {
  let [x0, x1, y0, y1] = [0, 0, 0, 0];
  const see = (x: number, y: number) => {
    x0 = Math.min(x0, x);
    x1 = Math.max(x1, x);
    y0 = Math.min(y0, y);
    y1 = Math.max(y1, y);
  };
  for (const plane of planes) {
    for (const spot of plane.spots) see(spot.x, spot.y);
    if (plane.surface) {
      for (const x of plane.surface.xs) see(x, 0);
      for (const y of plane.surface.ys) see(0, y);
    }
  }
  if (x1 - x0 < 1e-9) [x0, x1] = [x0 - 1, x1 + 1];
  if (y1 - y0 < 1e-9) [y0, y1] = [y0 - 1, y1 + 1];
  return { x0, x1, y0, y1 };
}

/** Lowest and highest loss in sight, of path and surface together, so that one scale colours both. */
export function lossRange(planes: readonly Plane[]): Range | null {
  let [low, high] = [Infinity, -Infinity];
  const see = (loss: number | null) => {
    if (loss === null) return;
    low = Math.min(low, loss);
    high = Math.max(high, loss);
  };
  for (const plane of planes) {
    for (const spot of plane.spots) see(spot.probeLoss);
    for (const row of plane.surface?.loss ?? []) for (const loss of row) if (Number.isFinite(loss)) see(loss);
  }
  if (low > high) return null;
  return high - low < 1e-12 ? { low: low - 0.5, high: high + 0.5 } : { low, high };
}

type Partial = readonly (readonly (number | null)[])[];

/**
 * The finest grid of which every point is measured. A surface comes as nested grids, row by row, so that the columns of
 * the last row are those of the last whole one. Of a surface that is whole, null is a loss that is not finite.
 */
export function wholeGrid(xs: readonly number[], ys: readonly number[], loss: Partial, isWhole: boolean): Grid {
  const columns = indices(xs.length, (column) => isWhole || loss.at(-1)?.[column] != null);
  const rows = indices(ys.length, (row) => isWhole || columns.every((column) => loss[row]?.[column] != null));
  const pick = <T>(from: readonly T[], at: readonly number[]) => at.map((index) => from[index]!);
  return { xs: pick(xs, columns), ys: pick(ys, rows), loss: rows.map((row) => columns.map((column) => loss[row]?.[column] ?? Infinity)) };
}

function indices(count: number, wanted: (index: number) => boolean): number[] {
  return Array.from({ length: count }, (_, index) => index).filter(wanted);
}

/** The spot at a step, or the last one before it. */
export function spotAt(spots: readonly Spot[], step: number): Spot | null {
  let [low, high] = [0, spots.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spots[middle]?.step ?? Infinity) <= step) low = middle + 1;
    else high = middle;
  }
  return spots[low - 1] ?? null;
}
