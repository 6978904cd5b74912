// A panel's place on Grafana's grid of 24 columns, its frame, and what is drawn in it.
import type { GrafanaTheme2, TimeRange } from "@grafana/data";
import { PanelChrome } from "@grafana/ui";
import { useLayoutEffect, useRef, useState } from "react";
import { filled, type Variables } from "../dashboard";
import type { DrawnPanel, Mark } from "../drawn";
import { Lines } from "./lines";
import { Numbers } from "./numbers";
import { Rows } from "./rows";
import { Scatter } from "./scatter";

export interface Content {
  readonly one: DrawnPanel;
  readonly width: number;
  readonly height: number;
  readonly marks: readonly Mark[];
  readonly timeRange: TimeRange;
  readonly variables: Variables;
  readonly theme: GrafanaTheme2;
}

type Props = Omit<Content, "width" | "height">;

export function Box(props: Props) {
  const { panel, error } = props.one;
  const { x, y, w, h } = panel.gridPos;
  const place = { gridColumn: `${x + 1} / span ${w}`, gridRow: `${y + 1} / span ${h}` };
  const title = filled(panel.title, props.variables);
  if (panel.type === "row") {
    return (
      <h2 style={place} className="title">
        {title}
      </h2>
    );
  }
  return (
    <section style={place} data-panel={panel.title}>
      <Sized>
        {(width, height) => (
          <PanelChrome title={title} description={panel.description} width={width} height={height} padding="md">
            {(innerWidth, innerHeight) =>
              error ? <pre>{error}</pre> : <Inside {...props} width={innerWidth} height={innerHeight} />
            }
          </PanelChrome>
        )}
      </Sized>
    </section>
  );
}

function Inside(props: Content) {
  switch (props.one.panel.type) {
    case "stat":
      return <Numbers {...props} />;
    case "timeseries":
      return <Lines {...props} />;
    case "table":
      return <Rows {...props} />;
    case "xychart":
      return <Scatter {...props} />;
    default:
      return <pre>{`no preview of ${props.one.panel.type}`}</pre>;
  }
}

function Sized({ children }: { children: (width: number, height: number) => React.ReactNode }) {
  const place = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState<[number, number] | null>(null);
  useLayoutEffect(() => {
    const box = place.current!.getBoundingClientRect();
    setSize([Math.floor(box.width), Math.floor(box.height)]);
  }, []);
  return (
    <div ref={place} className="sized">
      {size && children(...size)}
    </div>
  );
}
