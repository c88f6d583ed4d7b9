import assert from "node:assert/strict";
import { flat } from "./boot.ts";
import { open } from "./open.ts";
import { gpa, MiB } from "../vm/address.ts";

/** For ever: inc ax; out 0x10, al. */
const CODE = Uint8Array.of(0x40, 0xe6, 0x10, 0xeb, 0xfb);

Deno.test("a device pauses the machine at the very first access of a run", async () => {
  await using vm = await open({ backend: "fake", memory: 1 << 20, boot: flat(CODE, { at: 0x1000 }) });
  const pauses: Promise<{ kind: string }>[] = [];
  const device = {
    name: "brake",
    ports: { start: 0x10, length: 1 },
    write: () => void pauses.push(vm.pause()),
  };
  await vm.devices.add(device);
  for (let run = 1; run <= 2; run++) {
    const stop = await vm.continue({ timeoutMs: 10_000 });
    assert.equal(stop.kind, "pause");
    assert.equal(stop.registers.rax, BigInt(run));
    assert.equal(pauses.length, run);
    assert.equal(await pauses[run - 1], stop);
  }
});

Deno.test("a pause asked for between two of several steps ends them", async () => {
  await using vm = await open({ backend: "fake", memory: 1 << 20, boot: flat(CODE, { at: 0x1000 }) });
  let pause: Promise<{ kind: string }> | undefined;
  let steps = 0;
  const stop = await vm.step({
    count: 100,
    each() {
      if (++steps === 3) pause = vm.pause();
    },
  });
  assert.equal(stop.kind, "pause");
  assert.equal(steps <= 4, true);
  assert.equal(await pause, stop);
  assert.equal((await vm.step()).kind, "step");
});

Deno.test("a long fill gives timers and Ctrl-C their turn", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(256), boot: flat(Uint8Array.of(0xf4)) });
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await vm.memory.fill(gpa(0x10_0000), MiB(240), 0x5a);
  clearInterval(timer);
  assert.ok(turns > 0, "nothing else had a turn");
});
