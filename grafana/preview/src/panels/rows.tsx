// Tables: the first frame, in the table that Grafana 13 itself draws.
import { TableNG } from "@grafana/ui/unstable";
import type { Content } from "./box";

export function Rows({ one, width, height, timeRange }: Content) {
  return one.frames.length ? (
    <TableNG data={one.frames[0]} width={width} height={height} timeRange={timeRange} enableVirtualization={false} />
  ) : (
    <div className="nothing">No data</div>
  );
}
