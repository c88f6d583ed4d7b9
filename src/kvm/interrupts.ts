import type { Interrupts } from "../vm/backend.ts";
import type { InterruptAcknowledge, InterruptLine } from "../vm/device.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { KvmVcpu } from "./vcpu.ts";
import type { KvmVm } from "./vm.ts";

/** Inputs of the IOAPIC that KVM makes; the 8259 pair has the first 16 of them. */
const INPUTS = 24;

/** The LAPIC's spurious-interrupt register, whose bit 8 switches it on (SDM vol. 3A, 12.9). */
const SPURIOUS = 0xf0;
const SOFTWARE_ENABLE = 0x100;

/** The vector that a BIOS finds an ISA interrupt at: 8259 base 0x08 for 0..7, 0x70 for 8..15. */
export function isaVector(gsi: number): number {
  return gsi < 8 ? 0x08 + gsi : 0x70 + gsi - 8;
}

/** Where a vCPU's LAPIC takes messages: physical destination (SDM vol. 3A, 11.11.1). */
function lapicOf(vcpu: number): number {
  return (0xfee0_0000 | vcpu << 12) >>> 0;
}

/** Checks a vCPU's number. @throws {RangeError} If there is none. */
function vcpuOf(vcpus: readonly KvmVcpu[], index: number): KvmVcpu {
  const vcpu = vcpus[index];
  if (vcpu === undefined) throw new RangeError(`There is no vCPU ${index}; the machine has ${vcpus.length}.`);
  return vcpu;
}

/** Interrupt inputs of a machine on KVM, with or without controllers in the kernel. */
export class KvmInterrupts implements Interrupts {
  readonly irqchip: boolean;
  readonly #vm: KvmVm;
  readonly #vcpus: readonly KvmVcpu[];

  constructor(vm: KvmVm, vcpus: readonly KvmVcpu[]) {
    this.irqchip = vm.options.irqchip;
    this.#vm = vm;
    this.#vcpus = vcpus;
  }

  line(gsi: number): InterruptLine {
    const inputs = this.irqchip ? INPUTS : 16;
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= inputs) {
      throw new RangeError(`This machine has interrupt inputs 0 to ${inputs - 1}, not ${gsi}.`);
    }
    if (this.irqchip) {
      return { raise: () => this.#vm.irqLine(gsi, true), lower: () => this.#vm.irqLine(gsi, false) };
    }
    const vcpu = this.#vcpus[0];
    const vector = isaVector(gsi);
    let high = false;
    return {
      // An edge is one request, as at an 8259 in its power-on mode; it stays in its request register.
      raise: () => {
        if (!high) vcpu.request(vector);
        high = true;
      },
      lower: () => {
        high = false;
      },
    };
  }

  wire(controller: InterruptAcknowledge | undefined): void {
    this.#vcpus[0].wire(controller);
  }

  message(address: number, data: number): void {
    this.#vm.signalMsi(address, data);
  }

  pending(vcpu: number): boolean {
    return vcpuOf(this.#vcpus, vcpu).pending;
  }

  nmi(vcpu: number): void {
    vcpuOf(this.#vcpus, vcpu).nmi();
  }

  inject(vcpu: number, vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new RangeError(`Interrupt vectors are 0 to 255, not ${vector}.`);
    }
    const target = vcpuOf(this.#vcpus, vcpu);
    if (!this.irqchip) {
      target.request(vector);
      return;
    }
    const page = target.lapic();
    const spurious = page[SPURIOUS] | (page[SPURIOUS + 1] << 8);
    // Vectors 0 to 15 are illegal for a LAPIC (SDM vol. 3A, 12.5.2).
    if ((spurious & SOFTWARE_ENABLE) === 0 || vector < 16 || !this.#vm.signalMsi(lapicOf(vcpu), vector)) {
      throw new UnsupportedError("inject", `the guest's LAPIC is switched off or refuses vector ${vector}`, {
        remedy: "Raise an interrupt line instead, or open the machine with `irqchip: false`.",
      });
    }
  }
}
