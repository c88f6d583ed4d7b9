/**
 * The diagnostic port 0x80: firmware writes POST codes there, and old drivers use it to wait a microsecond.
 *
 * Data sheet: IBM PC AT Technical Reference, "Manufacturing test port"; on a PC it is a spare page register of
 * the DMA controller, so it can be read back.
 */
import { ByteDevice } from "./byte_device.ts";
import { bits, list, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Codes that are remembered. */
const CODES_LIMIT = 64;

interface State {
  last: number;
  /** The last different codes, oldest first. */
  codes: number[];
}

const SHAPE: Shape<State> = { last: bits(8), codes: list(bits(8), 0, CODES_LIMIT) };

/** One register that remembers what was written to it. */
export class Post extends ByteDevice {
  /** "post" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0x80, length: 1 };
  #state: State = { last: 0, codes: [] };

  /** @param options `name`: default "post". */
  constructor(options: { readonly name?: string } = {}) {
    super();
    this.name = options.name ?? "post";
  }

  /** The last codes, oldest first, without repetitions in a row. */
  get codes(): readonly number[] {
    return this.#state.codes;
  }

  /** The guest reads a register. */
  protected readByte(): number {
    return this.#state.last;
  }

  /** The guest writes a register. */
  protected writeByte(_offset: number, value: number): void {
    const state = this.#state;
    if (value === state.last && state.codes.length > 0) return;
    state.last = value;
    state.codes.push(value);
    if (state.codes.length > CODES_LIMIT) state.codes.shift();
  }

  /** Forgets the codes. */
  reset(): void {
    this.#state = { last: 0, codes: [] };
  }

  /** The codes. */
  save(): unknown {
    return saveRecord("post", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    this.#state = restoreRecord("post", 1, SHAPE, saved);
  }

  /** The last code, and the ones before it in hexadecimal. */
  inspect(): Record<string, number | string> {
    const { last, codes } = this.#state;
    return { last, codes: codes.map((c) => c.toString(16).padStart(2, "0")).join(" ") };
  }
}
