// `node dist/frames.mjs` reads {dashboard, url, variables, fromS, toS} from standard input, asks Prometheus for every panel,
// and prints what Grafana's own transformations and field configuration make of the answers, as JSON.
import { getFieldDisplayName, type DataFrame } from "@grafana/data";
import { builtIn, type Dashboard } from "./dashboard";
import { configured, transformed, unknownProperties } from "./frames";
import { framesOf } from "./prometheus";
import { seriesOf } from "./xy";

interface Asked {
  readonly dashboard: Dashboard;
  readonly url: string;
  readonly variables: Record<string, string>;
  readonly fromS: number;
  readonly toS: number;
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) {
  chunks.push(chunk);
}
const asked: Asked = JSON.parse(Buffer.concat(chunks).toString());
const variables = { ...builtIn(asked.fromS, asked.toS), ...asked.variables };
const seen = [];
for (const panel of asked.dashboard.panels.filter((one) => one.type !== "row")) {
  const answers = await framesOf(panel, variables, asked, asked.url);
  const frames = configured(panel, await transformed(panel, answers), variables, "dark");
  const xy = panel.type === "xychart" ? seriesOf(panel.options, frames) : undefined;
  seen.push({
    title: panel.title,
    type: panel.type,
    unknown: unknownProperties(panel),
    frames: frames.map((frame) => shape(frame, frames)),
    series: xy?.found.map((one) => ({ name: one.name, x: one.x.values, y: one.y.values, color: one.color?.values })),
    missing: xy?.missing ?? [],
  });
}
console.log(JSON.stringify(seen));

function shape(frame: DataFrame, all: DataFrame[]): object {
  return {
    refId: frame.refId,
    length: frame.length,
    fields: frame.fields.map((field) => ({
      name: getFieldDisplayName(field, frame, all),
      type: field.type,
      unit: field.config.unit,
      custom: field.config.custom,
      last: field.values[frame.length - 1],
      shown: field.display?.(field.values[frame.length - 1]).text,
    })),
  };
}
