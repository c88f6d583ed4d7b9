import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { createFake } from "../vm/fake.ts";
import { createDebugger } from "./debugger.ts";

const CLOCK = { pause() {}, resume() {}, poll: () => 0 };

Deno.test("a hypervisor that refuses even the registers rejects the step, and the machine is not left running", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const vcpu = backend.vcpus[0];
  let refuses = true;
  const { registers } = vcpu;
  vcpu.registers = () => {
    if (refuses) throw new Error("no registers today");
    return registers.call(vcpu);
  };
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control } = createDebugger(backend, buses, CLOCK);
  await assert.rejects(control.step(), /no registers today/);
  assert.equal(control.state, "paused");
  refuses = false;
  await control.step();
  assert.equal(control.state, "paused");
  await control.close();
  await backend.close();
});

Deno.test("a condition whose promise never settles is a fault, a pause does not wait for it, and the guest goes on", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK, 50);
  // nop; nop; cli; hlt
  await memory.write(0x1000n, Uint8Array.of(0x90, 0x90, 0xfa, 0xf4));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  let asked = 0;
  const bp = await breakpoints.add(0x1001n, {
    condition: () => {
      if (asked++ > 0) setTimeout(() => void control.pause(), 5);
      return new Promise<boolean>(() => {});
    },
  });
  const stop = await control.continue();
  assert.deepEqual([stop.kind, stop.rip], ["fault", 0x1001n]);
  assert.match("reason" in stop ? stop.reason : "", /condition of breakpoint 1 did not answer within 0.05 s/);
  await vcpus[0].setRegisters({ rip: 0x1000n });
  assert.equal((await control.continue()).kind, "pause");
  await bp.remove();
  assert.equal((await control.continue()).kind, "halt");
  await control.close();
  await backend.close();
});
