// The losses of two runs in one chart, step by step.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import type { Course, Point } from "../lib/course";
import { LineChart } from "./line_chart";

type Pick = (point: Point) => number | null | undefined;

/** Two courses on one axis of steps; a step that only one of them has is absent in the other. */
function joined(baseline: readonly Point[], current: readonly Point[], pick: Pick) {
  const sides = [baseline, current].map((points) => new Map(points.map((point) => [point.step, pick(point) ?? null])));
  const x = [...new Set(sides.flatMap((side) => [...side.keys()]))].sort((a, b) => a - b);
  return { x, values: sides.map((side) => x.map((step) => side.get(step) ?? null)) };
}

export function CompareCharts({ baseline, current }: { baseline: Course; current: Course }) {
  const told = [baseline.told.value, current.told.value].join();
  const exam = useMemo(() => joined(baseline.evaluations, current.evaluations, (one) => one.metrics?.["eval_loss"]), [told, baseline, current]);
  const loss = useMemo(() => joined(baseline.measured, current.measured, (one) => one.loss), [told, baseline, current]);
  const lr = useMemo(() => joined(baseline.measured, current.measured, (one) => one.lr), [told, baseline, current]);
  const two = (values: readonly (readonly (number | null)[])[], dots = false) => [
    { label: "baseline", colour: "c2", values: values[0] ?? [], dots, dash: [5, 4] },
    { label: "current", colour: "c1", values: values[1] ?? [], dots },
  ];
  return html`<div class="charts">
    <${LineChart} id="compare-eval" title="Held-out loss" unit="nats per token" logable xLabel="step" x=${exam.x} series=${two(exam.values, true)} />
    <${LineChart} id="compare-loss" title="Training loss" unit="nats per token" logable xLabel="step" x=${loss.x} series=${two(loss.values)} />
    <${LineChart} id="compare-lr" title="Learning rate" unit="per step" logable xLabel="step" x=${lr.x} series=${two(lr.values)} />
  </div>`;
}
