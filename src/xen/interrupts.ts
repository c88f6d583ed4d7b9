import { hvm_hw_vpic, HVM_SAVE } from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import type { Interrupts } from "../vm/backend.ts";
import { type InterruptLine, NO_LINE } from "../vm/device.ts";
import { UnsupportedError } from "../vm/errors.ts";

/** Vectors below are the processor's own: no LAPIC takes them (SDM vol. 3A, 11.5.2). */
const FIRST_VECTOR = 16;

/** Where a vCPU's LAPIC takes messages: physical destination (SDM vol. 3A, 11.11.1). Xen numbers LAPICs by twos. */
export function lapicOf(vcpu: number): bigint {
  return BigInt((0xfee0_0000 | vcpu * 2 << 12) >>> 0);
}

/**
 * Interrupts of a domain. Xen gives a PVH domain LAPICs and no other controllers: an IOAPIC may be a device of ours, whose
 * messages go to them. An HVM domain has all that a PC has, in Xen.
 */
export class DomainInterrupts implements Interrupts {
  /** Whether Xen has an 8259 pair and an IOAPIC for the domain. */
  readonly irqchip: boolean;
  readonly #model: Pick<DeviceModel, "setIsaLine" | "injectMessage">;
  readonly #domain: number;
  readonly #vcpus: number;
  readonly #control: Pick<XenControl, "getRecord">;
  /** Inputs that are low, but for Xen, whose 8259 has an edge of theirs to tell of yet. */
  readonly #untold = new Set<number>();

  constructor(
    control: Pick<XenControl, "getRecord">,
    model: Pick<DeviceModel, "setIsaLine" | "injectMessage">,
    domain: number,
    vcpus: number,
    irqchip: boolean,
  ) {
    this.irqchip = irqchip;
    this.#control = control;
    this.#model = model;
    this.#domain = domain;
    this.#vcpus = vcpus;
  }

  line(gsi: number): InterruptLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi > 15) {
      throw new RangeError(`This machine has interrupt inputs 0 to 15, not ${gsi}.`);
    }
    // Without a controller among the devices no LAPIC has an input for it.
    if (!this.irqchip) return NO_LINE;
    const set = (level: boolean) => this.#model.setIsaLine(this.#domain, gsi, level);
    return {
      raise: () => {
        if (this.#untold.delete(gsi)) set(false);
        set(true);
      },
      lower: () => {
        if (this.#waits(gsi)) this.#untold.add(gsi);
        else set(false);
      },
    };
  }

  /**
   * Whether an edge of the input is not taken yet. Xen's 8259 drops a request whose input falls before a vCPU takes it
   * (vpic_irq_negative_edge); a PC's chipset, KVM and QEMU keep the edge. So the input is held up until its next edge.
   */
  #waits(gsi: number): boolean {
    const pic = new Uint8Array(HVM_SAVE.PIC.length);
    this.#control.getRecord(this.#domain, HVM_SAVE.PIC, gsi >> 3, pic);
    const bit = 1 << (gsi & 7);
    return (pic[hvm_hw_vpic.irr] & bit) !== 0 && ((pic[hvm_hw_vpic.imr] | pic[hvm_hw_vpic.elcr]) & bit) === 0;
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

  message(address: number, data: number): void {
    this.#model.injectMessage(this.#domain, BigInt(address >>> 0), data);
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
