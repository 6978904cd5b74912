// Which planes a run's path can be drawn on, and which of them has a measured surface: asked of the gateway, never made up.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Event, RunPath, Run, Surface as Measured } from "../api";
import type { Course, Point } from "../lib/course";
import { get, wordsOf } from "../lib/http";
import { livePlane, type Plane, type PlaneKind, type Spot, type Surface } from "./scene";

const STILL_MEASURING_MS = 3000;

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

/** Every plane of the run, the one that it draws on while it runs first. */
export function usePlanes(run: Run, course: Course): Planes {
  const told = course.told.value;
  const news = course.said.filter(saysPlane);
  const hasSurface = news.some((event) => event.status === "surface_measured");
  const [asked, setAsked] = useState<Asked>(NOTHING);
  useEffect(() => (news.length ? keepAsking(run.run_id, hasSurface, setAsked) : undefined), [run.run_id, news.length]);
  return useMemo(() => ({ planes: merged(livePlane(course.points), asked), noSurface: asked.surface ? null : asked.noSurface }), [told, asked, course]);
}

/** Ask now, and again for as long as a surface is being measured, until the returned function is called. */
function keepAsking(runId: string, hasSurface: boolean, tell: (asked: Asked) => void): () => void {
  let timer = 0;
  let isOver = false;
  const ask = async () => {
    const asked = await askOnce(runId, hasSurface);
    if (isOver) return;
    tell(asked);
    if (asked.surface && asked.surface.measured < asked.surface.total) timer = window.setTimeout(() => void ask(), STILL_MEASURING_MS);
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
    kind: plane.kind, digest: plane.digest, share: plane.share, note: plane.note, surface: null,
    spots: plane.points.map((point): Spot => ({ step: point.step, x: point.x, y: point.y, offPlane: point.off_plane ?? null, probeLoss: point.probe_loss ?? null, planeLoss: null, loss: point.loss ?? null, lr: point.lr ?? null, share: null })),
  }));
  const found = live ? [live, ...stored.filter((plane) => plane.digest !== live.digest)] : stored;
  if (!surface) return found;
  const measured = surfaceOf(surface);
  const own = found.find((plane) => plane.digest === surface.digest);
  const onIt = surface.points.map((point): Spot => ({ step: point.step, x: point.x, y: point.y, offPlane: point.off_plane ?? null, probeLoss: point.loss ?? null, planeLoss: point.plane_loss ?? null, loss: null, lr: null, share: null }));
  if (!own) return [...found, { kind: surface.kind as PlaneKind, digest: surface.digest, share: surface.share, note: "", spots: onIt, surface: measured }];
  return found.map((plane) => (plane === own ? { ...plane, surface: measured, spots: withPlaneLoss(plane.spots, onIt) } : plane));
}

/** The path has more spots than the surface was measured along; those that were know their loss on the plane. */
function withPlaneLoss(spots: readonly Spot[], measured: readonly Spot[]): readonly Spot[] {
  if (spots.length < measured.length) return measured;
  const known = new Map(measured.map((spot) => [spot.step, spot.planeLoss]));
  return spots.map((spot) => ({ ...spot, planeLoss: known.get(spot.step) ?? null }));
}

function surfaceOf({ xs, ys, loss, measured, total, probe }: Measured): Surface {
  return { xs, ys, loss, measured, total, probe };
}

/** The plane to show when nobody has chosen: the measured one of a run that has ended, else the live one. */
export function preferred(planes: readonly Plane[], chosen: string | null, hasEnded: boolean): Plane | null {
  return planes.find((plane) => plane.digest === chosen) ?? (hasEnded ? planes.find((plane) => plane.surface) : undefined) ?? planes[0] ?? null;
}
