import assert from "node:assert/strict";
import { allowWaiting, guarded, isRunaway } from "./guard.ts";

Deno.test("what is guarded gives its value and throws its errors", () => {
  assert.equal(guarded(() => 42), 42);
  assert.throws(() =>
    guarded(() => {
      throw new RangeError("mine");
    }), RangeError);
});

Deno.test("a closure that never returns is ended, and the next one runs", () => {
  let rounds = 0;
  assert.throws(() =>
    guarded(() => {
      for (;;) rounds++;
    }), isRunaway);
  assert.ok(rounds > 0);
  assert.equal(guarded(() => guarded(() => "nested")), "nested");
});

Deno.test("a shorter limit inside a longer one ends its own body alone; a longer one inside adds nothing", () => {
  const endless = () => {
    for (;;);
  };
  const inner = guarded(() => {
    try {
      return guarded(endless, 50);
    } catch (error) {
      return isRunaway(error);
    }
  }, 60_000);
  assert.equal(inner, true);
  assert.throws(() => guarded(() => guarded(endless, 60_000), 50), isRunaway);
  assert.equal(guarded(() => "after"), "after");
});

Deno.test("what waits for another program has more than two seconds where that was said", () => {
  const waiting = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);
  assert.throws(() => guarded(waiting), isRunaway);
  allowWaiting(20_000);
  assert.equal(guarded(waiting), "timed-out");
  allowWaiting(1);
  assert.equal(guarded(waiting), "timed-out");
});
