import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { createFake } from "../vm/fake.ts";
import { createDebugger } from "./debugger.ts";

const CLOCK = { pause() {}, resume() {}, poll: () => 0 };

Deno.test("where OUT alone is to be had, a breakpoint at HLT is held by steps: `finish` may lead there", async () => {
  const fake = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const wanting = ["breakpoint-hardware", "breakpoint-int3", "breakpoint-int3-real", "breakpoint-hlt"];
  const capabilities = new Map(
    [...fake.capabilities].map(([name, capability]) =>
      [
        name,
        wanting.includes(name) ? { ...capability, usable: false, reason: "not here" } : capability,
      ] as const
    ),
  );
  Object.defineProperty(fake, "capabilities", { value: capabilities });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(fake, buses, CLOCK);
  // nop; nop; cli; hlt
  await memory.write(0x1000n, Uint8Array.of(0x90, 0x90, 0xfa, 0xf4));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  const before = await breakpoints.add(0x1001n);
  const halt = await breakpoints.add(0x1003n);
  assert.deepEqual([before.how, halt.how], ["out", "step"]);
  assert.deepEqual(await memory.read(0x1003n, 1), Uint8Array.of(0xf4));
  for (const rip of [0x1001n, 0x1003n]) {
    const stop = await control.continue();
    assert.deepEqual([stop.kind, stop.rip], ["breakpoint", rip]);
  }
  assert.equal((await control.continue()).kind, "halt");
  await control.close();
  await fake.close();
});
