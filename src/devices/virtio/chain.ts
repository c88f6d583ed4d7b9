/** A request: what the driver handed over in one chain of descriptors. */
import type { DriverMemory } from "./driver_memory.ts";

/** A piece of the driver's memory. */
export interface Segment {
  /** Guest-physical address of its first byte. */
  readonly at: bigint;
  /** Bytes. */
  readonly length: number;
}

/**
 * A chain of descriptors: first what the device reads, then what it writes (virtio 1.2, 2.6.4). Where descriptors
 * end has no meaning (2.6.4), so that both parts are read and written as streams of bytes, by offset.
 */
export class Chain {
  /** The number by which the driver knows it: index of its first descriptor, or the packed ring's buffer ID. */
  readonly id: number;
  /** Ring entries it takes: what a packed ring's device moves on by. */
  readonly entries: number;
  /** What the device may read, in order. */
  readonly readable: readonly Segment[];
  /** What the device may write, in order. */
  readonly writable: readonly Segment[];
  /** Bytes the device may read. */
  readonly readableBytes: number;
  /** Bytes the device may write. */
  readonly writableBytes: number;
  /** The first byte behind the last one written so far: what the driver is told when it is given back. */
  written = 0;
  readonly #memory: DriverMemory;

  /**
   * Made by a queue.
   *
   * @param parts What the descriptors said.
   */
  constructor(
    memory: DriverMemory,
    parts: { id: number; entries: number; readable: readonly Segment[]; writable: readonly Segment[] },
  ) {
    this.#memory = memory;
    this.id = parts.id;
    this.entries = parts.entries;
    this.readable = parts.readable;
    this.writable = parts.writable;
    this.readableBytes = total(parts.readable);
    this.writableBytes = total(parts.writable);
  }

  /**
   * Reads from byte `offset` of the readable part.
   *
   * @returns How many bytes of `into` were filled: fewer than its length if the part ends before.
   * @throws {FaultError} If a descriptor points where no memory is.
   */
  read(offset: number, into: Uint8Array): number {
    return each(this.readable, offset, into, (at, piece) => this.#memory.read(at, piece));
  }

  /**
   * The first `length` bytes of the writable part as the guest has them, one piece behind the other, where the machine
   * has such views of all of them. They count as written: whoever asks fills them, at once and in any order.
   */
  room(length: number): Uint8Array[] | undefined {
    const pieces = this.#pieces(this.writable, length);
    if (pieces !== undefined) this.written = Math.max(this.written, length);
    return pieces;
  }

  /** The first `length` bytes of the readable part, likewise: to be read at once. The guest may change them meanwhile. */
  given(length: number): Uint8Array[] | undefined {
    return this.#pieces(this.readable, length);
  }

  #pieces(segments: readonly Segment[], length: number): Uint8Array[] | undefined {
    const pieces: Uint8Array[] = [];
    let left = length;
    for (const { at, length: most } of segments) {
      if (left === 0) break;
      const piece = this.#memory.window(at, Math.min(left, most));
      if (piece === undefined) return undefined;
      pieces.push(piece);
      left -= piece.length;
    }
    return left === 0 ? pieces : undefined;
  }

  /** The whole readable part, at most `limit` bytes of it. @throws {FaultError} */
  readAll(limit: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(this.readableBytes, limit));
    this.read(0, bytes);
    return bytes;
  }

  /**
   * Writes to byte `offset` of the writable part.
   *
   * @returns How many of `bytes` were written: fewer than its length if the part ends before.
   * @throws {FaultError} If a descriptor points where no memory is.
   */
  write(offset: number, bytes: Uint8Array): number {
    const done = each(this.writable, offset, bytes, (at, piece) => this.#memory.write(at, piece));
    this.written = Math.max(this.written, offset + done);
    return done;
  }
}

function total(segments: readonly Segment[]): number {
  let sum = 0;
  for (const { length } of segments) sum += length;
  return sum;
}

/** Moves `bytes` to or from the stream that `segments` are, from `offset` on; gives how many were moved. */
function each(
  segments: readonly Segment[],
  offset: number,
  bytes: Uint8Array,
  move: (at: bigint, piece: Uint8Array) => void,
): number {
  let skip = offset;
  let done = 0;
  for (const { at, length } of segments) {
    if (done === bytes.length) break;
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const take = Math.min(length - skip, bytes.length - done);
    move(at + BigInt(skip), bytes.subarray(done, done + take));
    done += take;
    skip = 0;
  }
  return done;
}
