// Time series, and the annotations as dashed lines at their moments.
import { getFieldDisplayName } from "@grafana/data";
import { TimeSeries, type UPlotConfigBuilder } from "@grafana/ui";
import { useLayoutEffect } from "react";
import type { Mark } from "../drawn";
import type { Content } from "./box";

export function Lines({ one, width, height, marks, timeRange }: Content) {
  if (one.frames.length === 0) {
    return <div className="nothing">No data</div>;
  }
  const frames = one.frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => ({
      ...field,
      config: { ...field.config, displayName: getFieldDisplayName(field, frame, one.frames) },
    })),
  }));
  return (
    <TimeSeries
      frames={frames}
      timeRange={timeRange}
      timeZone="utc"
      width={width}
      height={height}
      legend={one.panel.options.legend}
    >
      {(config) => <Marks config={config} marks={marks} />}
    </TimeSeries>
  );
}

function Marks({ config, marks }: { config: UPlotConfigBuilder; marks: readonly Mark[] }) {
  useLayoutEffect(() => {
    config.addHook("draw", (u) => {
      for (const mark of marks) {
        const x = Math.round(u.valToPos(mark.atMs, "x", true));
        u.ctx.save();
        u.ctx.strokeStyle = mark.color;
        u.ctx.lineWidth = devicePixelRatio;
        u.ctx.setLineDash([5, 5]);
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
        u.ctx.restore();
      }
    });
  }, [config, marks]);
  return null;
}
