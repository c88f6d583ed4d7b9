/**
 * System control port A: the A20 gate and the fast reset of a PS/2.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "System Control Port A (Hex 0092)".
 */
import { A20Gate } from "./a20_gate.ts";
import { ByteDevice } from "./byte_device.ts";
import { bits, restoreRecord, saveRecord, type Shape } from "./state.ts";

const RESET_BIT = 0x01;
const A20_BIT = 0x02;

interface State {
  control: number;
}

const SHAPE: Shape<State> = { control: bits(8) };

/** What the port drives. */
export interface Port92Options {
  /** Default "port92". */
  readonly name?: string;
  /** Bit 0 went from 0 to 1: the CPU is reset. */
  readonly onReset: () => void;
  /** The gate that bit 1 opens. */
  readonly a20?: A20Gate;
}

/** One register at port 0x92. A20 is open from the start, as firmware leaves it. */
export class Port92 extends ByteDevice {
  /** "port92" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0x92, length: 1 };
  readonly #options: Port92Options;
  readonly #a20: A20Gate;
  readonly #state: State = { control: A20_BIT };

  /** @param options What it is made of. */
  constructor(options: Port92Options) {
    super();
    this.#options = options;
    this.name = options.name ?? "port92";
    this.#a20 = options.a20 ?? new A20Gate();
    this.#a20.register((open) => this.#state.control = this.#state.control & ~A20_BIT | (open ? A20_BIT : 0));
  }

  /** The guest reads a register. */
  protected readByte(): number {
    return this.#state.control;
  }

  /** The guest writes a register. */
  protected writeByte(_offset: number, value: number): void {
    const risen = value & ~this.#state.control;
    this.#state.control = value;
    this.#a20.set((value & A20_BIT) !== 0);
    if (risen & RESET_BIT) this.#options.onReset();
  }

  /** A20 open, no reset asked for. */
  reset(): void {
    this.#state.control = A20_BIT;
    this.#a20.set(true);
  }

  /** The register. */
  save(): unknown {
    return saveRecord("port92", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    this.#state.control = restoreRecord("port92", 1, SHAPE, saved).control;
    this.#a20.set((this.#state.control & A20_BIT) !== 0);
  }

  /** The register and its bits. */
  inspect(): Record<string, number> {
    const { control } = this.#state;
    return { control, a20: control & A20_BIT ? 1 : 0 };
  }
}
