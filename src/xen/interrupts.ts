import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import type { Interrupts } from "../vm/backend.ts";
import { type InterruptLine, NO_LINE } from "../vm/device.ts";
import { UnsupportedError } from "../vm/errors.ts";

/** Vectors below are the processor's own: no LAPIC takes them (SDM vol. 3A, 11.5.2). */
const FIRST_VECTOR = 16;
/** A message's data: delivery mode, of which fixed and lowest priority are the least, and vector (SDM vol. 3A, 11.11.2). */
const DELIVERY_MASK = 0x700;
const DELIVERY_LOWEST = 0x100;
const VECTOR_MASK = 0xff;
/** The highest bits, of 32, of addresses that LAPICs take messages at. */
const LAPICS = 0xfee;

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
  readonly lapics = true;
  readonly #model: DeviceModel;
  readonly #domain: number;
  readonly #vcpus: number;

  constructor(model: DeviceModel, domain: number, vcpus: number, irqchip: boolean) {
    this.irqchip = irqchip;
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
    return { raise: () => set(true), lower: () => set(false) };
  }

  /** The line of pin 1..4 (INTA#..INTD#) of a slot of PCI bus 0; Xen leads it to the controllers. */
  pin(slot: number, pin: number): InterruptLine {
    // A device tells its level at each access.
    let high = false;
    const set = (level: boolean) => {
      if (level === high) return;
      high = level;
      this.#there(() => this.#model.setPciLine(this.#domain, slot, pin - 1, level));
    };
    return { raise: () => set(true), lower: () => set(false) };
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
    // Xen delivers nothing else (vmsi.c, vmsi_deliver).
    const delivered = (data & DELIVERY_MASK) <= DELIVERY_LOWEST && (data & VECTOR_MASK) >= FIRST_VECTOR;
    const channel = this.masks(address, data);
    if (!delivered && !channel) return;
    // Lowest priority among LAPICs that are not there, a domain that is gone, or a number that the guest never asked for.
    const lost = channel ? [ERRNO.ESRCH, ERRNO.EINVAL] : [ERRNO.ESRCH];
    const to = channel ? BigInt(address) : BigInt(address >>> 0);
    this.#there(() => this.#model.injectMessage(this.#domain, to, data), lost);
  }

  /**
   * A kernel that knows Xen has messages come by event channels: with vector 0 Xen takes the destination for the number of
   * a physical interrupt (hvm/irq.c, hvm_inject_msi), which an HVM guest alone has. Linux never unmasks such a message
   * (arch/x86/pci/xen.c, pci_msi_ignore_mask): the event channel is masked.
   */
  masks(address: number, data: number): boolean {
    return this.irqchip && (data & VECTOR_MASK) === 0 && Math.floor(address % 2 ** 32 / 2 ** 20) === LAPICS;
  }

  /** Does what fails with `lost` where nobody is there to take it. */
  #there(body: () => void, lost: readonly number[] = [ERRNO.ESRCH]): void {
    try {
      body();
    } catch (error) {
      if (!(error instanceof HostError && lost.includes(error.errno))) throw error;
    }
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
