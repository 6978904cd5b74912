// Paints the picture in space: the measured surface as a mesh, the path above it at its own loss. Turned by the person.
import { inkNow } from "./flat";
import { paintMark, type Ink } from "./paint_marks";
import type { Picture } from "./picture";
import { SHADE, shadeOf, shareOf } from "./scale";
import type { Spot, Surface } from "./scene";

const HEIGHT = 0.9;
/** How tall losses are beside the plane's half width. */
const MOST_FACES = 40;
/** Along each side of the mesh. */

interface Place {
  readonly x: number;
  readonly y: number;
  readonly depth: number;
}

type Project = (x: number, y: number, share: number) => Place;

interface Face {
  readonly corners: readonly Place[];
  readonly depth: number;
  readonly shade: number;
}

export class SpatialPainter {
  #picture: Picture | null = null;
  #size = { width: 0, height: 0 };
  #ink: Ink = inkNow();
  #turn = -0.7;
  #tilt = 0.62;
  #zoom = 1;

  constructor(readonly canvas: HTMLCanvasElement) {}

  readonly frame = null;

  show(picture: Picture, width: number, height: number): void {
    this.#picture = picture;
    this.#size = { width, height };
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
  }

  recolour(): void {
    this.#ink = inkNow();
  }

  zoom(factor: number): void {
    this.#zoom = Math.min(8, Math.max(0.5, this.#zoom * factor));
  }

  pan(dx: number, dy: number): void {
    this.#turn += dx / 150;
    this.#tilt = Math.min(1.5, Math.max(0.08, this.#tilt + dy / 200));
  }

  whole(): void {
    [this.#turn, this.#tilt, this.#zoom] = [-0.7, 0.62, 1];
  }

  paint(shown: number, hovered: Spot | null): void {
    const [picture, ctx] = [this.#picture, this.canvas.getContext("2d")];
    if (!picture || !ctx || this.#size.width < 40) return;
    const place = this.#projection(picture);
    ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    ctx.clearRect(0, 0, this.#size.width, this.#size.height);
    this.#floor(ctx, picture, place);
    if (picture.plane.surface && picture.scale) this.#mesh(ctx, picture, picture.plane.surface, place);
    this.#path(ctx, picture, picture.plane.spots, shown, place);
    const step = picture.plane.spots[shown - 1]?.step ?? 0;
    for (const { kind, spot } of picture.landmarks) if (kind === "start" || spot.step <= step) this.#mark(ctx, picture, kind, spot, place);
    const current = picture.plane.spots[shown - 1];
    if (current) this.#mark(ctx, picture, "current", current, place, this.#ink.accent);
    if (hovered) this.#mark(ctx, picture, "current", hovered, place, "transparent");
  }

  /** From the plane and a share of the loss scale to the canvas; a camera far enough away for little distortion. */
  #projection({ extent }: Picture): Project {
    const { width, height } = this.#size;
    const half = Math.max(extent.x1 - extent.x0, extent.y1 - extent.y0) / 2;
    const [cx, cy] = [(extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2];
    const [sin, cos, up, flat] = [Math.sin(this.#turn), Math.cos(this.#turn), Math.cos(this.#tilt), Math.sin(this.#tilt)];
    const size = Math.min(width, height * 1.25) * 0.31 * this.#zoom;
    return (x, y, share) => {
      const [u, v, w] = [(x - cx) / half, (y - cy) / half, (share - 0.5) * HEIGHT];
      const [right, away] = [u * cos - v * sin, u * sin + v * cos];
      const near = 4 / (4 + away * up - w * flat);
      return { x: width / 2 + right * size * near, y: height / 2 - (away * flat + w * up) * size * near, depth: away * up - w * flat };
    };
  }

  #floor(ctx: CanvasRenderingContext2D, { extent }: Picture, place: Project): void {
    ctx.strokeStyle = this.#ink.grid;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (let i = 0; i <= 8; i++) {
      const [x, y] = [extent.x0 + ((extent.x1 - extent.x0) * i) / 8, extent.y0 + ((extent.y1 - extent.y0) * i) / 8];
      for (const [a, b] of [[place(x, extent.y0, 0), place(x, extent.y1, 0)], [place(extent.x0, y, 0), place(extent.x1, y, 0)]] as const) {
        ctx.moveTo(a.x, a.y);
        ctx.lineTo(b.x, b.y);
      }
    }
    ctx.stroke();
  }

  #mesh(ctx: CanvasRenderingContext2D, picture: Picture, surface: Surface, place: Project): void {
    ctx.lineWidth = 0.6;
    for (const face of faces(picture, surface, place).sort((a, b) => b.depth - a.depth)) {
      ctx.beginPath();
      face.corners.forEach((corner, i) => (i ? ctx.lineTo(corner.x, corner.y) : ctx.moveTo(corner.x, corner.y)));
      ctx.closePath();
      ctx.globalAlpha = 0.82;
      ctx.fillStyle = ctx.strokeStyle = SHADE[face.shade]!;
      ctx.fill();
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  #path(ctx: CanvasRenderingContext2D, picture: Picture, spots: readonly Spot[], shown: number, place: Project): void {
    const places = spots.slice(0, shown).map((spot) => place(spot.x, spot.y, heightOf(picture, spot)));
    for (const [width, ink] of [[4.5, this.#ink.edge], [2.2, this.#ink.fill]] as const) {
      ctx.lineWidth = width;
      ctx.strokeStyle = ink;
      ctx.lineJoin = "bevel";
      ctx.beginPath();
      places.forEach(({ x, y }, i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
      ctx.stroke();
    }
  }

  #mark(ctx: CanvasRenderingContext2D, picture: Picture, kind: Parameters<typeof paintMark>[1], spot: Spot, place: Project, fill = this.#ink.fill): void {
    const known = spot.step === 0 ? { ...spot, probeLoss: picture.plane.spots[0]?.probeLoss ?? null } : spot;
    const at = place(spot.x, spot.y, heightOf(picture, known));
    paintMark(ctx, kind, at.x, at.y, { ...this.#ink, fill });
  }
}

/** The loss at the true point: above the surface by as much as leaving the plane cost or gained. */
function heightOf({ scale }: Picture, spot: Spot): number {
  const loss = spot.probeLoss ?? spot.planeLoss;
  return scale && loss !== null ? shareOf(scale, loss) : 0;
}

function faces({ scale }: Picture, { xs, ys, loss }: Surface, place: Project): Face[] {
  const every = Math.max(1, Math.ceil((Math.max(xs.length, ys.length) - 1) / MOST_FACES));
  const found: Face[] = [];
  for (let i = every; i < ys.length; i += every) {
    for (let j = every; j < xs.length; j += every) {
      const at = [[i - every, j - every], [i - every, j], [i, j], [i, j - every]] as const;
      if (!scale) continue;
      const shares = at.map(([row, column]) => Math.min(1, shareOf(scale, loss[row]![column]!)));
      const corners = at.map(([row, column], k) => place(xs[column]!, ys[row]!, shares[k]!));
      found.push({ corners, depth: corners.reduce((sum, corner) => sum + corner.depth, 0), shade: shadeOf(shares.reduce((sum, share) => sum + share, 0) / 4) });
    }
  }
  return found;
}
