// The page's one stream: the list of runs, the aliases, and the events of the runs that somebody looks at.
// It comes back by itself, and goes on exactly where each run's story was left.
import { signal } from "@preact/signals";
import type { AliasMove, Event, Run } from "../api";
import { Course } from "./course";
import { get, headers, key, keyWanted, reach, Refusal } from "./http";
import { eventsOf, type ServerEvent } from "./sse";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const SILENCE_MS = 45_000;
const SILENT = "silent";

export const connection = signal<"connecting" | "live" | "lost">("connecting");
export const runs = signal<ReadonlyMap<string, Run>>(new Map());
/** Whether the list has come at least once. */
export const hasRuns = signal(false);
/** For each base the moves of its alias, oldest first. */
export const moves = signal<Readonly<Record<string, readonly AliasMove[]>>>({});

const courses = new Map<string, Course>();
const watchers = new Map<string, number>();
let current: AbortController | null = null;
let wake: () => void = () => undefined;

export function courseOf(runId: string): Course {
  let course = courses.get(runId);
  if (!course) courses.set(runId, (course = new Course(runId)));
  return course;
}

/** Follow a run's events until the returned function is called. */
export function watch(runId: string): () => void {
  const count = watchers.get(runId) ?? 0;
  watchers.set(runId, count + 1);
  if (!count) restart();
  return () => {
    const left = (watchers.get(runId) ?? 1) - 1;
    if (left) watchers.set(runId, left);
    else watchers.delete(runId);
  };
}

/** Keep the stream open for as long as the page is there. */
export async function stayConnected(): Promise<never> {
  key.subscribe(keyChanged);
  let waitMs = FIRST_WAIT_MS;
  for (;;) {
    const began = Date.now();
    const wasAsked = await readOnce();
    if (wasAsked || Date.now() - began > 10_000) waitMs = FIRST_WAIT_MS;
    if (wasAsked) continue;
    connection.value = "lost";
    await new Promise<void>((resolve) => {
      wake = resolve;
      setTimeout(resolve, waitMs);
    });
    waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
  }
}

let knownKey = key.peek();
function keyChanged(now: string): void {
  if (now !== knownKey) restart();
  knownKey = now;
}

let restartQueued = false;
function restart(): void {
  if (restartQueued) return;
  restartQueued = true;
  queueMicrotask(() => {
    restartQueued = false;
    current?.abort();
    wake();
  });
}

/** One connection to its end; true when the page itself ended it, to ask for something else. */
async function readOnce(): Promise<boolean> {
  const control = (current = new AbortController());
  const chosen = [...watchers.keys()].slice(-20);
  const places = chosen.map((id) => [id, courseOf(id).place] as const).filter(([, place]) => place);
  const lastId = places.map(([id, place]) => `${id}=${place}`).join(",");
  const query = chosen.length ? `?runs=${encodeURIComponent(chosen.join(","))}` : "";
  try {
    const asked = { headers: headers(lastId ? { "last-event-id": lastId } : {}), signal: control.signal };
    const answer = await reach(`/api/agent/train/stream${query}`, asked);
    connection.value = "live";
    keyWanted.value = null;
    await readWhileAlive(answer, control);
    return false;
  } catch (error) {
    if (error instanceof Refusal && error.status < 500) await giveUp(error, chosen);
    return control.signal.aborted && control.signal.reason !== SILENT;
  }
}

/** Take what comes; a stream that says nothing for three heartbeats is taken for dead. */
async function readWhileAlive(answer: Response, control: AbortController): Promise<void> {
  let timer = 0;
  const isAlive = () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => control.abort(SILENT), SILENCE_MS);
  };
  try {
    isAlive();
    for await (const events of eventsOf(answer)) {
      isAlive();
      take(events);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** What the gateway does not know any more is not asked for again: a run that is gone, a place in a file that is another. */
async function giveUp({ status }: Refusal, chosen: readonly string[]): Promise<void> {
  if (status === 404) for (const runId of await gone(chosen)) watchers.delete(runId);
  if (status === 400) for (const runId of chosen) courseOf(runId).forget();
}

/** Which of the runs the gateway does not know; a refusal of them together does not say. */
async function gone(chosen: readonly string[]): Promise<string[]> {
  const isGone = (runId: string) =>
    get<Run>(`/api/agent/train/run/${encodeURIComponent(runId)}`).then(
      () => false,
      (error: unknown) => error instanceof Refusal && error.status === 404,
    );
  const answers = await Promise.all(chosen.map(isGone));
  return chosen.filter((_, place) => answers[place]);
}

function take(events: readonly ServerEvent[]): void {
  const touched = new Map<Course, number>();
  for (const event of events) {
    if (event.kind === "runs") takeList(JSON.parse(event.data).runs);
    else if (event.kind === "run") takeRun(JSON.parse(event.data));
    else if (event.kind === "aliases") moves.value = JSON.parse(event.data).bases;
    else if (event.id) {
      const course = takeEvent(JSON.parse(event.data), event.id);
      if (course) touched.set(course, (touched.get(course) ?? 0) + 1);
    }
  }
  for (const [course, count] of touched) course.told.value += count;
}

function takeList(listed: readonly Run[]): void {
  runs.value = new Map(listed.map((run) => [run.run_id, run]));
  hasRuns.value = true;
}

function takeRun(run: Run): void {
  const rest = new Map(runs.value);
  rest.delete(run.run_id);
  const isNew = !runs.value.has(run.run_id);
  runs.value = isNew ? new Map([[run.run_id, run], ...rest]) : new Map(runs.value).set(run.run_id, run);
}

function takeEvent(event: Event, id: string): Course | null {
  const place = id.split(",").find((part) => part.startsWith(`${event.run_id}=`))?.split("=")[1];
  const course = courseOf(event.run_id);
  if (!place || Number(place) <= course.place) return null;
  course.place = Number(place);
  course.take(event);
  return course;
}
