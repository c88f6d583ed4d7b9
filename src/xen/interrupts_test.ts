import assert from "node:assert/strict";
import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import { DomainInterrupts } from "./interrupts.ts";

Deno.test("xen interrupts: messages that no LAPIC takes are lost, whatever the guest chose", () => {
  const sent: unknown[][] = [];
  let refusal: number | undefined;
  const model = {
    injectMessage: (...message: unknown[]) => {
      sent.push(message);
      if (refusal !== undefined) throw new HostError("xendevicemodel_inject_msi", refusal);
    },
  } as unknown as DeviceModel;
  const interrupts = new DomainInterrupts(model, 7, 2, false);
  interrupts.message(0xfee0_2000, 0x31);
  // Vectors that are the processor's, and an NMI.
  for (const data of [0, 15, 0x400 | 0x31]) interrupts.message(0xfee0_0000, data);
  assert.deepEqual(sent, [[7, 0xfee0_2000n, 0x31]]);
  refusal = ERRNO.ESRCH;
  interrupts.message(0xfee0_7000, 0x131);
  refusal = ERRNO.EINVAL;
  assert.throws(() => interrupts.message(0xfee0_0000, 0x31), { name: "EINVAL" });
});
