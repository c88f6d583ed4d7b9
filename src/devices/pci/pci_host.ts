/**
 * The ports through which the guest reaches every function's configuration space (configuration mechanism #1), and for
 * kernels without firmware the addresses too (the enhanced mechanism).
 *
 * Specification: PCI Local Bus 2.2, 3.2.2.3.2; PCI Express 3.0, 7.2.2; Intel 82371SB (PIIX3), 2.5.5.5 (reset control at 0xcf9).
 */
import { type Device, type DeviceRange, type InterruptLine, NO_LINE } from "../../vm/device.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import { InputError } from "../../vm/errors.ts";
import { numberOf, putNumber } from "../byte_device.ts";
import { ResetControl } from "../reset_control.ts";
import { bits, restoreRecord, saveRecord, type Shape } from "../state.ts";
import { HOST_BITS } from "./pci_bits.ts";
import { assignResources } from "./pci_assign.ts";
import type { PciFunction } from "./pci_function.ts";

const ADDRESS = 0;
const RESET_CONTROL = 1;
const DATA = 4;
const ENABLE_BIT = 0x8000_0000;
const ADDRESS_MASK = 0x80ff_fffc;

interface State {
  address: number;
  resetControl: number;
}

const SHAPE: Shape<State> = { address: bits(32), resetControl: bits(8) };

/** Where a function sits on bus 0. */
export interface PciPlace {
  /** 0..31. */
  readonly slot: number;
  /** 0..7. */
  readonly function?: number;
}

/** Leads a function's interrupt pin to the interrupt controller. */
export interface PciInterruptRouter {
  /** The line of pin 1..4 (INTA#..INTD#) in a slot. Every call gives a source of its own. */
  route(slot: number, pin: number): InterruptLine;
  /** The ISA interrupt that it leads to now; undefined while to none. */
  irq(slot: number, pin: number): number | undefined;
}

/** A bus that is not ours alone: what is done for each function that joins it. */
export interface PciClaims {
  /** Has a slot's configuration space come here. @throws {Error} If that is refused. */
  claim(slot: number): void;
  /** Takes back what `claim` did. */
  release(slot: number): void;
}

/** What the bus is made of. */
export interface PciHostOptions {
  /** Default "pci". */
  readonly name?: string;
  /** The guest asked for a reset through port 0xcf9. */
  readonly onReset?: () => void;
  /** Where interrupt pins lead. */
  readonly router?: PciInterruptRouter;
  /** Whether configuration space is at `ECAM_START` too, which only tables that describe it lead to. */
  readonly ecam?: boolean;
  /** Whether functions that join get addresses here, for a guest without firmware. */
  readonly configured?: boolean;
  /** Where others have functions on it, too: then those that join stand at its end, where others come last. */
  readonly claims?: PciClaims;
}

/** Configuration space by addresses: 4 KiB for each function of bus 0. */
export const ECAM_START = 0xfb00_0000n;
/** Bytes of it. */
export const ECAM_BYTES = 0x10_0000n;
const ECAM_FUNCTION_BYTES = 0x1000;
/** What conventional functions have of them; the rest reads as ones, as if nobody was there. */
const CONFIG_BYTES = 0x100;

/** Slots that the chipset and the VGA leave. */
const FIRST_FREE_SLOT = 3;
const SLOTS = 32;

/** Bus 0 and its ports 0xcf8..0xcff. */
export class PciHost implements Device {
  /** Names of the bits of its registers. */
  readonly bits: Readonly<Record<string, RegisterBits>> = HOST_BITS;
  /** "pci" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0xcf8, length: 8 };
  /** Configuration space by addresses, where it is there. */
  readonly mmio: readonly DeviceRange[];
  readonly #functions = new Map<number, PciFunction>();
  readonly #reset: ResetControl;
  readonly #router: PciInterruptRouter | undefined;
  readonly #configured: boolean;
  readonly #claims: PciClaims | undefined;
  /** Functions that were plugged in where there was room, and what takes each out. */
  readonly #joined = new Map<PciFunction, Disposable>();
  /** Slots that are others'. */
  #others: ReadonlySet<number> = new Set();
  #address = 0;

  /** @param options What it is made of. */
  constructor(options: PciHostOptions = {}) {
    this.name = options.name ?? "pci";
    this.#reset = new ResetControl(options.onReset);
    this.#router = options.router;
    this.mmio = options.ecam ? [{ start: ECAM_START, length: ECAM_BYTES }] : [];
    this.#configured = options.configured ?? false;
    this.#claims = options.claims;
  }

  /** Says which slots are others': nobody joins there. */
  reserve(slots: ReadonlySet<number>): void {
    this.#others = slots;
  }

  /** The functions, in the order of their places. */
  get functions(): readonly {
    readonly slot: number;
    readonly function: number;
    readonly device: PciFunction;
  }[] {
    return [...this.#functions].sort(([a], [b]) => a - b).map(([place, device]) => ({
      slot: place >> 3,
      function: place & 7,
      device,
    }));
  }

  /** Whether functions have joined those that were here from the start. */
  get crowded(): boolean {
    return this.#joined.size > 0;
  }

  /**
   * Puts a function in its place. It is also a device of its own: plug it into the machine as well.
   *
   * @throws {InputError} If the place does not exist or is taken.
   */
  plug(place: PciPlace, device: PciFunction): void {
    const { slot, function: number = 0 } = place;
    const valid = Number.isInteger(slot) && slot >= 0 && slot < 32 && Number.isInteger(number) &&
      number >= 0 &&
      number < 8;
    const taken = this.#functions.get(slot << 3 | number);
    if (!valid || taken !== undefined) {
      throw new InputError(
        `${device.name} can't be PCI function ${slot}.${number}: ${
          taken ? `${taken.name} is there` : "no such place"
        }`,
        { remedy: "choose a slot from 0 to 31 and a function from 0 to 7 that is free" },
      );
    }
    this.#functions.set(slot << 3 | number, device);
    if (device.pin > 0 && this.#router !== undefined) device.intx = this.#router.route(slot, device.pin);
  }

  /**
   * Puts a function that has no place yet into a slot; without firmware it gets its addresses too.
   *
   * @param free Whether a range of guest-physical addresses has neither memory nor a device.
   * @throws {InputError} If the slot it wants is taken, or there is none left.
   */
  join(device: PciFunction, free: (start: bigint, length: bigint) => boolean): void {
    if (this.functions.some((each) => each.device === device)) return;
    const slot = device.slot ?? this.#freeSlot();
    if (this.#others.has(slot)) this.#refuse(device, slot);
    using undo = new DisposableStack();
    this.plug({ slot }, device);
    undo.defer(() => {
      this.#functions.delete(slot << 3);
      device.intx = NO_LINE;
    });
    this.#claims?.claim(slot);
    undo.defer(() => this.#claims?.release(slot));
    if (this.#configured) {
      assignResources(device, device.pin > 0 ? this.#router?.irq(slot, device.pin) : undefined, free);
      device.reset();
    }
    this.#joined.set(device, undo.move());
  }

  /** Lets go of a function that has joined. */
  leave(device: PciFunction): void {
    const joined = this.#joined.get(device);
    this.#joined.delete(device);
    joined?.[Symbol.dispose]();
  }

  /** How many functions are there. */
  summary(): string {
    return `${this.#functions.size} functions`;
  }

  /** The guest reads the address, the reset control register, or configuration space. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    const named = this.#named(offset, data, range);
    if (named !== undefined) putNumber(data, named.device.configRead(named.register, named.size));
    else if (this.mmio.includes(range) || offset >= DATA) return;
    else if (offset === ADDRESS && data.length === 4) putNumber(data, this.#address);
    else if (offset === RESET_CONTROL && data.length === 1) data[0] = this.#reset.value;
  }

  /** The guest writes them. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const named = this.#named(offset, data, range);
    if (named !== undefined) named.device.configWrite(named.register, numberOf(data), named.size);
    else if (this.mmio.includes(range) || offset >= DATA) return;
    else if (offset === ADDRESS && data.length === 4) this.#address = (numberOf(data) & ADDRESS_MASK) >>> 0;
    else if (offset === RESET_CONTROL && data.length === 1) this.#reset.write(data[0]);
  }

  /** Address and reset control; the functions are reset as devices of their own. */
  reset(): void {
    this.#address = 0;
    this.#reset.value = 0;
  }

  /** Address and reset control; the functions save themselves. */
  save(): unknown {
    return saveRecord<State>("pci-host", 1, { address: this.#address, resetControl: this.#reset.value });
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    const state = restoreRecord("pci-host", 1, SHAPE, saved);
    this.#address = state.address;
    this.#reset.value = state.resetControl;
  }

  /** The address, and which function is where. */
  inspect(): Record<string, number | string> {
    const shown: Record<string, number | string> = {
      CONFIG_ADDRESS: this.#address,
      resetControl: this.#reset.value,
    };
    for (const { slot, function: number, device } of this.functions) {
      const place = `00:${slot.toString(16).padStart(2, "0")}.${number}`;
      const id = [0, 2].map((at) => device.config.get(at, 2).toString(16).padStart(4, "0")).join(":");
      shown[place] = `${device.name} ${id}`;
    }
    return shown;
  }

  /** A slot without functions; 32, which is none, if all are taken. */
  #freeSlot(): number {
    return (this.#claims === undefined ? this.#free[0] : this.#free.at(-1)) ?? SLOTS;
  }

  /** Slots that a function can join, in their order. */
  get #free(): number[] {
    const taken = new Set([...this.#functions.keys()].map((place) => place >> 3));
    const slots = Array.from({ length: SLOTS - FIRST_FREE_SLOT }, (_, i) => FIRST_FREE_SLOT + i);
    return slots.filter((slot) => !taken.has(slot) && !this.#others.has(slot));
  }

  #refuse(device: PciFunction, slot: number): never {
    throw new InputError(`${device.name} can't be in PCI slot ${slot}: the guest's device model has that`, {
      remedy: `take one of ${this.#free.join(", ")}, or leave the slot out`,
    });
  }

  /** The function and the register that an access to configuration space means; bus 0 is the only one. */
  #named(offset: number, data: Uint8Array, range: DeviceRange): Named | undefined {
    const size = width(data);
    if (size === undefined) return undefined;
    let place: number;
    let register: number;
    if (this.mmio.includes(range)) {
      register = offset % ECAM_FUNCTION_BYTES;
      place = (offset - register) / ECAM_FUNCTION_BYTES;
      if (register + size > CONFIG_BYTES) return undefined;
    } else {
      const bus = this.#address >>> 16 & 0xff;
      if (offset < DATA || (this.#address & ENABLE_BIT) === 0 || bus !== 0) return undefined;
      register = (this.#address & 0xfc) | (offset - DATA);
      place = this.#address >> 8 & 0xff;
    }
    const device = this.#functions.get(place);
    return device && { device, register, size };
  }
}

/** An access to configuration space. */
interface Named {
  readonly device: PciFunction;
  readonly register: number;
  readonly size: 1 | 2 | 4;
}

function width(data: Uint8Array): 1 | 2 | 4 | undefined {
  return data.length === 1 || data.length === 2 || data.length === 4 ? data.length : undefined;
}
