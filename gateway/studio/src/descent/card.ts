// The gradient-descent view: the path that a run really took, on a plane that says how much of it it shows.
import { html } from "htm/preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Run } from "../api";
import { DataTable } from "../charts/data_table";
import type { Course } from "../lib/course";
import { num, percent } from "../lib/format";
import { Card, Empty } from "../ui/parts";
import { Controls } from "./controls";
import { ColourBar, descentWords, MarkLegend } from "./legend";
import { DescentMap } from "./map";
import { useOverlay, OverlayPicker } from "./overlay";
import type { Colouring } from "./paint_path";
import { landmarksOf, pictureOf } from "./picture";
import { Player } from "./player";
import { preferred, usePlanes } from "./planes";
import { KIND_NAMES, type Plane, type PlaneKind } from "./scene";

export function DescentCard({ run, course, overlay = null }: { run: Run; course: Course; overlay?: string | null }) {
  const [chosen, setChosen] = useState<PlaneKind | null>(null);
  const { planes, noSurface } = usePlanes(run, course, chosen);
  const [colouring, setColouring] = useState<Colouring>("probe");
  const [inSpace, setInSpace] = useState(false);
  const [asTable, setAsTable] = useState(false);
  const isRunning = run.status === "running" || run.status === "queued";
  const plane = preferred(planes, chosen, !isRunning);
  const player = useMemo(() => new Player(), [run.run_id, plane?.kind]);
  const other = useOverlay(run, plane, overlay);
  const marks = landmarksOf(run, course);
  const picture = useMemo(() => plane && pictureOf(plane, other.shown, marks, colouring), [plane, other.shown, marks.best, marks.promoted, colouring]);
  useEffect(() => {
    player.length.value = plane?.spots.length ?? 0;
  }, [player, plane]);
  useEffect(() => () => player.pause(), [player]);
  const actions = html`
    ${planes.length > 1 && html`<label class="inline"><span>plane of</span><select data-testid="plane" value=${plane?.kind} onChange=${(event: Event) => setChosen((event.target as HTMLSelectElement).value as PlaneKind)}>
      ${planes.map((one) => html`<option key=${one.kind} value=${one.kind}>${KIND_NAMES[one.kind]}${one.surface ? ", with surface" : ""}</option>`)}</select></label>`}
    <button type="button" class="chip" aria-pressed=${colouring === "step"} data-testid="by-step-colour" onClick=${() => setColouring(colouring === "step" ? "probe" : "step")}>colour by step</button>
    <button type="button" class="chip" aria-pressed=${inSpace} data-testid="in-space" onClick=${() => setInSpace(!inSpace)}>3-D</button>
    <button type="button" class="chip" aria-pressed=${asTable} data-testid="descent-table" onClick=${() => setAsTable(!asTable)}>table</button>`;
  return html`<${Card} id="descent" title="Gradient descent" actions=${actions} class="descent">
    ${!plane || !picture ? html`<${Waiting} run=${run} course=${course} />` : html`
      ${asTable ? html`<${PathTable} plane=${plane} />` : html`<${DescentMap} picture=${picture} player=${player} inSpace=${inSpace} words="The path of the adapter on the plane. Arrow keys go from point to point, space plays, plus, minus and 0 zoom. The table has every point." />`}
      <${Controls} player=${player} plane=${plane} isRunning=${isRunning} />
      <div class="legend"><${ColourBar} scale=${picture.scale} colouring=${colouring} steps=${[plane.spots[0]?.step ?? 0, plane.spots.at(-1)?.step ?? 1]} />
        <${MarkLegend} present=${new Set(["current", ...picture.landmarks.map((mark) => mark.kind)])} /></div>
      <${Words} player=${player} plane=${plane} noSurface=${noSurface} />
      <${OverlayPicker} run=${run} plane=${plane} overlay=${other} />`}
  <//>`;
}

function Words({ player, plane, noSurface }: { player: Player; plane: Plane; noSurface: string | null }) {
  return html`<p class="words" data-testid="descent-words">${descentWords(plane, plane.spots[player.shown.value - 1] ?? null, noSurface)}</p>`;
}

function Waiting({ run, course }: { run: Run; course: Course }) {
  course.told.value;
  if (run.status === "queued") return html`<${Empty} title="Waiting for the trainer">The run is queued; the path begins with its first steps.<//>`;
  if (run.status !== "running") return html`<${Empty} title="No path">This run ended before a point of its path was measured.<//>`;
  return html`<${Empty} title="Choosing the plane">The first measured points decide the plane that the path is drawn on; they are held back until then, and nothing is drawn before. ${course.progress?.step ? `Step ${course.progress.step}.` : ""}<//>`;
}

function PathTable({ plane }: { plane: Plane }) {
  const columns = ["step", "direction 1", "direction 2", "off the plane", "probe loss", "training loss", "lr"];
  const of = (pick: (spot: Plane["spots"][number]) => number | null) => plane.spots.map(pick);
  const values = [of((s) => s.step), of((s) => s.x), of((s) => s.y), of((s) => s.offPlane), of((s) => s.probeLoss), of((s) => s.loss), of((s) => s.lr)];
  return html`<${DataTable} name=${`Path, ${percent(plane.share)} of the motion`} columns=${columns} values=${values} format=${num} />`;
}
