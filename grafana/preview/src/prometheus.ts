// Asks Prometheus as Grafana's data source does, and makes the frames that it makes: one for each series, or one table.
import { FieldType, type DataFrame, type Field } from "@grafana/data";
import type { Panel, Target, Variables } from "./dashboard";
import { filled } from "./dashboard";

export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly points: readonly (readonly [number, number])[];
}

export interface Range {
  readonly fromS: number;
  readonly toS: number;
}

const DEFAULT_POINTS = 1200;

export async function framesOf(panel: Panel, variables: Variables, range: Range, url: string): Promise<DataFrame[]> {
  const targets = panel.targets ?? [];
  const answers = await Promise.all(targets.map((target) => ask(target, panel, variables, range, url)));
  const tables = targets.filter((target, index) => target.format === "table" && answers[index].length > 0);
  return targets.flatMap((target, index) => {
    const series = answers[index];
    if (target.format === "table") {
      // The value's column carries the ref id only where there are several tables.
      return series.length ? [table(target.refId, series, tables.length > 1 ? `Value #${target.refId}` : "Value")] : [];
    }
    return series.map((one) => line(target, one));
  });
}

async function ask(target: Target, panel: Panel, variables: Variables, range: Range, url: string): Promise<Series[]> {
  const expr = filled(target.expr, variables);
  if (target.instant) {
    return query(url, "query", { query: expr, time: range.toS });
  }
  const finest = Number.parseInt(target.interval ?? "1s", 10);
  const step = Math.max(finest, Math.ceil((range.toS - range.fromS) / (panel.maxDataPoints ?? DEFAULT_POINTS)));
  return query(url, "query_range", { query: expr, start: range.fromS, end: range.toS, step });
}

export async function query(url: string, endpoint: string, asked: Record<string, string | number>): Promise<Series[]> {
  const parameters = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
  const answer = await fetch(`${url}/api/v1/${endpoint}?${parameters}`);
  const body = await answer.json();
  if (body.status !== "success") {
    throw new Error(`${asked.query}: ${body.error}`);
  }
  return body.data.result.map((row: any) => ({
    metric: row.metric,
    points: (row.values ?? [row.value]).map(([at, value]: [number, string]) => [at, number(value)]),
  }));
}

function number(text: string): number {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

function line(target: Target, series: Series): DataFrame {
  const { __name__: name, ...labels } = series.metric;
  const legend = (target.legendFormat ?? "").replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
  const fields: Field[] = [
    { name: "Time", type: FieldType.time, config: {}, values: series.points.map(([at]) => at * 1000) },
    {
      name: "Value",
      type: FieldType.number,
      config: { displayNameFromDS: legend || name },
      labels,
      values: series.points.map(([, value]) => value),
    },
  ];
  return { refId: target.refId, fields, length: series.points.length };
}

function table(refId: string, series: readonly Series[], valueName: string): DataFrame {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  const last = series.map((one) => one.points[one.points.length - 1]);
  const fields: Field[] = [
    { name: "Time", type: FieldType.time, config: {}, values: last.map(([at]) => at * 1000) },
    ...labels.map((label) => ({
      name: label,
      type: FieldType.string,
      config: { filterable: true },
      values: series.map((one) => one.metric[label] ?? ""),
    })),
    { name: valueName, type: FieldType.number, config: {}, values: last.map(([, value]) => value) },
  ];
  return { refId, fields, length: series.length };
}
