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
