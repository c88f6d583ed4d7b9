import type { DeviceModel } from "../host/xen/device_model.ts";
import type { Interrupts } from "../vm/backend.ts";
import { type InterruptLine, NO_LINE } from "../vm/device.ts";
import { UnsupportedError } from "../vm/errors.ts";

/** Vectors below are the processor's own: no LAPIC takes them (SDM vol. 3A, 11.5.2). */
const FIRST_VECTOR = 16;

/** Where a vCPU's LAPIC takes messages: physical destination (SDM vol. 3A, 11.11.1). Xen numbers LAPICs by twos. */
function lapicOf(vcpu: number): bigint {
  return BigInt((0xfee0_0000 | vcpu * 2 << 12) >>> 0);
}

/**
 * Interrupts of a PVH domain: Xen gives it LAPICs and no other controllers. An IOAPIC may be a device of ours, whose
 * messages go to them.
 */
export class DomainInterrupts implements Interrupts {
  readonly irqchip = false;
  readonly #model: DeviceModel;
  readonly #domain: number;
  readonly #vcpus: number;

  constructor(model: DeviceModel, domain: number, vcpus: number) {
    this.#model = model;
    this.#domain = domain;
    this.#vcpus = vcpus;
  }

  line(gsi: number): InterruptLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi > 15) {
      throw new RangeError(`This machine has interrupt inputs 0 to 15, not ${gsi}.`);
    }
    // Without a controller among the devices no LAPIC has an input for it.
    return NO_LINE;
  }

  wire(): void {
    // A LAPIC's LINT0 is nowhere to be had: an 8259 has no way to the processor.
  }

  pending(): boolean {
    return false;
  }

  nmi(): never {
    throw new UnsupportedError("nmi", "hvsh does not send NMIs to domains", {
      remedy: "use `xl trigger DOMAIN nmi`",
    });
  }

  inject(vcpu: number, vector: number): void {
    if (vcpu >= this.#vcpus) {
      throw new RangeError(`There is no vCPU ${vcpu}; the machine has ${this.#vcpus}.`);
    }
    if (vector < FIRST_VECTOR) {
      throw new UnsupportedError(`vector ${vector}`, "a LAPIC takes vectors from 16 on", {
        remedy: "give the interrupt another vector",
      });
    }
    this.#model.injectMessage(this.#domain, lapicOf(vcpu), vector);
  }
}
