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

Deno.test("xen interrupts: an HVM guest's messages may name a physical interrupt in a vector's place", () => {
  const sent: unknown[][] = [];
  let refusal: number | undefined;
  const model = {
    injectMessage: (...message: unknown[]) => {
      if (refusal !== undefined) throw new HostError("xendevicemodel_inject_msi", refusal);
      sent.push(message);
    },
  } as unknown as DeviceModel;
  // As Linux has it (arch/x86/pci/xen.c, xen_msi_compose_msg): reserved delivery mode, vector 0, number 0x37.
  new DomainInterrupts(model, 7, 1, false).message(0xfee3_7000, 0x4300);
  assert.deepEqual(sent, []);
  const hvm = new DomainInterrupts(model, 7, 1, true);
  hvm.message(0xfee3_7000, 0x4300);
  // Numbers beyond 255 have their upper bits above bit 40.
  hvm.message(0x100_fee3_7000, 0x4300);
  assert.deepEqual(sent, [[7, 0xfee3_7000n, 0x4300], [7, 0x100_fee3_7000n, 0x4300]]);
  assert.deepEqual(
    [[0xfee3_7000, 0x4300], [0x100_fee3_7000, 0], [0xfee3_7000, 0x31], [0, 0]].map(([to, data]) =>
      hvm.masks(to, data)
    ),
    [true, true, false, false],
  );
  // One that the guest never asked for.
  refusal = ERRNO.EINVAL;
  hvm.message(0xfee0_0000, 0x4300);
  refusal = ERRNO.EPERM;
  assert.throws(() => hvm.message(0xfee0_0000, 0x4300), { name: "EPERM" });
});

Deno.test("xen interrupts: a slot's pin tells Xen of its level when that changes; in a domain that is gone it is nobody's", () => {
  const set: unknown[][] = [];
  let gone = false;
  const model = {
    setPciLine: (...level: unknown[]) => {
      if (gone) throw new HostError("xendevicemodel_set_pci_intx_level", ERRNO.ESRCH);
      set.push(level);
    },
  } as unknown as DeviceModel;
  const line = new DomainInterrupts(model, 7, 1, true).pin(31, 2);
  line.lower();
  line.raise();
  line.raise();
  line.lower();
  assert.deepEqual(set, [[7, 31, 1, true], [7, 31, 1, false]]);
  gone = true;
  line.raise();
  line.lower();
});
