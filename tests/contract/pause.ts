import assert from "node:assert/strict";
import { StateError, type Stop } from "../../mod.ts";
import { type Case, CODE, ended, go, group, refused } from "./case.ts";

/** inc al; jump back: for ever. */
const SPIN = "fec0 ebfc";

/** Lets the guest really run before something is done to it. */
const moment = () => new Promise((resolve) => setTimeout(resolve, 30));

/** Stopping a guest that runs. */
export const PAUSE_CASES: readonly Case[] = group("pause", {
  "stops a spinning guest, which can go on": async (c) => {
    const vm = await c.guest({ code: SPIN });
    for (let i = 0; i < 3; i++) {
      const running = vm.continue();
      assert.equal(vm.state, "running");
      await moment();
      const stop = await vm.pause();
      assert.equal(stop.kind, "pause");
      assert.equal(await running, stop, "continue() gives the same stop");
      assert.equal(vm.state, "paused");
      assert.equal(vm.lastStop, stop);
      assert.ok([0n, 2n].includes(stop.rip - BigInt(CODE)), `RIP 0x${stop.rip.toString(16)}`);
    }
  },

  "of a guest that stands still gives a stop at once": async (c) => {
    const vm = await c.guest({ code: SPIN });
    const first = await vm.pause();
    assert.equal(first.kind, "pause");
    assert.equal(first.rip, BigInt(CODE));
    const step = await vm.step();
    assert.equal(await vm.pause(), step);
  },

  "twice at once gives both the same stop": async (c) => {
    const vm = await c.guest({ code: SPIN });
    const running = vm.continue();
    await moment();
    const stops = await Promise.all([vm.pause(), vm.pause(), running]);
    assert.equal(stops[0], stops[1]);
    assert.equal(stops[0], stops[2]);
  },

  "a second continue, a step and looks inside are refused while the guest runs": async (c) => {
    const vm = await c.guest({ code: SPIN });
    const running = vm.continue();
    for (
      const call of [
        () => vm.continue(),
        () => vm.step(),
        () => vm.stepOver(),
        () => vm.vcpus[0].registers(),
        () => vm.vcpus[0].setRegisters({ rax: 1n }),
        () => vm.reset(),
      ]
    ) {
      const error = await refused(StateError, call);
      assert.equal(error.state, "running");
    }
    assert.equal(vm.state, "running", "a refused call changes nothing");
    await vm.pause();
    await running;
  },

  "a time limit is a stop of its own": async (c) => {
    const vm = await c.guest({ code: SPIN });
    const stop = await vm.continue({ timeoutMs: 30 });
    assert.equal(stop.kind, "timeout");
    assert.equal(vm.state, "paused");
    assert.ok((await vm.vcpus[0].registers()).rip >= BigInt(CODE));
    const again = await vm.continue({ timeoutMs: 30 });
    assert.equal(again.kind, "timeout");
  },

  "stops() yields every stop, and ends with the machine": async (c) => {
    const vm = await c.guest({ code: "90 90 fa f4" });
    const seen: Stop[] = [];
    const reading = (async () => {
      for await (const stop of vm.stops()) seen.push(stop);
    })();
    const first = await vm.step();
    const second = await ended(c, vm);
    await vm.close();
    await reading;
    assert.deepEqual(seen.slice(0, 2).map((s) => s.kind), ["step", second.kind]);
    assert.equal(seen[0], first);
    assert.equal(seen[1], second);
  },

  "timers and promises live while the guest runs": async (c) => {
    const vm = await c.guest({ code: SPIN });
    const running = vm.continue();
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(vm.state, "running");
    await vm.pause();
    await running;
  },

  "a stop that comes while pause is asked for is told": async (c) => {
    const vm = await c.guest({ code: "90 fa f4" });
    const running = go(vm);
    const [stop, paused] = await Promise.all([running, vm.pause()]);
    assert.equal(stop, paused);
    assert.ok([c.backend.end ?? "halt", "pause"].includes(stop.kind), stop.kind);
  },
});
