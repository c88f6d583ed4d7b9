import assert from "node:assert/strict";
import type { Machine } from "./machine.ts";
import { RemoteVcpu } from "./remote_vcpu.ts";

Deno.test("a vCPU in HLT with interrupts off sleeps for good only if it still does a slice later", () => {
  let rflags = 2n;
  const machine = {
    session: { running: true, beforeRunning() {} },
    dump: () => ({ halted: true, values: new Map([["rflags", rflags]]) }),
  };
  const vcpu = new RemoteVcpu(0, machine as unknown as Machine);
  // QEMU may be about to reset it: what asked for that came just before the HLT.
  assert.deepEqual([vcpu.idle(), vcpu.idle()], ["halted", "halted-forever"]);
  rflags |= 1n << 9n;
  const seen = Array.from({ length: 16 }, () => vcpu.idle());
  assert.ok(!seen.includes("halted-forever"));
});
