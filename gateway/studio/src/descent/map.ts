// The canvas of the descent: paints when something changed, and tells what lies under the pointer.
import { effect } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { num } from "../lib/format";
import { theme } from "../lib/theme";
import { FlatPainter } from "./flat";
import { px, py } from "./frame";
import type { Picture } from "./picture";
import type { Player } from "./player";
import type { Spot } from "./scene";
import { SpatialPainter } from "./spatial";

const NEAR_PX = 28;
const ZOOMS = [["+", "Closer", 1.4], ["−", "Farther", 1 / 1.4], ["◱", "All of it", 0]] as const;

interface Props {
  readonly picture: Picture;
  readonly player: Player;
  readonly inSpace: boolean;
  readonly words: string;
}

export function DescentMap({ picture, player, inSpace, words }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const stage = useRef<Stage | null>(null);
  const [hovered, setHovered] = useState<{ spot: Spot; x: number; y: number } | null>(null);
  const now = theme.value;
  useEffect(() => {
    const made = new Stage(canvas.current!, player, inSpace);
    stage.current = made;
    return () => made.close();
  }, [player, inSpace]);
  useEffect(() => stage.current?.show(picture), [picture, inSpace, player]);
  useEffect(() => stage.current?.recolour(), [now]);
  useEffect(() => stage.current?.hover(hovered?.spot ?? null), [hovered]);
  const move = (event: PointerEvent) => {
    if (event.buttons) {
      stage.current?.pan(event.movementX, event.movementY);
      return setHovered(null);
    }
    setHovered(stage.current?.nearest(event.offsetX, event.offsetY) ?? null);
  };
  return html`<div class="map">
    <canvas ref=${canvas} role="img" tabindex="0" aria-label=${words} data-testid="descent-canvas" onPointerMove=${move} onPointerLeave=${() => setHovered(null)}
      onPointerDown=${(event: PointerEvent) => canvas.current?.setPointerCapture(event.pointerId)} onWheel=${(event: WheelEvent) => stage.current?.wheel(event)}
      onDblClick=${() => stage.current?.whole()} onKeyDown=${(event: KeyboardEvent) => stage.current?.key(event)}></canvas>
    <div class="zoom" role="group" aria-label="Zoom">${ZOOMS.map(([sign, name, factor]) => html`<button type="button" key=${name} class="button icon-only" aria-label=${name} title=${name} onClick=${() => stage.current?.zoom(factor)}>${sign}</button>`)}</div>
    ${hovered && html`<div class="tip" style=${{ transform: `translate(${hovered.x}px, ${hovered.y}px)` }}><b>step ${hovered.spot.step}</b>
      <span>probe loss ${num(hovered.spot.probeLoss)}</span><span>training loss ${num(hovered.spot.loss)}</span><span>lr ${num(hovered.spot.lr)}</span><span>off the plane ${num(hovered.spot.offPlane)}</span></div>`}
  </div>`;
}

/** Holds the painter and asks for one frame at a time. */
class Stage {
  readonly #painter: FlatPainter | SpatialPainter;
  readonly #observer: ResizeObserver;
  readonly #unfollow: () => void;
  #picture: Picture | null = null;
  #hovered: Spot | null = null;
  #frame = 0;

  constructor(readonly canvas: HTMLCanvasElement, readonly player: Player, inSpace: boolean) {
    this.#painter = inSpace ? new SpatialPainter(canvas) : new FlatPainter(canvas);
    this.#observer = new ResizeObserver(() => this.#picture && this.show(this.#picture));
    this.#observer.observe(canvas);
    this.#unfollow = effect(() => (player.shown.value, this.request()));
  }

  close(): void {
    this.#observer.disconnect();
    this.#unfollow();
    cancelAnimationFrame(this.#frame);
  }

  show(picture: Picture): void {
    this.#picture = picture;
    this.#painter.show(picture, this.canvas.clientWidth, this.canvas.clientHeight);
    this.request();
  }

  recolour(): void {
    this.#painter.recolour();
    this.request();
  }

  hover(spot: Spot | null): void {
    this.#hovered = spot;
    this.request();
  }

  pan(dx: number, dy: number): void {
    this.#painter.pan(dx, dy);
    this.request();
  }

  whole(): void {
    this.#painter.whole();
    this.request();
  }

  /** Around the middle; 0 shows everything. */
  zoom(factor: number): void {
    if (factor) this.#zoom(factor, this.canvas.clientWidth / 2, this.canvas.clientHeight / 2);
    else this.whole();
  }

  /** With Ctrl or Cmd, as on maps inside pages; a bare wheel scrolls the page. */
  wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
  }

  key(event: KeyboardEvent): void {
    const act = this.#keys()[event.key];
    if (!act) return;
    event.preventDefault();
    act(event.shiftKey ? 10 : 1);
  }

  #keys(): Record<string, (by: number) => void> {
    return {
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      "0": () => this.zoom(0),
      ArrowLeft: (by) => this.player.step(-by),
      ArrowRight: (by) => this.player.step(by),
      " ": () => (this.player.isPlaying.peek() ? this.player.pause() : this.player.play()),
    };
  }

  #zoom(factor: number, x: number, y: number): void {
    this.#painter.zoom(factor, x, y);
    this.request();
  }

  nearest(x: number, y: number): { spot: Spot; x: number; y: number } | null {
    const [frame, spots] = [this.#painter.frame, this.#picture?.plane.spots];
    if (!frame || !spots) return null;
    let [found, least] = [null as Spot | null, NEAR_PX ** 2];
    for (let i = 0; i < this.player.shown.peek() && i < spots.length; i++) {
      const far = (px(frame, spots[i]!.x) - x) ** 2 + (py(frame, spots[i]!.y) - y) ** 2;
      if (far < least) [found, least] = [spots[i]!, far];
    }
    return found && { spot: found, x: px(frame, found.x), y: py(frame, found.y) };
  }

  request(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#painter.paint(this.player.shown.peek(), this.#hovered));
  }
}
