// A schema's type as JSON has it: an enum is written as its value.
import type { AnnotationQuery } from "@grafana/schema";

export type Written<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends readonly (infer U)[]
      ? Written<U>[]
      : T extends object
        ? { [K in keyof T]: Written<T[K]> }
        : T;

// What the Prometheus data source adds to an annotation; the schema leaves it to the source.
export type AnyAnnotation = Written<AnnotationQuery> & {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  useValueForTime: boolean;
};
