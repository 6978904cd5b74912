// Writes every committed dashboard as TypeScript under dist/types/, typed by @grafana/schema: tsc then finds every field
// that Grafana does not know and every value that it does not take.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const OPTIONS = { stat: "Stat", timeseries: "TimeSeries", table: "Table", xychart: "XYChart" };
const source = new URL("../dashboards/", import.meta.url);
const target = new URL("dist/types/", import.meta.url);
mkdirSync(target, { recursive: true });

for (const file of readdirSync(source).filter((name) => name.endsWith(".json"))) {
  const dashboard = JSON.parse(readFileSync(new URL(file, source), "utf8"));
  const typed = dashboard.panels
    .filter((panel) => panel.type in OPTIONS)
    .map((panel) => {
      const kind = OPTIONS[panel.type];
      const custom = panel.fieldConfig.defaults.custom;
      const options = `export const options${panel.id}: Written<${kind}.Options> = ${json(panel.options)};`;
      return custom === undefined || kind === "Stat"
        ? options
        : `${options}\nexport const custom${panel.id}: Written<${kind}.FieldConfig> = ${json(custom)};`;
    });
  const imports = Object.entries(OPTIONS).map(
    ([panel, kind]) =>
      `import type * as ${kind} from "@grafana/schema/dist/esm/raw/composable/${panel}/panelcfg/x/${kind}PanelCfg_types.gen";`,
  );
  const lines = [
    'import type { AnyAnnotation, Written } from "../../src/written";',
    'import type { Dashboard } from "@grafana/schema";',
    ...imports,
    `export type Kinds = [Stat.Options, TimeSeries.Options, Table.Options, XYChart.Options];`,
    `export const dashboard: Written<Omit<Dashboard, "annotations">> & { annotations?: { list?: AnyAnnotation[] } } = ${json(dashboard)};`,
    ...typed,
  ];
  writeFileSync(new URL(file.replace(".json", ".ts"), target), lines.join("\n") + "\n");
}

function json(value) {
  return JSON.stringify(value, null, 1);
}
