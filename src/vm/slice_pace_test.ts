import assert from "node:assert/strict";
import { SlicePace } from "./slice_pace.ts";

/** The slice after `count` times of `ms` between two. */
function after(pace: SlicePace, ms: number, count: number): number {
  for (let i = 0; i < count; i++) {
    pace.ended(1000 * i);
    pace.begins(1000 * i + ms);
  }
  return pace.ms;
}

Deno.test("slices are as long as they were asked for on a fast host, and longer where the time between them is long", () => {
  assert.equal(new SlicePace(5).ms, 5);
  assert.equal(after(new SlicePace(5), 0.1, 100), 5);
  const slow = new SlicePace(5);
  assert.ok(Math.abs(after(slow, 0.5, 100) - 10) < 0.1, `${slow.ms}`);
  assert.equal(after(slow, 3, 100), 25); // and no longer
  assert.ok(after(slow, 0.1, 100) < 5.1); // it is fast again
});

Deno.test("a machine that was paused once has its usual slices soon again", () => {
  const pace = new SlicePace(5);
  assert.ok(after(pace, 3_600_000, 1) <= 12.5);
  assert.ok(after(pace, 0.1, 30) < 5.1);
});

Deno.test("a slice that did not end before the next begins counts for nothing", () => {
  const pace = new SlicePace(5);
  pace.begins(1e9);
  pace.begins(2e9);
  assert.equal(pace.ms, 5);
});
