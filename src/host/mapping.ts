import { LINUX } from "../abi/linux.ts";
import { HostError } from "./error.ts";
import { errno, libc } from "./libc.ts";

/** Bytes of a page: x86-64's smallest, and what mmap counts in. */
export const PAGE_SIZE = 4096;

const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * Memory mapped into this process, seen through one ArrayBuffer.
 *
 * Every view must be made from `buffer` (or `bytes`): disposal first detaches that buffer, so that each view of
 * it has length zero, and only then unmaps. A view read after a bare munmap would kill the process.
 */
export class Mapping implements Disposable {
  /** Length in bytes. */
  readonly length: number;
  /** Where it lies in this process. */
  readonly address: bigint;
  #pointer: Deno.PointerObject | undefined;
  #buffer: ArrayBuffer;
  #bytes: Uint8Array<ArrayBuffer>;
  #words16: Uint16Array<ArrayBuffer>;

  private constructor(pointer: Deno.PointerObject, length: number) {
    this.#pointer = pointer;
    this.length = length;
    // SAFETY: only the number is taken, for handing it to the kernel while the mapping lives.
    this.address = Deno.UnsafePointer.value(pointer);
    // SAFETY: the mapping is `length` bytes long and owned by this object; dispose() detaches this one buffer
    // before it unmaps, so that no view outlives the memory.
    this.#buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, length) as ArrayBuffer;
    this.#bytes = new Uint8Array(this.#buffer);
    this.#words16 = new Uint16Array(this.#buffer);
  }

  /**
   * Maps zeroed memory of this process. Host memory is taken page by page, when it is first touched.
   *
   * @param length Bytes, a multiple of the page size; may exceed 4 GiB.
   * @throws {HostError} If the kernel refuses.
   */
  static anonymous(length: number): Mapping {
    const flags = LINUX.MAP_PRIVATE | LINUX.MAP_ANONYMOUS | LINUX.MAP_NORESERVE;
    return Mapping.#map(`mmap of ${length} bytes`, length, flags, -1);
  }

  /**
   * Maps what a descriptor offers at offset 0 (a vCPU's kvm_run page, a file), shared with it.
   *
   * @throws {HostError} If the kernel refuses.
   */
  static ofFd(fd: number, length: number): Mapping {
    return Mapping.#map(`mmap of fd ${fd}`, length, LINUX.MAP_SHARED, fd);
  }

  /**
   * Takes over memory that a library mapped into this process for good, and that munmap gives back.
   *
   * @param pointer What the library gave: `length` bytes, which are this object's from now on.
   */
  static adopt(pointer: Deno.PointerObject, length: number): Mapping {
    return new Mapping(pointer, length);
  }

  static #map(call: string, length: number, flags: number, fd: number): Mapping {
    if (!Number.isSafeInteger(length) || length <= 0 || length % PAGE_SIZE !== 0) {
      throw new RangeError(
        `A mapping's length must be a positive multiple of ${PAGE_SIZE} bytes, not ${length}.`,
      );
    }
    // SAFETY: no address is asked for, so no existing mapping can be replaced.
    const pointer = libc().mmap(null, BigInt(length), LINUX.PROT_READ | LINUX.PROT_WRITE, flags, fd, 0n);
    const failed = errno();
    // SAFETY: only the number is looked at.
    if (pointer === null || Deno.UnsafePointer.value(pointer) === MAP_FAILED) {
      throw new HostError(call, failed);
    }
    return new Mapping(pointer, length);
  }

  /** The one buffer over the whole mapping; detached (length 0) once it is unmapped. */
  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** All of its bytes; of length 0 once it is unmapped. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  /** The same in pairs, little-endian as the host: each is loaded and stored at once. */
  get words16(): Uint16Array<ArrayBuffer> {
    return this.#words16;
  }

  /**
   * Finds the first occurrence of `needle` in the bytes `from` to `to` (exclusive), by libc's memmem.
   *
   * @returns Its offset from the mapping's start, or -1.
   */
  indexOf(needle: Uint8Array<ArrayBuffer>, from = 0, to = this.length): number {
    if (this.#pointer === undefined || from < 0 || to > this.length || from > to) {
      throw new RangeError(`No ${this.length} mapped bytes hold ${from}..${to}.`);
    }
    if (needle.length > to - from) return -1;
    // SAFETY: from..to was checked to lie inside the mapping, which is alive; memmem only reads.
    const start = Deno.UnsafePointer.create(this.address + BigInt(from));
    const found = libc().memmem(start, BigInt(to - from), needle, BigInt(needle.length));
    // SAFETY: only the number is taken.
    return found === null ? -1 : Number(Deno.UnsafePointer.value(found) - this.address);
  }

  /** Gives the host its pages back: `length` bytes from `offset`, both page multiples, read as zeros afterwards. */
  discard(offset: number, length: number): void {
    if (this.#pointer === undefined || offset < 0 || length < 0 || offset + length > this.length) {
      throw new RangeError(`No ${this.length} mapped bytes hold ${offset}..${offset + length}.`);
    }
    // SAFETY: the range was checked to lie inside this private anonymous mapping.
    const start = Deno.UnsafePointer.create(this.address + BigInt(offset));
    if (libc().madvise(start, BigInt(length), LINUX.MADV_DONTNEED) < 0) {
      throw new HostError("madvise", errno());
    }
  }

  /** Detaches every view, then unmaps; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const pointer = this.#pointer;
    if (pointer === undefined) return;
    this.#pointer = undefined;
    // Transferring to length 0 detaches the old buffer, and with it every view, without copying anything.
    this.#buffer.transfer(0);
    // SAFETY: the mapping is ours, and the only buffer over it was detached in the line above.
    libc().munmap(pointer, BigInt(this.length));
  }
}
