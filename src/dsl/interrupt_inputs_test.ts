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
