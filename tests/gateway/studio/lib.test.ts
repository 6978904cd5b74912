// What the page makes of a stream, of a schema and of numbers. Run by test_source.py with node's own test runner.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Course } from "../../../gateway/studio/src/lib/course";
import { bytes, duration, num, signed } from "../../../gateway/studio/src/lib/format";
import { boundsOf, kindOf, typedOf, valueOf } from "../../../gateway/studio/src/lib/schema";
import { EventParser } from "../../../gateway/studio/src/lib/sse";

test("events come whole, however the text is cut", () => {
  const text = ": still here\n\nid: a=12\nevent: telemetry\ndata: {\"é\":1}\n\ndata: two\ndata: lines\r\n\r\nid: b=1\n\n";
  const wanted = [{ id: "a=12", kind: "telemetry", data: '{"é":1}' }, { id: null, kind: "message", data: "two\nlines" }];
  for (let at = 0; at <= text.length; at++) {
    const parser = new EventParser();
    assert.deepEqual([...parser.push(text.slice(0, at)), ...parser.push(text.slice(at))], wanted);
  }
});

test("a number is shown before its place on the plane is known, and once", () => {
  const course = new Course("r");
  const told = { ts: "", run_id: "r" };
  course.take({ ...told, type: "progress", step: 1, percent: 10, loss: 3 });
  course.take({ ...told, type: "progress", step: 2, percent: 20, loss: 2 });
  assert.deepEqual(course.measured.map((point) => point.step), [1, 2]);
  assert.equal(course.stepsPlanned, 10);
  for (const step of [1, 2]) course.take({ ...told, type: "telemetry", step, loss: 1, proj_x: 0 });
  assert.deepEqual(course.measured.map((point) => point.step), [1, 2]);
});

test("the best evaluation is of a trained step and finite", () => {
  const course = new Course("r");
  for (const [step, loss] of [[0, 0.1], [5, 2], [10, null], [15, 1], [20, 3]] as const) {
    course.take({ ts: "", run_id: "r", type: "metrics", step, metrics: { eval_loss: loss } });
  }
  assert.equal(course.best?.step, 15);
});

test("what is typed becomes what the schema says, and empty is not said", () => {
  const optional = (inner: object) => ({ anyOf: [inner, { type: "null" }] });
  assert.equal(valueOf(optional({ type: "integer" }), " 8 "), 8);
  assert.equal(valueOf(optional({ type: "boolean" }), "false"), false);
  assert.deepEqual(valueOf(optional({ type: "array", items: { type: "string" } }), "q_proj, v_proj,"), ["q_proj", "v_proj"]);
  assert.equal(valueOf({ type: "string" }, "  "), undefined);
  assert.throws(() => valueOf({ type: "number" }, "much"), /not a number/);
  assert.throws(() => valueOf({ type: "array", items: { $ref: "#/$defs/Upstream" } }, "{"), /JSON/);
  assert.deepEqual([{ enum: ["a"] }, { const: "a" }, { type: "array", items: { type: "string" } }, { type: "array", items: {} }].map(kindOf), ["choice", "choice", "names", "json"]);
  assert.deepEqual([["a", "b"], null, 0.5, [{ a: 1 }]].map(typedOf), ["a, b", "", "0.5", '[\n  {\n    "a": 1\n  }\n]']);
});

test("bounds are said as they are, open or closed", () => {
  const said = (property: object) => boundsOf({ anyOf: [{ type: "number", ...property }, { type: "null" }] });
  assert.deepEqual([{ minimum: 1, maximum: 1000 }, { exclusiveMinimum: 0, maximum: 1 }, { minimum: 0, exclusiveMaximum: 2048 }, { minimum: 0 }, { maximum: 5 }, {}].map(said),
    ["1 to 1,000", "above 0 to 1", "0 to below 2,048", "0 or more", "up to 5", ""]);
});

test("numbers are short, and absent is never zero", () => {
  assert.deepEqual([null, NaN, 0, 0.0000831, 0.123456, 12345.6, 1050000].map((value) => num(value)), ["–", "–", "0", "8.31e-5", "0.1235", "12,346", "1,050,000"]);
  assert.deepEqual([-0.5, 0, 2, null].map((value) => signed(value)), ["−0.5", "±0", "+2", "–"]);
  assert.deepEqual([0.04, 59.7, 176, 7260, null].map((value) => duration(value)), ["0.0 s", "60 s", "2 min 56 s", "2 h 1 min", "–"]);
  assert.deepEqual([906_000, 0, null].map((value) => bytes(value)), ["906 kB", "0 B", "–"]);
});
