// The parts of a dashboard's JSON that the preview reads, and its variables filled in as Grafana does.
import type { DataTransformerConfig, FieldConfigSource } from "@grafana/data";

export interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat?: string;
  readonly instant?: boolean;
  readonly format?: string;
  readonly interval?: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly transformations?: DataTransformerConfig[];
  readonly fieldConfig: FieldConfigSource;
  // Each kind of panel has its own.
  readonly options: any;
  readonly maxDataPoints?: number;
}

export interface Annotation {
  readonly name: string;
  readonly expr: string;
  readonly iconColor: string;
  readonly titleFormat: string;
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly label?: string;
  // Of a text box its text, of a query `{query: "label_values(metric, label)"}`.
  readonly query: any;
  readonly includeAll?: boolean;
  readonly allValue?: string;
}

export interface Dashboard {
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly links: readonly { readonly title: string; readonly url?: string }[];
  readonly annotations: { readonly list: readonly Annotation[] };
  readonly templating: { readonly list: readonly Variable[] };
}

export type Variables = Readonly<Record<string, string>>;

// As `grafana/queries.py` fills them in; one without a value stays as it is written.
export function filled(text: string, variables: Variables): string {
  return text.replace(/\$(?:\{(\w+)(?::\w+)?\}|(\w+))/g, (whole, braced, plain) => variables[braced ?? plain] ?? whole);
}

export function builtIn(fromS: number, toS: number): Variables {
  const range = Math.round(toS - fromS);
  return { __rate_interval: "8s", __interval: "1s", __range: `${range}s`, __range_s: `${range}` };
}
