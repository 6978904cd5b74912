// XY charts. Grafana's panel is not published, its plotting is: series are found by `xy.ts` as Grafana finds them, and
// drawn here in their order, from the look of their y field.
import { getFieldColorModeForField, type Field, type GrafanaTheme2 } from "@grafana/data";
import { AxisPlacement, ScaleDirection, ScaleOrientation } from "@grafana/schema";
import { UPlotChart, UPlotConfigBuilder, VizLayout, VizLegend } from "@grafana/ui";
import { useMemo } from "react";
import type uPlot from "uplot";
import { colourRange, seriesOf, type XYSeries } from "../xy";
import type { Content } from "./box";

export function Scatter({ one, width, height, theme }: Content) {
  const { found } = useMemo(() => seriesOf(one.panel.options, one.frames), [one]);
  const config = useMemo(() => configOf(found, theme), [found, theme]);
  if (config === null) {
    return <div className="nothing">No data</div>;
  }
  const data = [null, ...found.map((series) => [series.x.values, series.y.values])];
  const items = found.map((series) => ({ label: series.name, color: fixedColour(series.y, theme), yAxis: 1 }));
  const legend = (
    <VizLayout.Legend placement="bottom">
      <VizLegend placement="bottom" items={items} displayMode={one.panel.options.legend.displayMode} />
    </VizLayout.Legend>
  );
  return (
    <VizLayout width={width} height={height} legend={legend}>
      {(plotWidth: number, plotHeight: number) => (
        <UPlotChart config={config} data={data as any} width={plotWidth} height={plotHeight} />
      )}
    </VizLayout>
  );
}

function configOf(found: XYSeries[], theme: GrafanaTheme2): UPlotConfigBuilder | null {
  if (found.length === 0) {
    return null;
  }
  const builder = new UPlotConfigBuilder("utc");
  const range = colourRange(found);
  builder.setMode(2);
  addAxis(builder, "x", found[0].x, theme);
  addAxis(builder, "y", found[0].y, theme);
  for (const series of found) {
    builder.addSeries({
      facets: [
        { scale: "x", auto: true },
        { scale: "y", auto: true },
      ],
      pathBuilder: (u, index) => {
        draw(u, index, series, range, theme);
        return null;
      },
      theme,
      scaleKey: "",
      lineColor: fixedColour(series.y, theme),
    });
  }
  return builder;
}

function addAxis(builder: UPlotConfigBuilder, key: "x" | "y", field: Field, theme: GrafanaTheme2): void {
  const isX = key === "x";
  builder.addScale({
    scaleKey: key,
    isTime: false,
    auto: true,
    orientation: isX ? ScaleOrientation.Horizontal : ScaleOrientation.Vertical,
    direction: isX ? ScaleDirection.Right : ScaleDirection.Up,
  });
  builder.addAxis({
    scaleKey: key,
    placement: isX ? AxisPlacement.Bottom : AxisPlacement.Left,
    label: field.config.custom?.axisLabel,
    theme,
    formatValue: (value, decimals) => field.display!(value, decimals).text,
  });
}

function draw(u: uPlot, index: number, series: XYSeries, range: [number, number], theme: GrafanaTheme2): void {
  const [xs, ys] = u.data[index] as unknown as [number[], number[]];
  const look = series.y.config.custom ?? {};
  const ratio = devicePixelRatio;
  const at = (i: number): [number, number] => [u.valToPos(xs[i], "x", true), u.valToPos(ys[i], "y", true)];
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
  const fixed = fixedColour(series.y, theme);
  if (look.show !== "points") {
    u.ctx.strokeStyle = fixed;
    u.ctx.lineWidth = (look.lineWidth ?? 2) * ratio;
    u.ctx.beginPath();
    xs.forEach((_, i) => u.ctx.lineTo(...at(i)));
    u.ctx.stroke();
  }
  if (look.show !== "lines") {
    const size = (look.pointSize?.fixed ?? 5) * ratio;
    const colours = coloursOf(series, range, theme);
    xs.forEach((_, i) => {
      const [x, y] = at(i);
      const colour = colours?.[i] ?? fixed;
      u.ctx.beginPath();
      if (look.pointShape === "square") {
        u.ctx.rect(x - size / 2, y - size / 2, size, size);
      } else {
        u.ctx.arc(x, y, size / 2, 0, 2 * Math.PI);
      }
      u.ctx.globalAlpha = (look.fillOpacity ?? 50) / 100;
      u.ctx.fillStyle = colour;
      u.ctx.fill();
      u.ctx.globalAlpha = 1;
      if (look.pointStrokeWidth > 0) {
        u.ctx.strokeStyle = colour;
        u.ctx.lineWidth = look.pointStrokeWidth;
        u.ctx.stroke();
      }
    });
  }
  u.ctx.restore();
}

function coloursOf(series: XYSeries, [low, high]: [number, number], theme: GrafanaTheme2): string[] | undefined {
  if (series.color === undefined) {
    return undefined;
  }
  const colour = getFieldColorModeForField(series.color).getCalculator(series.color, theme);
  return series.color.values.map((value: number) => {
    const share = high > low ? (value - low) / (high - low) : 0;
    return colour(share, share);
  });
}

function fixedColour(field: Field, theme: GrafanaTheme2): string {
  const { color } = field.config;
  return theme.visualization.getColorByName(color?.mode === "fixed" ? color.fixedColor! : "gray");
}
