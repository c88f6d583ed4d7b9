import assert from "node:assert/strict";
import { monotonicMs } from "./clock.ts";

Deno.test("the cheap clock goes as fast as performance.now(), and never back", async () => {
  const began = [monotonicMs(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 30));
  let last = monotonicMs();
  const [cheap, dear] = [last - began[0], performance.now() - began[1]];
  assert.ok(cheap >= 29 && cheap <= dear + 1, `${cheap} ms against ${dear} ms`);
  for (let i = 0; i < 10_000; i++) {
    const now = monotonicMs();
    assert.ok(now >= last);
    last = now;
  }
});
