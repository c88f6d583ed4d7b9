import assert from "node:assert/strict";
import { REGISTER_NAMES } from "../vm/registers.ts";
import { NotStarted } from "./not_started.ts";

Deno.test("a vCPU that waits to be started shows INIT's registers and what was set, and a snapshot stays", () => {
  const waiting = new NotStarted();
  const before = waiting.registers();
  assert.deepEqual([before.rip, before.cs_base, before.rbx, before.mxcsr], [0xfff0n, 0xffff_0000n, 0n, 0n]);
  waiting.set([["rbx", 77n]]);
  assert.deepEqual([before.rbx, waiting.registers().rbx], [0n, 77n]);
  const named = REGISTER_NAMES.filter((name) => !name.startsWith("ymm"));
  for (const name of named) assert.equal(typeof before[name], "bigint", name);
});
