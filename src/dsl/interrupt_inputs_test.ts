import assert from "node:assert/strict";
import type { Interrupts } from "../vm/backend.ts";
import { type Device, NO_LINE } from "../vm/device.ts";
import { InterruptInputs } from "./interrupt_inputs.ts";

Deno.test("interrupt inputs: a line leads where a controller of the hypervisor or among the devices has it", () => {
  const seen: string[] = [];
  const line = (name: string) => ({
    raise: () => seen.push(`${name} up`),
    lower: () => seen.push(`${name} down`),
  });
  const bare = { irqchip: false, line: () => NO_LINE, wire() {} } as unknown as Interrupts;
  const inputs = new InterruptInputs(bare);
  assert.equal(inputs.leads(4), false);
  const controller = { name: "pic", controller: { inputs: 16, line: (gsi: number) => line(`pic ${gsi}`) } };
  inputs.plugged(controller as unknown as Device);
  assert.deepEqual([inputs.leads(4), inputs.leads(16)], [true, false]);
  inputs.line(4).raise();
  assert.deepEqual(seen, ["pic 4 up"]);
  inputs.unplugged(controller as unknown as Device);
  assert.equal(inputs.leads(4), false);
  const chip = { irqchip: true, line: () => line("kvm"), wire() {} } as unknown as Interrupts;
  assert.equal(new InterruptInputs(chip).leads(4), true);
});

Deno.test("interrupt inputs: messages go to LAPICs by their addresses, else to the first vCPU", () => {
  const seen: number[][] = [];
  const interrupts = {
    irqchip: false,
    line: () => NO_LINE,
    wire() {},
    inject: (vcpu: number, vector: number) => void seen.push([vcpu, vector]),
    message: (address: number, data: number) => void seen.push([address, data]),
  } as unknown as Interrupts;
  new InterruptInputs(interrupts).message(0xfee0_2000, 0x31);
  new InterruptInputs({ ...interrupts, lapics: true }).message(0xfee0_2000, 0x31);
  assert.deepEqual(seen, [[0, 0x31], [0xfee0_2000, 0x31]]);
});

Deno.test("interrupt inputs: a line that is raised and leads nowhere is told of, once", () => {
  const notices: string[] = [];
  const bare = { irqchip: false, line: () => NO_LINE, wire() {} } as unknown as Interrupts;
  const inputs = new InterruptInputs(bare, (text) => void notices.push(text));
  inputs.line(4).raise();
  inputs.line(4).lower();
  inputs.line(4).raise();
  assert.equal(notices.length, 1);
  assert.match(notices[0], /input 4, which no controller of this machine has: add one/);
  const controller = { name: "pic", controller: { inputs: 16, line: () => NO_LINE } };
  inputs.plugged(controller as unknown as Device);
  inputs.line(5).raise();
  assert.equal(notices.length, 1);
});
