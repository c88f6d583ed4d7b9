/** What a monitor can be told of beside debug exceptions: which events Xen is asked for, and what each says. */

import {
  VM_EVENT,
  vm_event_cpuid,
  vm_event_desc_access,
  vm_event_mov_to_msr,
  vm_event_regs_x86,
  vm_event_write_ctrlreg,
  XEN,
} from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { ReportRange } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { type ReportExit, XCR0 } from "../vm/exit.ts";

/** Which control register has which number in an event. */
const CONTROL_REGISTERS = new Map([
  [0, XEN.VM_EVENT_X86_CR0],
  [3, XEN.VM_EVENT_X86_CR3],
  [4, XEN.VM_EVENT_X86_CR4],
  [XCR0, XEN.VM_EVENT_X86_XCR0],
]);
const REGISTER_OF = new Map([...CONTROL_REGISTERS].map(([register, index]) => [index, register]));
const { offsets: REGS } = vm_event_regs_x86;

/** How Xen is asked for events. */
export type ReportControl = Pick<
  XenControl,
  "reportControlRegister" | "reportMsr" | "reportCpuid" | "reportDescriptors" | "reportRequests"
>;

/** What a domain's monitor reports. */
export class Reported {
  readonly #control: ReportControl;
  readonly #domain: number;
  /** What is asked for: a key of `switches`. */
  readonly #on = new Map<string, (on: boolean) => void>();

  constructor(control: ReportControl, domain: number) {
    this.#control = control;
    this.#domain = domain;
  }

  /** Whether accesses to the registers of descriptor tables leave the guest. */
  get descriptors(): boolean {
    return this.#on.has("descriptor");
  }

  /**
   * Asks for these, and for no others. The domain is paused.
   *
   * @throws {UnsupportedError} If one is none that Xen reports.
   * @throws {HostError} If Xen refuses one: then nothing has changed.
   */
  set(wanted: readonly ReportRange[]): void {
    const next = new Map(wanted.flatMap((range) => this.#switches(range)));
    const added: (() => void)[] = [];
    try {
      for (const [key, toggle] of next) {
        if (this.#on.has(key)) continue;
        toggle(true);
        added.push(() => toggle(false));
        this.#on.set(key, toggle);
        added.push(() => this.#on.delete(key));
      }
    } catch (error) {
      for (const undo of added.reverse()) undo();
      throw error;
    }
    for (const [key, toggle] of [...this.#on]) {
      if (next.has(key)) continue;
      toggle(false);
      this.#on.delete(key);
    }
  }

  #switches({ space, start, length }: ReportRange): [string, (on: boolean) => void][] {
    const control = this.#control;
    const domain = this.#domain;
    const numbers = () => Array.from({ length: Number(length) }, (_, i) => Number(start) + i);
    switch (space) {
      case "cr":
        return numbers().map((register) => {
          const index = CONTROL_REGISTERS.get(register);
          if (index === undefined) {
            throw new UnsupportedError(`reports of CR${register}`, "Xen has none", {
              remedy: "CR0, CR3, CR4 and XCR0 are reported",
            });
          }
          return [`cr${register}`, (on) => control.reportControlRegister(domain, index, on)];
        });
      case "msr":
        return numbers().map((msr) => [`msr${msr}`, (on) => control.reportMsr(domain, msr, on)]);
      case "cpuid":
        return [[space, (on) => control.reportCpuid(domain, on)]];
      case "descriptor":
        return [[space, (on) => control.reportDescriptors(domain, on)]];
      case "request":
        return [[space, (on) => control.reportRequests(domain, on)]];
      default:
        return space satisfies never;
    }
  }
}

/**
 * What an event says; undefined for one that is none of these. CPUID's answer stands in the registers, and RIP is the
 * listener's to move (svm_vmexit_do_cpuid of Xen's svm.c): it is moved in `slot`.
 */
export function reportIn(slot: DataView): ReportExit | undefined {
  const u = VM_EVENT.u;
  switch (slot.getUint32(VM_EVENT.reason, true)) {
    case XEN.VM_EVENT_REASON_WRITE_CTRLREG: {
      const { index, new_value, old_value } = vm_event_write_ctrlreg.read(slot, u);
      const address = REGISTER_OF.get(index as never);
      if (address === undefined) return undefined;
      return written("cr", address, new_value, old_value);
    }
    case XEN.VM_EVENT_REASON_MOV_TO_MSR: {
      const { msr, new_value, old_value } = vm_event_mov_to_msr.read(slot, u);
      return written("msr", Number(msr), new_value, old_value);
    }
    case XEN.VM_EVENT_REASON_CPUID: {
      const { insn_length, leaf } = vm_event_cpuid.read(slot, u);
      const rip = VM_EVENT.data + REGS.rip;
      slot.setBigUint64(rip, BigInt.asUintN(64, slot.getBigUint64(rip, true) + BigInt(insn_length)), true);
      const data = new Uint32Array(
        [REGS.rax, REGS.rbx, REGS.rcx, REGS.rdx].map((at) => slot.getUint32(VM_EVENT.data + at, true)),
      );
      return {
        kind: "report",
        space: "cpuid",
        address: leaf,
        write: false,
        data: new Uint8Array(data.buffer),
        done: true,
      };
    }
    case XEN.VM_EVENT_REASON_DESCRIPTOR_ACCESS: {
      const { descriptor, is_write } = vm_event_desc_access.read(slot, u);
      return {
        kind: "report",
        space: "descriptor",
        address: descriptor - XEN.VM_EVENT_DESC_IDTR,
        write: is_write !== 0,
        data: new Uint8Array(),
        done: false,
      };
    }
    case XEN.VM_EVENT_REASON_GUEST_REQUEST:
      return {
        kind: "report",
        space: "request",
        address: 0,
        write: false,
        data: new Uint8Array(),
        done: true,
      };
    default:
      return undefined;
  }
}

function written(space: "cr" | "msr", address: number, value: bigint, old: bigint): ReportExit {
  return {
    kind: "report",
    space,
    address,
    write: true,
    data: bytesOf(value),
    before: bytesOf(old),
    done: true,
  };
}

function bytesOf(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}
