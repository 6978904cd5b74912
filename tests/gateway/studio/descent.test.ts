// The arithmetic of the descent: where bands, points and colours lie. Run by test_source.py with node's own test runner.
import assert from "node:assert/strict";
import { test } from "node:test";
import { frameOf, px, py, unitX, unitY, WHOLE, zoomed } from "../../../gateway/studio/src/descent/frame";
import { seen, trailOf } from "../../../gateway/studio/src/descent/paint_path";
import { bandsOf } from "../../../gateway/studio/src/descent/paint_surface";
import { scaleFor, shareOf, ticks, valueAt } from "../../../gateway/studio/src/descent/scale";
import { extentOf, livePlane, lossRange, spotAt, wholeGrid, type Plane, type Spot } from "../../../gateway/studio/src/descent/scene";

const spot = (step: number, x: number, y: number, probeLoss: number | null = null): Spot => ({ step, x, y, offPlane: 0, probeLoss, planeLoss: null, loss: null, lr: null, share: null });
const plane = (spots: Spot[]): Plane => ({ kind: "frozen", digest: "d", share: null, note: "", spots, surface: null });
const near = (actual: number, wanted: number, within = 1e-9) => assert.ok(Math.abs(actual - wanted) <= within, `${actual} is not ${wanted}`);

test("the band of a loss that rises with x begins exactly where the loss is that high", () => {
  const xs = [-2, -1, 0, 1, 2];
  const grid = { xs, ys: [10, 20, 30], loss: [xs, xs, xs] };
  const [band] = bandsOf(grid, [0.5]);
  const corners = band!.rings.flat();
  near(Math.min(...corners.map(([x]) => x)), 0.5);
  assert.ok(Math.max(...corners.map(([x]) => x)) > 2, "it goes on beyond the edge, so that it does not bend there");
  assert.ok(Math.min(...corners.map(([, y]) => y)) < 10 && Math.max(...corners.map(([, y]) => y)) > 30);
});

test("a band lies right on a grid that is spaced unevenly", () => {
  const xs = [0, 1, 10];
  const [band] = bandsOf({ xs, ys: [0, 1], loss: [xs, xs] }, [5.5]);
  near(Math.min(...band!.rings.flat().map(([x]) => x)), 5.5);
});

test("of a half measured surface the finest whole grid is taken, and nothing else", () => {
  const n = null;
  const loss = [[1, 2, 3, 4, 5], [6, 7, 8, n, n], [9, n, 9, n, 9], [n, n, n, n, n], [1, n, 2, n, 3]];
  assert.deepEqual(wholeGrid([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], loss, false), { xs: [0, 2, 4], ys: [0, 2, 4], loss: [[1, 3, 5], [9, 9, 9], [1, 2, 3]] });
  assert.equal(wholeGrid([0, 1], [0, 1], [[1, n], [2, 3]], true).loss[0]![1], Infinity, "of a whole one null is not finite");
});

test("a place goes to the canvas and back, also zoomed, and the pointed place stays", () => {
  const extent = { x0: -3, x1: 5, y0: -1, y1: 1 };
  const frame = frameOf(extent, 600, 400, WHOLE);
  near(unitX(frame, px(frame, 1.25)), 1.25);
  near(unitY(frame, py(frame, -0.5)), -0.5);
  near(px(frame, 1) - px(frame, 0), py(frame, 0) - py(frame, 1));
  const [atX, atY] = [px(frame, 2), py(frame, 0.5)];
  const closer = frameOf(extent, 600, 400, zoomed(WHOLE, frame, 3, atX, atY));
  near(px(closer, 2), atX, 1e-6);
  near(py(closer, 0.5), atY, 1e-6);
});

test("losses far apart are told apart by ratios, and a share leads back to its value", () => {
  assert.deepEqual([scaleFor(0.1, 0.3).isLog, scaleFor(0.1, 3).isLog, scaleFor(0, 3).isLog], [false, true, false]);
  for (const scale of [scaleFor(0.1, 0.3), scaleFor(0.1, 3)]) {
    near(shareOf(scale, scale.low), 0);
    near(shareOf(scale, scale.high), 1);
    near(shareOf(scale, valueAt(scale, 0.37)), 0.37);
  }
});

test("ticks are round and inside", () => {
  assert.deepEqual(ticks(-0.3, 1.1, 8), [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(1, 1, 6), []);
});

test("points that cannot be told apart are left out, never the first or the last", () => {
  const trail = trailOf(Array.from({ length: 1001 }, (_, i) => spot(i, i / 1000, 0, 1)), "step", null);
  const frame = frameOf({ x0: 0, x1: 1, y0: 0, y1: 1 }, 300, 300, WHOLE);
  const kept = seen(frame, trail, 0, 1001);
  assert.equal(kept[0], 0);
  assert.equal(kept.at(-1), 1000);
  assert.ok(kept.length > 100 && kept.length < 400, `${kept.length} corners`);
});

test("the start is always in sight, and losses of path and surface share one scale", () => {
  assert.deepEqual(extentOf([plane([spot(1, 4, 5)])]), { x0: 0, x1: 4, y0: 0, y1: 5 });
  const surface = { ...wholeGrid([0, 1], [0, 1], [[1, 2], [3, Infinity]], true), measured: 4, total: 4, probe: { rows: 1, tokens: 1 } };
  assert.deepEqual(lossRange([{ ...plane([spot(1, 0, 0, 0.5)]), surface }]), { low: 0.5, high: 3 });
  assert.equal(lossRange([plane([spot(1, 0, 0)])]), null);
});

test("a step between two points is that of the one before", () => {
  const spots = [spot(2, 0, 0), spot(4, 1, 1)];
  assert.deepEqual([1, 2, 3, 4, 9].map((step) => spotAt(spots, step)?.step ?? null), [null, 2, 2, 4, 4]);
});

test("only points of the latest plane are drawn together", () => {
  const told = { type: "telemetry", ts: "", run_id: "r", epoch: 0, proj_x: 1, proj_y: 1 } as const;
  const points = [{ ...told, step: 1, proj_digest: "old" }, { ...told, step: 2, proj_digest: "new" }];
  assert.deepEqual(livePlane(points)?.spots.map((one) => one.step), [2]);
  assert.equal(livePlane([]), null);
});
