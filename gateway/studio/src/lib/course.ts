// What a run has told so far, sorted by what it says. Fed event by event; components listen to `told`.
import { signal } from "@preact/signals";
import type { Event } from "../api";

export interface Point extends Event {
  readonly step: number;
}

export class Course {
  /** Measured steps that have a place on the plane, in order. */
  readonly points: Point[] = [];
  /** Measured steps whose place on the plane is not told yet. */
  #waiting: Point[] = [];
  /** Evaluations on all held-out rows. */
  readonly evaluations: Point[] = [];
  /** Everything that is said in words or changes the state. */
  readonly said: Event[] = [];
  progress: Event | null = null;
  /** Byte offset after the last event that was taken in. */
  place = 0;
  /** Counts events; a component that reads it is drawn again when more have come. */
  readonly told = signal(0);

  constructor(readonly runId: string) {}

  /** Begin again from nothing. */
  forget(): void {
    for (const list of [this.points, this.evaluations, this.said, this.#waiting]) list.length = 0;
    this.progress = null;
    this.place = 0;
  }

  take(event: Event): void {
    if (event.type === "telemetry" && event.step != null) this.points.push(event as Point);
    else if (event.type === "metrics" && event.step != null) this.evaluations.push(event as Point);
    else if (event.type === "progress") this.#progressed(event);
    else this.said.push(event);
  }

  #progressed(event: Event): void {
    this.progress = event;
    if (event.step != null && event.loss != null) this.#waiting.push(event as Point);
  }

  /** Everything measured, in order, with or without a place on the plane. */
  get measured(): readonly Point[] {
    const placed = this.points.at(-1)?.step ?? -1;
    this.#waiting = this.#waiting.filter((point) => point.step > placed);
    return this.#waiting.length ? [...this.points, ...this.#waiting] : this.points;
  }

  /** Steps planned, as far as the run has said. */
  get stepsPlanned(): number | null {
    const { step, percent } = this.progress ?? {};
    return step != null && percent ? Math.round((step * 100) / percent) : null;
  }

  get lastMeasured(): Point | null {
    return this.measured.at(-1) ?? null;
  }

  get best(): Point | null {
    return best(this.evaluations);
  }
}

/** The evaluation of a trained step with the lowest held-out loss. */
function best(evaluations: readonly Point[]): Point | null {
  let found: Point | null = null;
  for (const one of evaluations) {
    const loss = one.metrics?.["eval_loss"];
    if (loss != null && one.step > 0 && loss < (found?.metrics?.["eval_loss"] ?? Infinity)) found = one;
  }
  return found;
}
