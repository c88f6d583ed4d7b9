/**
 * Ends a vCPU's sleep. A vCPU in HLT is blocked in Xen until an interrupt comes (hvm_hlt, do_sched_op), and stays so when
 * its registers are set: only an event takes that off it.
 */

import { hvm_hw_lapic, HVM_SAVE } from "../abi/xen.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import type { XenControl } from "../host/xen/control.ts";
import { recordIn } from "./hvm_record.ts";
import { lapicOf } from "./interrupts.ts";

/** The spurious-interrupt vector register (SDM vol. 3A, 11.9): bit 8 enables the LAPIC. */
const SVR = 0xf0;
const SVR_ENABLED = 0x100;
/** That register's vector after a reset: an interrupt that may come at any time. */
const SPURIOUS = 0xff;

/** What is woken, and by what means. */
export interface Sleeper {
  readonly control: Pick<XenControl, "asleep" | "getImage" | "setImage">;
  readonly model: Pick<DeviceModel, "injectMessage">;
  readonly domain: number;
  readonly vcpu: number;
}

/**
 * Wakes a vCPU of a paused HVM or PVH domain, if it sleeps. Its state stays: the LAPIC is on for the one interrupt that
 * ends the sleep, which is gone again with the state from before.
 *
 * @throws {HostError} If Xen refuses.
 */
export function wake({ control, model, domain, vcpu }: Sleeper): void {
  if (!control.asleep(domain, vcpu)) return;
  const before = control.getImage(domain);
  const awake = before.slice();
  switchOn(awake, vcpu);
  control.setImage(domain, awake);
  model.injectMessage(domain, lapicOf(vcpu), SPURIOUS);
  control.setImage(domain, before);
}

function switchOn(image: Uint8Array, vcpu: number): void {
  const lapic = recordIn(image, HVM_SAVE.LAPIC.code, vcpu);
  const registers = recordIn(image, HVM_SAVE.LAPIC_REGS.code, vcpu);
  if (lapic === undefined || registers === undefined) return;
  new DataView(lapic.buffer, lapic.byteOffset).setUint32(hvm_hw_lapic.offsets.disabled, 0, true);
  const view = new DataView(registers.buffer, registers.byteOffset);
  view.setUint32(SVR, SVR_ENABLED | SPURIOUS, true);
}
