/**
 * A PCI function's 256 bytes of configuration space: what can be written where, and the base address registers.
 *
 * Specification: PCI Local Bus 2.2, chapter 6.
 */
import { InputError } from "../../vm/errors.ts";
import { bits, type Field, list } from "../state.ts";

/** Offsets of the header (figure 6-1), type 0. */
export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION_ID = 0x08;
export const CLASS_CODE = 0x09;
export const CACHE_LINE_SIZE = 0x0c;
export const LATENCY_TIMER = 0x0d;
export const HEADER_TYPE = 0x0e;
export const BASE_ADDRESS = 0x10;
export const SUBSYSTEM_VENDOR_ID = 0x2c;
export const SUBSYSTEM_ID = 0x2e;
export const CAPABILITIES_POINTER = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;

/** Bits of the command register. */
export const COMMAND_IO_BIT = 0x0001;
export const COMMAND_MEMORY_BIT = 0x0002;
export const COMMAND_BUS_MASTER_BIT = 0x0004;
export const COMMAND_INTX_DISABLE_BIT = 0x0400;
/** As SeaBIOS leaves it for every function (src/fw/pciinit.c): it decodes ports and memory, and tells SERR#. */
export const COMMAND_CONFIGURED = 0x0103;
/** Bits of the status register: the pin is asserted, INTx disable or not (PCI 3.0, 6.2.3); a capabilities list is there. */
export const STATUS_INTERRUPT_BIT = 0x0008;
export const STATUS_CAPABILITIES_BIT = 0x0010;
/** Takes back-to-back transactions. */
export const STATUS_BACK_TO_BACK_BIT = 0x0080;
/** Medium DEVSEL# timing, as Intel's bridges have it. */
export const STATUS_DEVSEL_MEDIUM = 0x0200;
/** I/O, memory, bus master, parity, SERR#, INTx disable. */
const COMMAND_MASK = 0x0547;
/** Error bits, cleared by writing ones. */
const STATUS_CLEAR_MASK = 0xf900;
const MULTIFUNCTION_BIT = 0x80;
const SPACE = 256;
const BARS = 6;
const IO_BIT = 0x01;
const MEMORY_64_BITS = 0x04;
const PREFETCHABLE_BIT = 0x08;

/** One base address register. */
export interface Bar {
  readonly kind: "io" | "memory" | "memory64";
  /** Bytes: a power of two, at least 4 for I/O and 16 for memory. */
  readonly size: number;
  readonly prefetchable?: boolean;
}

/** The identity in the header. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** Base class, sub-class and programming interface, 24 bits. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 1..4 for INTA#..INTD#. Default: no interrupt. */
  readonly pin?: number;
  /** Whether the device has more functions than 0. */
  readonly multifunction?: boolean;
  /** By register: `[, , , , {..}]` is one at 0x20. A memory64 takes two places. */
  readonly bars?: readonly (Bar | undefined)[];
}

/** Where a base address register points now. */
export interface Mapping {
  /** Index of the register. */
  readonly bar: number;
  readonly kind: "io" | "memory";
  readonly start: bigint;
  readonly length: bigint;
}

/** What a saved space must look like. */
export const CONFIG_FIELD: Field<number[]> = list(bits(8), SPACE, SPACE);

/** The bytes, and which of their bits the guest may write or clear. */
export class ConfigSpace {
  readonly #bytes = new Uint8Array(SPACE);
  readonly #writable = new Uint8Array(SPACE);
  readonly #clearable = new Uint8Array(SPACE);
  readonly #power: Uint8Array;
  readonly #bars: readonly (Bar | undefined)[];

  /** @throws {InputError} If a base address register makes no sense. */
  constructor(identity: PciIdentity) {
    this.#bars = identity.bars ?? [];
    const put = (offset: number, value: number, size: 1 | 2 | 4) => this.set(offset, value, size);
    put(VENDOR_ID, identity.vendor, 2);
    put(DEVICE_ID, identity.device, 2);
    put(REVISION_ID, (identity.revision ?? 0) | identity.classCode << 8, 4);
    put(HEADER_TYPE, identity.multifunction ? MULTIFUNCTION_BIT : 0, 1);
    put(SUBSYSTEM_VENDOR_ID, identity.subsystemVendor ?? 0, 2);
    put(SUBSYSTEM_ID, identity.subsystem ?? 0, 2);
    put(INTERRUPT_PIN, identity.pin ?? 0, 1);
    this.allow(COMMAND, COMMAND_MASK, 2);
    this.allow(CACHE_LINE_SIZE, 0xffff, 2);
    if (identity.pin !== undefined) this.allow(INTERRUPT_LINE, 0xff, 1);
    for (let i = 0; i < 2; i++) this.#clearable[STATUS + i] = STATUS_CLEAR_MASK >> (8 * i) & 0xff;
    this.#bars.forEach((bar, i) => bar && this.#makeBar(bar, i));
    this.#power = this.#bytes.slice();
  }

  /** A number of 1, 2 or 4 bytes, little-endian. */
  get(offset: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.#bytes[(offset + i) & 0xff]);
    return value;
  }

  /** Sets bytes whatever the guest may write. */
  set(offset: number, value: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) this.#bytes[(offset + i) & 0xff] = value >>> (8 * i);
  }

  /** Makes bits writable for the guest. */
  allow(offset: number, mask: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) this.#writable[offset + i] = mask >>> (8 * i);
  }

  /** Sets what the bytes are after power-on and a reset. */
  initial(offset: number, value: number, size: 1 | 2 | 4): void {
    this.set(offset, value, size);
    for (let i = 0; i < size; i++) this.#power[offset + i] = value >>> (8 * i);
  }

  /** The guest writes; what is not writable stays. */
  write(offset: number, value: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) {
      const at = (offset + i) & 0xff;
      const byte = value >>> (8 * i) & 0xff;
      const kept = this.#bytes[at] & ~this.#writable[at] & ~(byte & this.#clearable[at]);
      this.#bytes[at] = kept | (byte & this.#writable[at]);
    }
  }

  /** The base address registers that decode now: enabled in the command register, and not at zero. */
  get mappings(): Mapping[] {
    const command = this.get(COMMAND, 2);
    return this.#bars.flatMap((bar, i) => {
      if (bar === undefined) return [];
      const io = bar.kind === "io";
      if ((command & (io ? COMMAND_IO_BIT : COMMAND_MEMORY_BIT)) === 0) return [];
      const offset = BASE_ADDRESS + 4 * i;
      const low = BigInt((this.get(offset, 4) & (io ? ~0x03 : ~0x0f)) >>> 0);
      const start = bar.kind === "memory64" ? low | BigInt(this.get(offset + 4, 4)) << 32n : low;
      return start === 0n ? [] : [{ bar: i, kind: io ? "io" : "memory", start, length: BigInt(bar.size) }];
    });
  }

  /** The base address registers that there are, by index. */
  get bars(): readonly (Bar | undefined)[] {
    return this.#bars;
  }

  /** As after power-on. */
  reset(): void {
    this.#bytes.set(this.#power);
  }

  /** All bytes. */
  save(): number[] {
    return [...this.#bytes];
  }

  /** Takes what `save` gave. @throws {InputError} If it is of another function, or a fixed bit differs. */
  restore(bytes: readonly number[]): void {
    for (let i = VENDOR_ID; i < COMMAND; i++) {
      if (bytes[i] !== this.#bytes[i]) {
        throw new InputError("The saved PCI configuration is of another device", {
          remedy: "restore it on a machine with the same PCI functions",
        });
      }
    }
    this.#bytes.set(bytes);
  }

  #makeBar(bar: Bar, i: number): void {
    const least = bar.kind === "io" ? 4 : 16;
    const wide = bar.kind === "memory64";
    if (
      i + (wide ? 2 : 1) > BARS || bar.size < least || bar.size > 2 ** 31 ||
      !Number.isInteger(Math.log2(bar.size))
    ) {
      throw new InputError(`PCI base address register ${i} can't have ${bar.size} bytes of ${bar.kind}`, {
        remedy: `use a power of two from ${least} and registers 0 to 5`,
      });
    }
    const type = bar.kind === "io"
      ? IO_BIT
      : (wide ? MEMORY_64_BITS : 0) | (bar.prefetchable ? PREFETCHABLE_BIT : 0);
    const offset = BASE_ADDRESS + 4 * i;
    this.set(offset, type, 4);
    // Writing ones and reading back tells the size: the bits below it are not there (6.2.5.1).
    this.allow(offset, -bar.size, 4);
    if (wide) this.allow(offset + 4, 0xffff_ffff, 4);
  }
}
