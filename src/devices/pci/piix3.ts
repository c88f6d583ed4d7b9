/**
 * The ISA bridge at 00:01.0: Intel 82371SB (PIIX3), which leads the PCI interrupts to ISA interrupts.
 *
 * Data sheet: Intel 82371FB/82371SB PCI ISA IDE Xcelerator, April 1997, 2.2 and 2.2.8 "PIRQRC[A:D]".
 */
import { type DeviceHost, type InterruptLine, NO_LINE } from "../../vm/device.ts";
import { COMMAND, COMMAND_CONFIGURED, STATUS, STATUS_DEVSEL_MEDIUM } from "./config_space.ts";
import { PciFunction } from "./pci_function.ts";
import type { PciInterruptRouter } from "./pci_host.ts";

const PIRQ_ROUTE = 0x60;
const ROUTE_OFF_BIT = 0x80;
const ROUTE_IRQ_MASK = 0x0f;
const PIRQS = 4;
/** Where PIRQA..PIRQD lead without firmware. */
export const CONFIGURED_ROUTES: readonly [number, number, number, number] = [11, 10, 11, 10];
/** 3..7, 9..12, 14, 15 (2.2.8). */
const ROUTABLE_MASK = 0xdef8;

/** 8086:7000. */
export class Piix3 extends PciFunction implements PciInterruptRouter {
  /** How many sources hold each PIRQ. */
  readonly #holders: Set<object>[] = Array.from({ length: PIRQS }, () => new Set());
  readonly #lines: InterruptLine[] = new Array(16).fill(NO_LINE);
  /** Which ISA interrupts are raised from here, a bit each. */
  #raised = 0;

  /**
   * @param options `name`: default "piix3". `configured`: whether the pins lead to interrupts 10 and 11 from the start,
   * as the ACPI tables for a guest without firmware say.
   */
  constructor(options: { readonly name?: string; readonly configured?: boolean } = {}) {
    super(options.name ?? "piix3", {
      vendor: 0x8086,
      device: 0x7000,
      revision: 0x00,
      classCode: 0x06_01_00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      multifunction: true,
    });
    this.config.initial(STATUS, STATUS_DEVSEL_MEDIUM, 2);
    if (options.configured) this.config.initial(COMMAND, COMMAND_CONFIGURED, 2);
    for (let i = 0; i < PIRQS; i++) {
      this.config.initial(PIRQ_ROUTE + i, options.configured ? CONFIGURED_ROUTES[i] : ROUTE_OFF_BIT, 1);
      this.config.allow(PIRQ_ROUTE + i, ROUTE_OFF_BIT | ROUTE_IRQ_MASK, 1);
    }
    this.config.initial(0x4c, 0x4d, 1); // I/O recovery timer
    this.config.initial(0x4e, 0x0003, 2); // X-bus chip select
    this.config.allow(0x4c, 0x7f, 1);
    this.config.allow(0x4e, 0x07ff, 2);
    this.config.initial(0x69, 0x02, 1); // top of memory
    this.config.allow(0x69, 0xfe, 1);
    this.config.initial(0x70, 0x80, 1); // motherboard interrupt: off
    this.config.allow(0x70, 0xcf, 1);
    for (const at of [0x76, 0x77]) { // motherboard DMA: off
      this.config.initial(at, 0x0c, 1);
      this.config.allow(at, 0x8f, 1);
    }
    this.config.initial(0x78, 0x0002, 2); // programmable chip select
    this.config.allow(0x78, 0xffff, 2);
    this.config.initial(0xa0, 0x08, 1); // SMI control
    this.config.allow(0xa0, 0x1f, 1);
    this.config.initial(0xa8, 0x0f, 1); // fast-off timer
    this.config.allow(0xa8, 0xff, 1);
    this.config.allow(0x82, 0x05, 1); // deterministic latency
  }

  /** Finds the ISA interrupts. */
  override attach(host: DeviceHost): void {
    super.attach(host);
    for (let irq = 0; irq < 16; irq++) this.#lines[irq] = host.line(irq);
    this.#update();
  }

  /** Lets go of them. */
  override detach(): void {
    for (const holders of this.#holders) holders.clear();
    this.#update();
    super.detach();
  }

  /** Pin 1..4 of a slot: the pins of neighbouring slots go to different PIRQs, as a board's wiring does it. */
  route(slot: number, pin: number): InterruptLine {
    const holders = this.#holders[pirq(slot, pin)];
    const source = {};
    return {
      raise: () => {
        holders.add(source);
        this.#update();
      },
      lower: () => {
        holders.delete(source);
        this.#update();
      },
    };
  }

  /** The ISA interrupt that a pin leads to now. */
  irq(slot: number, pin: number): number | undefined {
    const route = this.config.get(PIRQ_ROUTE + pirq(slot, pin), 1);
    return (route & ROUTE_OFF_BIT) !== 0 ? undefined : route & ROUTE_IRQ_MASK;
  }

  /** The guest wrote configuration space. */
  protected override configured(): void {
    this.#update();
  }

  /** Nothing is routed. */
  override reset(): void {
    super.reset();
    this.#update();
  }

  /** @throws {InputError} If the record is of another function or version. */
  override restore(saved: unknown): void {
    super.restore(saved);
    this.#update();
  }

  /** Routes and levels of the PIRQs, beside the header. */
  override inspect(): Record<string, number | bigint | string> {
    const shown = super.inspect();
    for (let i = 0; i < PIRQS; i++) {
      const route = this.config.get(PIRQ_ROUTE + i, 1);
      const where = route & ROUTE_OFF_BIT ? "off" : `irq ${route & ROUTE_IRQ_MASK}`;
      shown[`PIRQ${"ABCD"[i]}`] = `${where}${this.#holders[i].size > 0 ? ", asserted" : ""}`;
    }
    return shown;
  }

  /** An ISA interrupt is high while any PIRQ that is routed to it is held. */
  #update(): void {
    let wanted = 0;
    this.#holders.forEach((holders, i) => {
      const route = this.config.get(PIRQ_ROUTE + i, 1);
      if (holders.size > 0 && (route & ROUTE_OFF_BIT) === 0) {
        wanted |= 1 << (route & ROUTE_IRQ_MASK) & ROUTABLE_MASK;
      }
    });
    const changed = wanted ^ this.#raised;
    this.#raised = wanted;
    for (let irq = 0; irq < 16; irq++) {
      if ((changed & 1 << irq) === 0) continue;
      if (wanted & 1 << irq) this.#lines[irq].raise();
      else this.#lines[irq].lower();
    }
  }
}

/** Which of PIRQA..PIRQD, 0..3, a pin is wired to: neighbours differ, so that not all share one. */
function pirq(slot: number, pin: number): number {
  return (slot - 1 + pin - 1) & 3;
}
