// Paints the picture from above. What does not change between frames is kept in layers; a frame adds the new segments.
import { colour } from "../lib/theme";
import { frameOf, px, py, WHOLE, zoomed, type Frame, type Look } from "./frame";
import { paintAxes, paintAxisNames, paintMark, type Ink } from "./paint_marks";
import { paintTrail } from "./paint_path";
import { paintSurface } from "./paint_surface";
import type { Picture } from "./picture";
import { spotAt, type Spot } from "./scene";

export function inkNow(): Ink {
  return { text: colour("muted"), grid: colour("grid"), fill: colour("mark"), edge: colour("mark-edge"), accent: colour("accent"), casing: colour("casing") };
}

/** The surface has the colours of the path, so its casing must be of none of them. */
const ON_SURFACE = "#ffffff";

class Layer {
  readonly canvas = document.createElement("canvas");
  readonly ctx = this.canvas.getContext("2d")!;

  reset(width: number, height: number, ratio: number): void {
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  }
}

export class FlatPainter {
  #picture: Picture | null = null;
  #look: Look = WHOLE;
  #size = { width: 0, height: 0 };
  #frame: Frame | null = null;
  #ink: Ink = inkNow();
  readonly #ground = new Layer();
  readonly #path = new Layer();
  #painted = { trail: null as Picture["trail"] | null, count: 0, other: 0 };

  constructor(readonly canvas: HTMLCanvasElement) {}

  get frame(): Frame | null {
    return this.#frame;
  }

  show(picture: Picture, width: number, height: number): void {
    const isLonger = this.#picture && this.#extends(picture, width, height);
    this.#picture = picture;
    if (isLonger) this.#painted.trail = picture.trail;
    else this.#lay(width, height);
  }

  /** Whether only points were added, all in sight and in the same colours: then what is painted stays. */
  #extends(now: Picture, width: number, height: number): boolean {
    const before = this.#picture!;
    const sameExtent = (["x0", "x1", "y0", "y1"] as const).every((side) => before.extent[side] === now.extent[side]);
    const sameScale = before.scale?.low === now.scale?.low && before.scale?.high === now.scale?.high;
    return sameExtent && sameScale && now.colouring === "probe" && before.colouring === "probe" && before.plane.digest === now.plane.digest
      && before.plane.surface === now.plane.surface && before.other?.plane === now.other?.plane && width === this.#size.width && height === this.#size.height;
  }

  /** Read the colours anew and paint all of it again. */
  recolour(): void {
    this.#ink = inkNow();
    this.#lay(this.#size.width, this.#size.height);
  }

  zoom(factor: number, atX: number, atY: number): void {
    if (this.#frame) this.#look = zoomed(this.#look, this.#frame, factor, atX, atY);
    this.#lay(this.#size.width, this.#size.height);
  }

  pan(dx: number, dy: number): void {
    this.#look = { ...this.#look, dx: this.#look.dx + dx, dy: this.#look.dy + dy };
    this.#lay(this.#size.width, this.#size.height);
  }

  whole(): void {
    this.#look = WHOLE;
    this.#lay(this.#size.width, this.#size.height);
  }

  #lay(width: number, height: number): void {
    const picture = this.#picture;
    if (!picture || width < 40 || height < 40) return;
    const ratio = devicePixelRatio;
    this.#size = { width, height };
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const frame = (this.#frame = frameOf(picture.extent, width, height, this.#look));
    this.#ground.reset(width, height, ratio);
    this.#path.reset(width, height, ratio);
    this.#painted = { trail: picture.trail, count: 0, other: 0 };
    paintAxes(this.#ground.ctx, frame, this.#ink);
    inside(this.#ground.ctx, frame, (ctx) => {
      if (picture.plane.surface && picture.scale) paintSurface(ctx, frame, picture.plane.surface, picture.scale, colour("contour"));
    });
    paintAxisNames(this.#ground.ctx, frame, this.#ink);
  }

  /** One frame with the first `shown` points of the path; the other run is shown up to the same step. */
  paint(shown: number, hovered: Spot | null): void {
    const [picture, frame] = [this.#picture, this.#frame];
    const ctx = this.canvas.getContext("2d");
    if (!picture || !frame || !ctx) return;
    const step = picture.plane.spots[shown - 1]?.step ?? 0;
    this.#advance(picture, frame, shown, step);
    const ratio = this.canvas.width / this.#size.width;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, this.canvas.width, this.canvas.height);
    ctx.drawImage(this.#ground.canvas, 0, 0);
    ctx.drawImage(this.#path.canvas, 0, 0);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    inside(ctx, frame, () => this.#marks(ctx, picture, frame, shown, step, hovered));
  }

  #advance(picture: Picture, frame: Frame, shown: number, step: number): void {
    const other = picture.other && (picture.other.plane.spots.length && step ? countUntil(picture.other.plane.spots, step) : 0);
    if (shown < this.#painted.count || (other ?? 0) < this.#painted.other) {
      this.#path.reset(this.#size.width, this.#size.height, this.canvas.width / this.#size.width);
      this.#painted = { trail: picture.trail, count: 0, other: 0 };
    }
    inside(this.#path.ctx, frame, (ctx) => {
      if (picture.other && other) paintTrail(ctx, frame, picture.other.trail, this.#painted.other, other, this.#ink.text);
      paintTrail(ctx, frame, picture.trail, this.#painted.count, shown, picture.plane.surface ? ON_SURFACE : this.#ink.casing);
    });
    this.#painted = { trail: picture.trail, count: shown, other: other ?? 0 };
  }

  #marks(ctx: CanvasRenderingContext2D, picture: Picture, frame: Frame, shown: number, step: number, hovered: Spot | null): void {
    for (const { kind, spot } of picture.landmarks) {
      if (kind === "start" || spot.step <= step) paintMark(ctx, kind, px(frame, spot.x), py(frame, spot.y), this.#ink);
    }
    const others = picture.other && spotAt(picture.other.plane.spots, step);
    if (others) paintMark(ctx, "current", px(frame, others.x), py(frame, others.y), { ...this.#ink, fill: this.#ink.text }, 5);
    const current = picture.plane.spots[shown - 1];
    if (current) paintMark(ctx, "current", px(frame, current.x), py(frame, current.y), { ...this.#ink, fill: this.#ink.accent });
    if (hovered) paintMark(ctx, "current", px(frame, hovered.x), py(frame, hovered.y), { ...this.#ink, fill: "transparent", edge: this.#ink.fill }, 9);
  }
}

function countUntil(spots: readonly Spot[], step: number): number {
  const last = spotAt(spots, step);
  return last ? spots.indexOf(last) + 1 : 0;
}

function inside(ctx: CanvasRenderingContext2D, frame: Frame, paint: (ctx: CanvasRenderingContext2D) => void): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  ctx.clip();
  paint(ctx);
  ctx.restore();
}
