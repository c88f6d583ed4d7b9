import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { createFake } from "../vm/fake.ts";
import { longMode } from "../x86/boot/state.ts";
import { createDebugger } from "./debugger.ts";

const CLOCK = { pause() {}, resume() {}, poll: () => 0 };

/** A machine where OUT is the one patch there is. */
function fakeWithOut() {
  const fake = createFake({ memory: 4 << 20, cpus: 1, irqchip: false, pit: false });
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
  return fake;
}

Deno.test("where OUT alone is to be had, a breakpoint at HLT is held by steps: `finish` may lead there", async () => {
  const fake = fakeWithOut();
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

Deno.test("OUT is not put into a program's code while its kernel stands, whose own pages are not the user's", async () => {
  const fake = fakeWithOut();
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(fake, buses, CLOCK);
  const [tables, kernel, program] = [0x1000n, 0x10_0000n, 0x20_0000n];
  const present = 0x7n;
  // Two pages of 2 MiB, which U/S of their PDEs alone tells apart: the kernel's, and the program's.
  for (
    const [at, entry] of [
      [tables, tables + 0x1000n + present],
      [tables + 0x1000n, tables + 0x2000n + present],
      [tables + 0x2000n, 0x83n],
      [tables + 0x2008n, program + 0x87n],
    ]
  ) {
    await memory.write(at, new Uint8Array(BigUint64Array.of(entry).buffer));
  }
  await vcpus[0].setRegisters(longMode(kernel, kernel, 0x5000n, tables));
  assert.equal((await breakpoints.add(kernel + 0x100n)).how, "out");
  await assert.rejects(breakpoints.add(program + 0x100n), { message: /it is user code, and at CPL 3/ });
  await vcpus[0].setRegisters({ rip: program });
  const shared = await breakpoints.add(program + 0x100n);
  assert.equal(shared.how, "out", "a kernel in pages that are everyone's");
  await control.close();
  await fake.close();
});
