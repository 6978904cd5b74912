// The ordinary charts of a run: everything that was measured, against step or time.
import { html } from "htm/preact";
import { useMemo, useState } from "preact/hooks";
import type { Run } from "../api";
import type { Course, Point } from "../lib/course";
import { bytes, num, seconds } from "../lib/format";
import { LineChart } from "./line_chart";

type Field = "loss" | "probe_loss" | "lr" | "grad_norm" | "param_norm" | "update_norm" | "tokens_per_s" | "step_time_ms" | "memory_active_bytes" | "memory_peak_bytes" | "resident_bytes";

export function RunCharts({ course, run }: { course: Course; run: Run }) {
  const [byTime, setByTime] = useState(false);
  const told = course.told.value;
  const began = seconds(run.started_at) ?? seconds(run.created_at) ?? 0;
  const place = (point: Point) => (byTime ? (seconds(point.ts) ?? began) - began : point.step);
  const { measured: points, evaluations } = course;
  const x = useMemo(() => points.map(place), [told, byTime, course, began]);
  const of = (field: Field) => points.map((point) => point[field] ?? null);
  const lines = useMemo(() => ({
    loss: of("loss"), probe: of("probe_loss"), lr: of("lr"), grad: of("grad_norm"), param: of("param_norm"), update: of("update_norm"),
    tokens: of("tokens_per_s"), time: of("step_time_ms"), active: of("memory_active_bytes"), peak: of("memory_peak_bytes"), resident: of("resident_bytes"),
  }), [told, course]);
  const exam = useMemo(() => ({ x: evaluations.map(place), held: evaluations.map((one) => one.metrics?.["eval_loss"] ?? null), train: evaluations.map((one) => one.metrics?.["train_loss"] ?? null) }), [told, byTime, course, began]);
  const xLabel = byTime ? "seconds since the start" : "step";
  const shared = { x, xLabel };
  return html`<div class="charts" data-testid="charts">
    <div class="row charts-head"><span class="hint">Against</span><div class="row" role="group" aria-label="Horizontal axis">
      <button type="button" class="chip" aria-pressed=${!byTime} data-testid="by-step" onClick=${() => setByTime(false)}>step</button>
      <button type="button" class="chip" aria-pressed=${byTime} data-testid="by-time" onClick=${() => setByTime(true)}>time</button></div></div>
    <${LineChart} id="chart-loss" title="Training loss" unit="nats per token" logable ...${shared} series=${[{ label: "loss", colour: "c1", values: lines.loss }, { label: "probe loss", colour: "c2", values: lines.probe }]} />
    <${LineChart} id="chart-eval" title="Held-out loss" unit="nats per token" logable x=${exam.x} xLabel=${xLabel} series=${[{ label: "eval loss", colour: "c3", values: exam.held, dots: true }, { label: "train loss", colour: "c1", values: exam.train, dots: true, dash: [4, 4] }]} />
    <${LineChart} id="chart-lr" title="Learning rate" unit="per step" logable ...${shared} series=${[{ label: "lr", colour: "c1", values: lines.lr }]} />
    <${LineChart} id="chart-norms" title="Step norms" unit="L2" logable ...${shared} series=${[{ label: "gradient", colour: "c1", values: lines.grad }, { label: "update", colour: "c4", values: lines.update }]} />
    <${LineChart} id="chart-params" title="Parameter norm" unit="L2 norm" logable ...${shared} series=${[{ label: "parameters", colour: "c2", values: lines.param }]} />
    <${LineChart} id="chart-throughput" title="Throughput" unit="tokens per second" ...${shared} format=${(value: number) => num(value, 3)} series=${[{ label: "tokens/s", colour: "c3", values: lines.tokens }]} />
    <${LineChart} id="chart-time" title="Step time" unit="milliseconds" logable ...${shared} format=${(value: number) => num(value, 3)} series=${[{ label: "ms", colour: "c4", values: lines.time }]} />
    <${LineChart} id="chart-memory" title="Memory" unit="bytes" ...${shared} format=${bytes} series=${[{ label: "MLX peak", colour: "c1", values: lines.peak }, { label: "MLX in use", colour: "c3", values: lines.active }, { label: "process", colour: "c4", values: lines.resident }]} />
  </div>`;
}
