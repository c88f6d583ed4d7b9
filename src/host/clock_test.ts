import assert from "node:assert/strict";
import { monotonicMs, threadMs } from "./clock.ts";
import "./preload.ts";

Deno.test("the cheap clock goes as fast as performance.now(), and never back", async () => {
  // Between two readings of the other clock, however long something comes between.
  const both = () => [performance.now(), monotonicMs(), performance.now()];
  const began = both();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const ended = both();
  const passed = ended[1] - began[1];
  const [least, most] = [ended[0] - began[2], ended[2] - began[0]];
  assert.ok(passed >= least - 0.1 && passed <= most + 0.1, `${passed} ms, not ${least} to ${most}`);
  let last = ended[1];
  for (let i = 0; i < 10_000; i++) {
    const now = monotonicMs();
    assert.ok(now >= last);
    last = now;
  }
});

Deno.test("processor time goes on while this thread works, and not while it waits", async () => {
  const began = threadMs();
  let working = began;
  for (let i = 0; i < 1e9 && working < began + 5; i++) working = threadMs();
  assert.ok(working >= began + 5);
  const [wall, idle] = [performance.now(), threadMs()];
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(threadMs() - idle < performance.now() - wall);
});
