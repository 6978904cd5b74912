// One chart with axes, units, hover and a table of the same numbers. uPlot draws; this decides what and in which colours.
import { html } from "htm/preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { num } from "../lib/format";
import { colour, theme } from "../lib/theme";
import { Card } from "../ui/parts";
import { DataTable } from "./data_table";

export interface Series {
  readonly label: string;
  /** Name of a colour in the style sheet. */
  readonly colour: string;
  readonly values: readonly (number | null)[];
  /** Few, far apart values: draw each as a dot. */
  readonly dots?: boolean;
  readonly dash?: readonly number[];
}

export interface ChartProps {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly x: readonly number[];
  readonly xLabel: string;
  readonly series: readonly Series[];
  /** Where a logarithmic scale makes sense. */
  readonly logable?: boolean;
  readonly format?: (value: number | null | undefined) => string;
}

const HEIGHT = 190;

export function LineChart(props: ChartProps) {
  const [isLog, setLog] = useState(false);
  const [asTable, setAsTable] = useState(false);
  const drawn = props.series.filter((one) => one.values.some((value) => value != null));
  const actions = html`${props.logable && html`<button type="button" class="chip" aria-pressed=${isLog} data-testid=${`${props.id}-log`} onClick=${() => setLog(!isLog)}>log</button>`}
    <button type="button" class="chip" aria-pressed=${asTable} data-testid=${`${props.id}-table`} onClick=${() => setAsTable(!asTable)}>table</button>`;
  const title = html`${props.title} <span class="unit">${props.unit}</span>`;
  return html`<${Card} id=${props.id} title=${title} actions=${actions} class="chart">
    ${!drawn.length ? html`<p class="hint nothing">Nothing measured yet.</p>`
      : asTable ? html`<${DataTable} name=${props.title} columns=${[props.xLabel, ...drawn.map((one) => one.label)]} values=${[props.x, ...drawn.map((one) => one.values)]} format=${props.format ?? num} />`
      : html`<${Plot} ...${props} series=${drawn} isLog=${isLog} />`}
  <//>`;
}

function Plot(props: ChartProps & { isLog: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = theme.value;
  const shape = props.series.map((one) => one.label + (one.dots ? "." : "")).join("|");
  const values = useMemo(() => aligned(props), [props.x, props.series]);
  useEffect(() => {
    const room = place.current;
    if (!room) return;
    const made = new uPlot(options(props, room.clientWidth), values, room);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: room.clientWidth, height: HEIGHT }));
    resized.observe(room);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [props.isLog, now, shape, props.xLabel]);
  useEffect(() => {
    plot.current?.setData(values);
    if (plot.current) showLatest(plot.current);
  }, [values]);
  const latest = props.series.map((one) => `${one.label} ${(props.format ?? num)(one.values.findLast((value) => value != null))}`).join(", ");
  return html`<div class="plot" ref=${place} role="img" aria-label=${`${props.title}, ${props.unit}, against ${props.xLabel}. Latest: ${latest}. The table has every value.`}></div>`;
}

/** While nobody points at a value the legend has the latest one. */
function showLatest(plot: uPlot): void {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 }, false);
}

function aligned({ x, series }: ChartProps): uPlot.AlignedData {
  return [x as number[], ...series.map((one) => one.values as (number | null)[])];
}

function options(props: ChartProps & { isLog: boolean }, width: number): uPlot.Options {
  const show = props.format ?? num;
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    padding: [8, 18, 0, 0],
    cursor: { sync: { key: "run" }, points: { size: 7 }, focus: { prox: 24 } },
    hooks: { ready: [showLatest], setCursor: [showLatest] },
    scales: { x: { time: false }, y: { distr: props.isLog ? 3 : 1 } },
    axes: [
      { ...axis, label: props.xLabel, labelSize: 16, labelFont: "11px system-ui, sans-serif", size: 28, values: (_, ticks) => ticks.map((tick) => num(tick)) },
      { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : show(tick))) },
    ],
    series: [
      { label: props.xLabel, value: (_, value) => num(value) },
      ...props.series.map((one): uPlot.Series => ({
        label: one.label,
        stroke: colour(one.colour),
        width: 1.6,
        spanGaps: true,
        ...(one.dash ? { dash: [...one.dash] } : {}),
        points: { show: one.dots ?? false, size: 6, fill: colour(one.colour) },
        value: (_, value) => show(value),
      })),
    ],
  };
}
