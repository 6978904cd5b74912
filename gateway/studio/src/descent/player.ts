// Which part of a path is shown: all that has come (live), or up to a point that a person plays or scrubs through.
import { computed, signal } from "@preact/signals";

const WHOLE_S = 14;
const SLOWEST_PER_S = 6;
export const SPEEDS = [0.5, 1, 2, 4, 8] as const;

export class Player {
  /** Points that there are. */
  readonly length = signal(0);
  readonly isLive = signal(true);
  readonly isPlaying = signal(false);
  readonly speed = signal<number>(1);
  readonly #at = signal(0);
  #frame = 0;
  #last = 0;

  /** Points that are shown. */
  readonly shown = computed(() => (this.isLive.value ? this.length.value : Math.min(Math.floor(this.#at.value), this.length.value)));

  goLive(): void {
    this.pause();
    this.isLive.value = true;
  }

  seek(count: number): void {
    this.isLive.value = false;
    this.#at.value = Math.max(1, Math.min(count, this.length.peek()));
  }

  step(by: number): void {
    this.pause();
    this.seek(this.shown.peek() + by);
  }

  play(): void {
    if (this.shown.peek() >= this.length.peek()) this.seek(1);
    this.isLive.value = false;
    this.isPlaying.value = true;
    this.#last = performance.now();
    this.#frame = requestAnimationFrame(this.#tick);
  }

  pause(): void {
    cancelAnimationFrame(this.#frame);
    this.isPlaying.value = false;
  }

  #tick = (now: number): void => {
    const perSecond = Math.max(SLOWEST_PER_S, this.length.peek() / WHOLE_S) * this.speed.peek();
    this.#at.value = Math.min(this.length.peek(), this.#at.peek() + ((now - this.#last) / 1000) * perSecond);
    this.#last = now;
    if (this.#at.peek() >= this.length.peek()) this.pause();
    else this.#frame = requestAnimationFrame(this.#tick);
  };
}
