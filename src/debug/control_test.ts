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

Deno.test("a vCPU that was stopped before a breakpoint for another's sake meets it; one that was seen there does not again", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 2, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK);
  // nop; jmp back, for the first; nop; cli; hlt for the second
  await memory.write(0x1000n, Uint8Array.of(0x90, 0xeb, 0xfd));
  await memory.write(0x2000n, Uint8Array.of(0x90, 0xfa, 0xf4));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  await vcpus[1].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x2000n });
  // Where the second one stands when the first one stops.
  assert.equal((await control.step({ vcpu: 0 })).rip, 0x1001n);
  const theirs = await breakpoints.add(0x2000n);
  let stop = await control.continue();
  assert.deepEqual([stop.kind, stop.vcpu.index, stop.rip, theirs.hits], ["breakpoint", 1, 0x2000n, 1]);
  // A stop of another one in between does not make it stand there anew.
  await control.step({ vcpu: 0 });
  stop = await control.continue();
  assert.deepEqual([stop.kind, theirs.hits], ["halt", 1]);
  assert.equal((await vcpus[1].registers()).rip, 0x2003n);
  await control.close();
  await backend.close();
});
