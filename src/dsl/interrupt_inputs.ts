import type { Interrupts } from "../vm/backend.ts";
import { type Device, type InterruptLine, NO_LINE } from "../vm/device.ts";

/** Delivery modes in a message's data (SDM vol. 3A, 11.11.2). */
const DELIVERY_MASK = 0x700;
const DELIVERY_LOWEST = 0x100;

/**
 * Where interrupt lines lead: to the hypervisor's controllers, or where it has none to the devices that are
 * controllers. Lines stay good while these are taken out, plugged in and swapped.
 */
export class InterruptInputs {
  readonly #interrupts: Interrupts | undefined;
  readonly #controllers: Device[] = [];
  /** Lines that are high. */
  readonly #high = new Set<number>();

  /** Lines that were raised in vain, each told of once. */
  readonly #vain = new Set<number>();
  readonly #notice: (text: string) => void;

  /** @param notice Tells the user something. */
  constructor(interrupts: Interrupts | undefined, notice: (text: string) => void = () => {}) {
    this.#interrupts = interrupts;
    this.#notice = notice;
  }

  /** The line `gsi`. @throws {Error} If there is no such input. */
  line(gsi: number): InterruptLine {
    const beside = this.#direct || !this.#has(gsi) ? this.#interrupts?.line(gsi) ?? NO_LINE : NO_LINE;
    if (this.#direct) return beside;
    // A controller may come later.
    const to = () => this.#controllers.length === 0 ? beside : NO_LINE;
    return {
      raise: () => {
        this.#set(gsi, true);
        to().raise();
        if (beside === NO_LINE && !this.#has(gsi)) this.#inVain(gsi);
      },
      lower: () => {
        this.#set(gsi, false);
        to().lower();
      },
    };
  }

  /** Whether the line `gsi` leads anywhere now. @throws {Error} If there is no such input. */
  leads(gsi: number): boolean {
    return !this.#direct && this.#has(gsi) || (this.#interrupts?.line(gsi) ?? NO_LINE) !== NO_LINE;
  }

  /** A device was plugged in: if it is a controller, lines lead there, and those that are high are so there too. */
  plugged(device: Device): void {
    const { controller } = device;
    if (controller === undefined || this.#direct) return;
    this.#controllers.push(device);
    for (const gsi of this.#high) if (gsi < controller.inputs) controller.line(gsi).raise();
    this.#wire();
  }

  /** A device was taken out. */
  unplugged(device: Device): void {
    const at = this.#controllers.indexOf(device);
    if (at < 0) return;
    this.#controllers.splice(at, 1);
    this.#wire();
  }

  /** A message-signalled interrupt. Without LAPICs the first vCPU takes those of fixed and lowest priority delivery. */
  message(address: number, data: number): void {
    if (this.#interrupts?.irqchip || this.#interrupts?.lapics) this.#interrupts.message?.(address, data);
    else if ((data & DELIVERY_MASK) <= DELIVERY_LOWEST && !this.#direct) {
      this.#interrupts?.inject(0, data & 0xff);
    }
  }

  /** Whether the hypervisor masks such a message, and not who sends it. */
  masks(address: number, data: number): boolean {
    return this.#interrupts?.masks?.(address, data) ?? false;
  }

  /** Whether the hypervisor has the controllers, or there is nothing to wire ours to. */
  get #direct(): boolean {
    return this.#interrupts?.wire === undefined || this.#interrupts.irqchip;
  }

  #has(gsi: number): boolean {
    return Number.isInteger(gsi) && gsi >= 0 && this.#controllers.some((d) => gsi < d.controller!.inputs);
  }

  /** The newest one that gives the CPU its vectors is on INTR. */
  #wire(): void {
    this.#interrupts?.wire?.(
      this.#controllers.findLast(({ controller }) => controller!.cpu)?.controller?.cpu,
    );
  }

  #inVain(gsi: number): void {
    if (this.#vain.has(gsi)) return;
    this.#vain.add(gsi);
    this.#notice(
      `A device raised interrupt input ${gsi}, which no controller of this machine has: add one (new IoApic()), or ` +
        "have the device send a message to the local APIC.",
    );
  }

  #set(gsi: number, level: boolean): void {
    if (level) this.#high.add(gsi);
    else this.#high.delete(gsi);
    for (const { controller } of this.#controllers) {
      if (gsi >= controller!.inputs) continue;
      const line = controller!.line(gsi);
      if (level) line.raise();
      else line.lower();
    }
  }
}
