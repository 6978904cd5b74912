// From a query's answers to what a panel draws: Grafana's own transformations, then its own field configuration.
import {
  FieldConfigOptionsRegistry,
  FieldType,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  createTheme,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
  type DataFrame,
  type Field,
  type FieldConfigPropertyItem,
} from "@grafana/data";
import { lastValueFrom } from "rxjs";
import type { Panel, Variables } from "./dashboard";
import { filled } from "./dashboard";

standardTransformersRegistry.setInit(() =>
  // One of them is listed under an old name too.
  [...new Map(Object.values(standardTransformers).map((info: any) => [info.id, info])).values()].map((info) => ({
    ...info,
    transformation: () => Promise.resolve(info),
    editor: () => null,
    imageDark: "",
    imageLight: "",
  })),
);

const PLAIN = [
  "unit", "decimals", "min", "max", "color", "mappings", "links", "noValue", "displayName", "thresholds", "fieldMinMax",
];
const CUSTOM = [
  "align", "axisLabel", "axisPlacement", "axisSoftMin", "axisSoftMax", "cellOptions", "fillOpacity", "inspect",
  "lineInterpolation", "lineStyle", "lineWidth", "pointShape", "pointSize", "pointStrokeWidth", "scaleDistribution",
  "show", "showPoints", "spanNulls", "width",
];

function property(path: string, isCustom: boolean): FieldConfigPropertyItem {
  const item = {
    id: isCustom ? `custom.${path}` : path,
    path,
    isCustom,
    name: path,
    process: identityOverrideProcessor,
    // As Grafana's panels have it: what is said of all fields is not said of the axis of time.
    shouldApply: (field: Field) => !isCustom || (field.type !== FieldType.time && field.type !== FieldType.string),
    editor: () => null,
    override: () => null,
    settings: {},
  };
  return item as unknown as FieldConfigPropertyItem;
}

const registry = new FieldConfigOptionsRegistry(() => [
  ...PLAIN.map((path) => property(path, false)),
  ...CUSTOM.map((path) => property(path, true)),
]);

// Properties that are not listed above would be silently dropped.
export function unknownProperties(panel: Panel): string[] {
  const { custom, ...plain } = panel.fieldConfig.defaults;
  const overridden = panel.fieldConfig.overrides.flatMap((override) => override.properties.map((one) => one.id));
  const named = [...Object.keys(plain), ...Object.keys(custom ?? {}).map((id) => `custom.${id}`), ...overridden];
  return named.filter((id) => !registry.getIfExists(id));
}

export async function transformed(panel: Panel, frames: DataFrame[]): Promise<DataFrame[]> {
  const steps = panel.transformations ?? [];
  return steps.length ? lastValueFrom(transformDataFrame(steps, frames)) : frames;
}

export function configured(panel: Panel, frames: DataFrame[], variables: Variables, mode: "dark" | "light"): DataFrame[] {
  const shown = applyFieldOverrides({
    data: frames,
    fieldConfig: structuredClone(panel.fieldConfig),
    replaceVariables: (text: string) => filled(text, variables),
    theme: createTheme({ colors: { mode } }),
    timeZone: "utc",
    fieldConfigRegistry: registry,
  });
  cacheFieldDisplayNames(shown);
  return shown;
}
