// One picture of the descent, ready to be painted flat or in space.
import type { Run } from "../api";
import type { Course } from "../lib/course";
import { trailOf, type Colouring, type Trail } from "./paint_path";
import type { MarkKind } from "./paint_marks";
import { scaleFor, type Scale } from "./scale";
import { extentOf, lossRange, spotAt, type Extent, type Plane, type Spot } from "./scene";

export interface Picture {
  readonly plane: Plane;
  readonly trail: Trail;
  /** Another run on the same plane. */
  readonly other: { readonly plane: Plane; readonly trail: Trail; readonly name: string } | null;
  readonly scale: Scale | null;
  readonly extent: Extent;
  /** Marks that stay where they are; the current point moves. */
  readonly landmarks: readonly { readonly kind: MarkKind; readonly spot: Spot }[];
  readonly colouring: Colouring;
}

export function pictureOf(plane: Plane, other: { plane: Plane; name: string } | null, steps: Landmarks, colouring: Colouring): Picture {
  const planes = other ? [plane, other.plane] : [plane];
  const range = lossRange(planes);
  const scale = range && scaleFor(range.low, range.high);
  const trail = trailOf(plane.spots, colouring, scale);
  return {
    plane, trail, scale, colouring, extent: extentOf(planes), landmarks: landmarks(plane, steps),
    other: other && { ...other, trail: trailOf(other.plane.spots, colouring, scale) },
  };
}

export interface Landmarks {
  readonly best: number | null;
  readonly promoted: number | null;
}

/** Best is the trained step with the lowest held-out loss; it is also what is promoted. */
export function landmarksOf(run: Run, course: Course): Landmarks {
  const best = run.summary?.best_step ?? course.best?.step ?? null;
  return { best, promoted: run.promotion?.promoted ? best : null };
}

const START: Spot = { step: 0, x: 0, y: 0, offPlane: 0, probeLoss: null, planeLoss: null, loss: null, lr: null, share: null };

function landmarks(plane: Plane, { best, promoted }: Landmarks): { kind: MarkKind; spot: Spot }[] {
  const at = (kind: MarkKind, step: number | null) => {
    const spot = step === null ? null : spotAt(plane.spots, step);
    return spot ? [{ kind, spot }] : [];
  };
  return [{ kind: "start", spot: START }, ...at("promoted", promoted), ...at("best", best)];
}
