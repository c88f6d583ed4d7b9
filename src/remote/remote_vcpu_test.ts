import assert from "node:assert/strict";
import type { Machine } from "./machine.ts";
import { RemoteVcpu } from "./remote_vcpu.ts";
import type { StopReply } from "./stop_reply.ts";

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

Deno.test("a stop that came while the guest was asked to stop is told before it is let run", async () => {
  const calls: string[] = [];
  let kept: StopReply | undefined = { kind: "signal", signal: 5, watch: { address: 8n, access: "write" } };
  const machine = {
    takeExit: () => undefined,
    wait: () => undefined,
    traps: {
      explain: ({ watch }: { watch?: object }) => ({ hits: watch === undefined ? 0 : 1, other: false }),
    },
    session: {
      running: false,
      threads: ["1"],
      beforeRunning() {},
      halt() {},
      kept() {
        const reply = kept;
        kept = undefined;
        return reply;
      },
      resume: () => calls.push("resume"),
    },
    source: () => ({ generation: 0, shown: () => new Map(), hidden: () => new Map() }),
    vcpus: [] as RemoteVcpu[],
  };
  const vcpu = new RemoteVcpu(0, machine as unknown as Machine);
  machine.vcpus.push(vcpu);
  const exit = await vcpu.run();
  assert.deepEqual([exit.kind, exit.kind === "debug" && exit.hits, calls], ["debug", 1, []]);
  // Of a breakpoint that was taken out meanwhile nobody is told.
  kept = { kind: "signal", signal: 5 };
  assert.deepEqual([(await vcpu.run()).kind, calls], ["slice", ["resume"]]);
});
