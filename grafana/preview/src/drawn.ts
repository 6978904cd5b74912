// All that a dashboard needs to be drawn once: every panel's frames and the annotations, of one range of time.
import type { DataFrame, GrafanaTheme2 } from "@grafana/data";
import { builtIn, filled, type Annotation, type Dashboard, type Panel, type Variables } from "./dashboard";
import { configured, transformed } from "./frames";
import { framesOf, query, type Range } from "./prometheus";

export interface DrawnPanel {
  readonly panel: Panel;
  readonly frames: DataFrame[];
  readonly error?: string;
}

// A moment that is marked on every graph over time.
export interface Mark {
  readonly atMs: number;
  readonly color: string;
  readonly title: string;
}

export interface Drawn extends Range {
  readonly variables: Variables;
  readonly panels: readonly DrawnPanel[];
  readonly marks: readonly Mark[];
}

// Values for variables that the address does not give: everything where that can be chosen, else the last by name, which
// for runs is the newest.
export async function chosen(dashboard: Dashboard, given: Variables, range: Range): Promise<Variables> {
  const choices = dashboard.templating.list.map(async (one): Promise<[string, string]> => {
    if (one.type !== "query" || one.includeAll) {
      return [one.name, one.includeAll ? (one.allValue ?? ".*") : String(one.query)];
    }
    const [, metric, label] = /label_values\((\w+), (\w+)\)/.exec(one.query.query)!;
    const seconds = Math.ceil(range.toS - range.fromS);
    const series = await query("", "query", { query: `last_over_time(${metric}[${seconds}s])`, time: range.toS });
    return [one.name, series.map((row) => row.metric[label]).sort().pop() ?? ""];
  });
  return { ...Object.fromEntries(await Promise.all(choices)), ...given };
}

export async function askAll(
  dashboard: Dashboard,
  given: Variables,
  range: Range,
  theme: GrafanaTheme2,
): Promise<Drawn> {
  const variables = await chosen(dashboard, given, range);
  const all = { ...builtIn(range.fromS, range.toS), ...variables };
  const panels = await Promise.all(dashboard.panels.map((panel) => draw(panel, all, range, theme)));
  const marks = await Promise.all((dashboard.annotations.list ?? []).map((one) => marksOf(one, all, range, theme)));
  return { ...range, variables, panels, marks: marks.flat() };
}

async function draw(panel: Panel, variables: Variables, range: Range, theme: GrafanaTheme2): Promise<DrawnPanel> {
  if (panel.type === "row") {
    return { panel, frames: [] };
  }
  try {
    const frames = await transformed(panel, await framesOf(panel, variables, range, ""));
    return { panel, frames: configured(panel, frames, variables, theme.isDark ? "dark" : "light") };
  } catch (error) {
    window.preview.errors.push(`${panel.title}: ${error}`);
    return { panel, frames: [], error: String(error) };
  }
}

async function marksOf(one: Annotation, variables: Variables, range: Range, theme: GrafanaTheme2): Promise<Mark[]> {
  // The value of each series is its time in milliseconds, whenever it is asked for.
  const series = await query("", "query", { query: filled(one.expr, variables), time: range.toS });
  return series
    .map((row) => ({
      atMs: row.points[0][1],
      color: theme.visualization.getColorByName(one.iconColor),
      title: one.titleFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => row.metric[label] ?? ""),
    }))
    .filter((mark) => mark.atMs >= range.fromS * 1000 && mark.atMs <= range.toS * 1000);
}
