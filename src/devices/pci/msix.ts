/**
 * MSI-X: interrupts that a PCI function sends as writes of its own, each with an address and a value that the guest
 * chose.
 *
 * Specification: PCI Local Bus 3.0, 6.8.2 "MSI-X Capability and Table Structures".
 */
import { bits, type Field, list, record } from "../state.ts";

/** Capability ID. */
export const MSIX_CAPABILITY = 0x11;
/** Message Control (6.8.2.3). */
export const MSIX_ENABLE_BIT = 0x8000;
export const MSIX_FUNCTION_MASK_BIT = 0x4000;
/** Vectors that a function can have. */
export const MSIX_VECTORS_LIMIT = 2048;

/** Words of a table entry (6.8.2.6 to 6.8.2.9). */
const ENTRY_WORDS = 4;
const ENTRY_BYTES = 16;
const ADDRESS_LOW = 0;
const ADDRESS_HIGH = 1;
const DATA = 2;
const CONTROL = 3;
const ENTRY_MASK_BIT = 1;

/** Table and pending bits, as saved. */
export interface MsixState {
  table: number[];
  pending: number[];
}

/** What the saved state of `vectors` vectors must look like. */
export function msixField(vectors: number): Field<MsixState> {
  const words = vectors * ENTRY_WORDS;
  return record({ table: list(bits(32), words, words), pending: list(bits(1), vectors, vectors) });
}

/** Bytes of the range for `vectors`: a power of two, with the table in its first half, the pending bits in its second. */
export function msixSize(vectors: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(2 * vectors * ENTRY_BYTES)));
}

/** Table and pending bits of one function, which lie in a base address register's range of their own. */
export class Msix {
  /** How many vectors there are. */
  readonly vectors: number;
  /** Bytes of the range. */
  readonly size: number;
  readonly #control: () => number;
  readonly #send: (address: bigint, data: number) => void;
  readonly #unmasked: (address: bigint, data: number) => boolean;
  readonly #table: Uint32Array;
  readonly #pending: Uint8Array;

  /**
   * @param vectors 1 to 2048.
   * @param control Reads Message Control out of configuration space.
   * @param send Writes a message, 32 bits, to a guest-physical address.
   * @param unmasked Whether a message is sent though its entry is masked.
   */
  constructor(
    vectors: number,
    control: () => number,
    send: (address: bigint, data: number) => void,
    unmasked: (address: bigint, data: number) => boolean = () => false,
  ) {
    this.vectors = vectors;
    this.size = msixSize(vectors);
    this.#control = control;
    this.#send = send;
    this.#unmasked = unmasked;
    this.#table = new Uint32Array(vectors * ENTRY_WORDS);
    this.#pending = new Uint8Array(vectors);
    this.reset();
  }

  /** Where the pending bits begin. */
  get pendingOffset(): number {
    return this.size / 2;
  }

  /** Whether the guest has switched it on; the interrupt pin is quiet then. */
  get enabled(): boolean {
    return (this.#control() & MSIX_ENABLE_BIT) !== 0;
  }

  /** Interrupts by `vector`: at once, or when the guest unmasks it. There may be no such vector. */
  notify(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    this.#pending[vector] = 1;
    this.#flush(vector);
  }

  /** Message Control was written: what is pending may go now. */
  controlled(): void {
    for (let vector = 0; vector < this.vectors; vector++) this.#flush(vector);
  }

  /** Reads aligned words of 4 or 8 bytes; anything else, and what is not there, reads as zeros (6.8.2). */
  read(offset: number, data: Uint8Array): void {
    data.fill(0);
    if (!aligned(offset, data)) return;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    for (let i = 0; i < data.length; i += 4) view.setUint32(i, this.#word(offset + i), true);
  }

  /** Writes aligned words of 4 or 8 bytes to the table; the pending bits are read-only. */
  write(offset: number, data: Uint8Array): void {
    if (!aligned(offset, data) || offset >= this.#table.byteLength) return;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    for (let i = 0; i < data.length; i += 4) this.#table[(offset + i) / 4] = view.getUint32(i, true);
    this.#flush(Math.floor(offset / ENTRY_BYTES));
  }

  /** All vectors are masked, none is pending. */
  reset(): void {
    this.#table.forEach((_, i) => this.#table[i] = i % ENTRY_WORDS === CONTROL ? ENTRY_MASK_BIT : 0);
    this.#pending.fill(0);
  }

  /** Table and pending bits. */
  save(): MsixState {
    return { table: [...this.#table], pending: [...this.#pending] };
  }

  /** Takes a checked record of as many vectors. */
  restore({ table, pending }: MsixState): void {
    this.#table.set(table);
    this.#pending.set(pending);
  }

  /** Which vectors are pending, and where each unmasked one goes. */
  inspect(): Record<string, string> {
    const shown: Record<string, string> = {};
    for (let vector = 0; vector < this.vectors; vector++) {
      const { address, data, masked } = this.#entry(vector);
      if (masked && this.#pending[vector] === 0) continue;
      const where = masked ? "masked" : `0x${data.toString(16)} to 0x${address.toString(16)}`;
      shown[`MSIX${vector}`] = `${where}${this.#pending[vector] === 1 ? ", pending" : ""}`;
    }
    return shown;
  }

  #entry(vector: number): { address: bigint; data: number; masked: boolean } {
    const at = vector * ENTRY_WORDS;
    const address = BigInt(this.#table[at + ADDRESS_HIGH]) << 32n | BigInt(this.#table[at + ADDRESS_LOW]);
    const data = this.#table[at + DATA];
    const masked = (this.#table[at + CONTROL] & ENTRY_MASK_BIT) !== 0;
    return { address, data, masked: masked && !this.#unmasked(address, data) };
  }

  #flush(vector: number): void {
    if (this.#pending[vector] !== 1 || !this.enabled) return;
    const { address, data, masked } = this.#entry(vector);
    if (masked || (this.#control() & MSIX_FUNCTION_MASK_BIT) !== 0) return;
    this.#pending[vector] = 0;
    this.#send(address, data);
  }

  #word(offset: number): number {
    if (offset < this.#table.byteLength) return this.#table[offset / 4];
    const first = (offset - this.pendingOffset) * 8;
    let word = 0;
    if (first < 0) return word;
    for (let i = 0; i < 32; i++) word |= (this.#pending[first + i] ?? 0) << i;
    return word >>> 0;
  }
}

function aligned(offset: number, data: Uint8Array): boolean {
  return (data.length === 4 || data.length === 8) && offset % data.length === 0;
}
