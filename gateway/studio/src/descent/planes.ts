// Which planes a run's path can be drawn on, and which of them has a measured surface: asked of the gateway, never made up.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Event, PathPoint, Run, RunPath, Surface as Measured, SurfacePoint } from "../api";
import type { Course, Point } from "../lib/course";
import { get, wordsOf } from "../lib/http";
import { livePlane, wholeGrid, type Plane, type PlaneKind, type Spot, type Surface } from "./scene";

const AGAIN_MS = 2500;

export interface Planes {
  readonly planes: readonly Plane[];
  /** Why there is no surface, in words; null while one is there. */
  readonly noSurface: string | null;
}

interface Asked {
  readonly path: RunPath | null;
  readonly surface: Measured | null;
  readonly noSurface: string;
}

const NOTHING: Asked = { path: null, surface: null, noSurface: "" };

/** Every plane of the run, the one that it draws on while it runs first. Those that are fitted again are asked for while shown. */
export function usePlanes(run: Run, course: Course, chosen: PlaneKind | null): Planes {
  const told = course.told.value;
  const news = course.said.filter(saysPlane);
  const hasSurface = news.some((event) => event.status === "surface_measured");
  const [asked, setAsked] = useState<Asked>(NOTHING);
  const isMoving = run.status === "running" && chosen !== null && chosen !== "frozen";
  useEffect(() => (news.length ? keepAsking(run.run_id, hasSurface, isMoving, setAsked) : undefined), [run.run_id, news.length, isMoving]);
  return useMemo(() => ({ planes: merged(livePlane(course.points), asked), noSurface: asked.surface ? null : asked.noSurface }), [told, asked, course]);
}

/** Ask now, and again while the plane moves or its surface is being measured, until the returned function is called. */
function keepAsking(runId: string, hasSurface: boolean, isMoving: boolean, tell: (asked: Asked) => void): () => void {
  let timer = 0;
  let isOver = false;
  const ask = async () => {
    const asked = await askOnce(runId, hasSurface);
    if (isOver) return;
    tell(asked);
    if (isMoving || (asked.surface && asked.surface.measured < asked.surface.total)) timer = window.setTimeout(() => void ask(), AGAIN_MS);
  };
  void ask();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** Whether an event says that a plane or its surface is there to be asked for. */
export const saysPlane = (event: Event): boolean => event.type === "state" && /^(plane|surface)_/.test(event.status ?? "");

async function askOnce(runId: string, hasSurface: boolean): Promise<Asked> {
  const about = `/api/agent/train/run/${encodeURIComponent(runId)}`;
  const asked = hasSurface ? get<Measured>(`${about}/surface`) : Promise.resolve(null);
  const [path, surface] = await Promise.allSettled([get<RunPath>(`${about}/path`), asked]);
  return {
    path: path.status === "fulfilled" ? path.value : null,
    surface: surface.status === "fulfilled" ? surface.value : null,
    noSurface: surface.status === "fulfilled" ? "" : wordsOf(surface.reason),
  };
}

/** The planes of a run that nobody follows, from its events. */
export async function planesOf(runId: string, events: readonly Event[]): Promise<Plane[]> {
  const points = events.filter((event): event is Point => event.type === "telemetry" && event.step != null);
  const news = events.filter(saysPlane);
  const asked = news.length ? await askOnce(runId, news.some((event) => event.status === "surface_measured")) : NOTHING;
  return merged(livePlane(points), asked);
}

function merged(live: Plane | null, { path, surface }: Asked): Plane[] {
  const stored = (path?.planes ?? []).map((plane): Plane => ({
    kind: plane.kind, digest: plane.digest, share: plane.share, note: plane.note, spots: plane.points.map(spotOfPath), surface: null,
  }));
  const found = live ? [live, ...stored.filter((plane) => plane.kind !== live.kind)] : stored;
  if (!surface) return found;
  const own = found.find((plane) => plane.digest === surface.digest);
  const along = surface.points.map(spotOfSurface);
  const measured: Plane = { kind: surface.kind, digest: surface.digest, share: surface.share, note: own?.note ?? "", spots: own ? withPlaneLoss(own.spots, along) : along, surface: surfaceOf(surface) };
  return [...found.filter((plane) => plane.kind !== surface.kind), measured];
}

function spotOfPath({ step, x, y, off_plane, probe_loss, loss, lr }: PathPoint): Spot {
  return { step, x, y, offPlane: off_plane, probeLoss: probe_loss, planeLoss: null, loss, lr, share: null };
}

function spotOfSurface({ step, x, y, off_plane, loss, plane_loss }: SurfacePoint): Spot {
  return { step, x, y, offPlane: off_plane, probeLoss: loss, planeLoss: plane_loss, loss: null, lr: null, share: null };
}

/** The path has more spots than the surface was measured along; those that were know their loss on the plane. */
function withPlaneLoss(spots: readonly Spot[], measured: readonly Spot[]): readonly Spot[] {
  if (spots.length < measured.length) return measured;
  const known = new Map(measured.map((spot) => [spot.step, spot.planeLoss]));
  return spots.map((spot) => ({ ...spot, planeLoss: known.get(spot.step) ?? null }));
}

function surfaceOf({ xs, ys, loss, measured, total, probe }: Measured): Surface {
  return { ...wholeGrid(xs, ys, loss, measured >= total), measured, total, probe };
}

/** The plane to show when nobody has chosen: the measured one of a run that has ended, else the live one. */
export function preferred(planes: readonly Plane[], chosen: PlaneKind | null, hasEnded: boolean): Plane | null {
  return planes.find((plane) => plane.kind === chosen) ?? (hasEnded ? planes.find((plane) => plane.surface) : undefined) ?? planes[0] ?? null;
}
