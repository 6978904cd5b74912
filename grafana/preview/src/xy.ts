// What an XY chart's series are made of: the fields of its frame that Grafana would find. Frames by place, fields by name.
import { getFieldDisplayName, FieldType, type DataFrame, type Field } from "@grafana/data";

export interface XYSeries {
  readonly name: string;
  readonly x: Field;
  readonly y: Field;
  readonly color?: Field;
}

export function seriesOf(options: any, frames: DataFrame[]): { found: XYSeries[]; missing: string[] } {
  const found: XYSeries[] = [];
  const missing: string[] = [];
  for (const one of options.series) {
    const name: string = one.name.fixed;
    const frame = frames[one.frame.matcher.options];
    const field = (axis?: { matcher: { options: string } }): Field | undefined =>
      axis && frame?.fields.find((f) => f.type === FieldType.number && getFieldDisplayName(f, frame, frames) === axis.matcher.options);
    const [x, y, color] = [field(one.x), field(one.y), field(one.color)];
    if (!x || !y || (one.color && !color)) {
      missing.push(name);
    } else {
      found.push({ name, x, y, color });
    }
  }
  return { found, missing };
}

export function colourRange(series: readonly XYSeries[]): [number, number] {
  const values = series.flatMap((one) => one.color?.values ?? []).filter((value) => Number.isFinite(value));
  return [Math.min(...values), Math.max(...values)];
}
