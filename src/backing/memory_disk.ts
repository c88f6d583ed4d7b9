/** A disk in memory: its bytes are gone when nobody holds them any more. */
import { type BlockBacking, type BlockFault, outside, SECTOR_BYTES } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { blockFault } from "./faults.ts";

/** Sectors one after the other in an array of bytes, which is used, not copied. */
export class MemoryDisk implements BlockBacking {
  /** "memory" unless told otherwise. */
  readonly name: string;
  /** Bytes in whole sectors. */
  readonly size: number;
  /** Whether every write fails. */
  readonly readOnly: boolean;
  /** What the user should know about it, in sentences. */
  readonly notes: readonly string[];
  /** What the disk holds. */
  readonly bytes: Uint8Array;

  /**
   * A disk over `bytes`.
   *
   * @throws {InputError} If there is not one sector.
   */
  constructor(bytes: Uint8Array, options: { readonly name?: string; readonly readOnly?: boolean } = {}) {
    this.name = options.name ?? "memory";
    this.readOnly = options.readOnly ?? false;
    this.bytes = bytes;
    this.size = bytes.length - bytes.length % SECTOR_BYTES;
    if (this.size === 0) {
      throw new InputError(`The disk ${this.name} has ${bytes.length} bytes: not one sector`, {
        remedy: `give it at least ${SECTOR_BYTES} bytes`,
      });
    }
    this.notes = this.size === bytes.length ? [] : [
      `${this.name} has ${bytes.length} bytes, no multiple of ${SECTOR_BYTES}: the guest does not see the last ${
        bytes.length - this.size
      }`,
    ];
  }

  /** Fills `into` from `at`. */
  read(at: number, into: Uint8Array): BlockFault | undefined {
    const fault = outside(this, at, into.length);
    if (fault === undefined) into.set(this.bytes.subarray(at, at + into.length));
    return fault;
  }

  /** Stores `bytes` from `at`. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} can't be written`);
    const fault = outside(this, at, bytes.length);
    if (fault === undefined) this.bytes.set(bytes, at);
    return fault;
  }

  /** Zeros. */
  discard(at: number, length: number): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} can't be written`);
    const fault = outside(this, at, length);
    if (fault === undefined) this.bytes.fill(0, at, at + length);
    return fault;
  }

  /** There is nothing to do. */
  flush(): BlockFault | undefined {
    return undefined;
  }
}
