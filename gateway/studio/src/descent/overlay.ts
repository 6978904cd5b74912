// Another run over this one: only where both are drawn on the same plane, by its digest.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { EventList, Run } from "../api";
import { get } from "../lib/http";
import { runs } from "../lib/live";
import { planesOf } from "./planes";
import type { Plane } from "./scene";

const MOST_EVENTS = 10_000;

export interface Overlay {
  readonly chosen: string;
  readonly choose: (runId: string) => void;
  readonly shown: { readonly plane: Plane; readonly name: string } | null;
  /** Why it is not shown, in words. */
  readonly fault: string;
}

export function useOverlay(run: Run, plane: Plane | null, first: string | null): Overlay {
  const [chosen, choose] = useState(first ?? "");
  const [planes, setPlanes] = useState<readonly Plane[] | null>(null);
  useEffect(() => {
    let isOver = false;
    setPlanes(null);
    if (chosen) void planesOfStored(chosen).then((found) => !isOver && setPlanes(found));
    return () => {
      isOver = true;
    };
  }, [run.run_id, chosen]);
  const found = planes?.find((one) => one.digest === plane?.digest);
  const [shown, setShown] = useState<Overlay["shown"]>(null);
  useEffect(() => setShown(found ? { plane: found, name: chosen } : null), [found, chosen]);
  const fault = chosen && planes && plane && !found ? `${chosen} is not drawn over this run: its path lies on another plane (${planes[0]?.digest.slice(0, 8) ?? "none"}, not ${plane.digest.slice(0, 8)}).` : "";
  return { chosen, choose, shown, fault };
}

async function planesOfStored(runId: string): Promise<Plane[]> {
  const { events } = await get<EventList>(`/api/agent/train/run/${encodeURIComponent(runId)}/metrics?limit=${MOST_EVENTS}`);
  return planesOf(runId, events);
}

export function OverlayPicker({ run, plane, overlay }: { run: Run; plane: Plane; overlay: Overlay }) {
  const others = [...runs.value.values()].filter((other) => other.run_id !== run.run_id && other.plan.base === run.plan.base && other.started_at);
  if (!others.length) return null;
  return html`<div class="row overlay"><label class="inline"><span>Overlay</span><select data-testid="overlay" value=${overlay.chosen} onChange=${(event: Event) => overlay.choose((event.target as HTMLSelectElement).value)}>
    <option value="">no other run</option>${others.map((other) => html`<option key=${other.run_id} value=${other.run_id}>${other.run_id}</option>`)}</select></label>
    <span class="hint">plane <span class="mono" title=${plane.digest}>${plane.digest.slice(0, 8)}</span></span>
    ${overlay.fault && html`<p class="hint" data-testid="overlay-fault">${overlay.fault}</p>`}</div>`;
}
