import { libc } from "../libc.ts";

/**
 * Memory that a library of Xen's mapped into this process for good, and that munmap gives back. Its one buffer is
 * detached before that, so that a view of it reads as empty afterwards.
 */
export class RingPage implements Disposable {
  /** Bytes. */
  readonly length: number;
  #pointer: Deno.PointerObject | undefined;
  #buffer: ArrayBuffer;

  /** @param pointer What the library gave: `length` bytes, which are this object's from now on. */
  constructor(pointer: Deno.PointerObject, length: number) {
    this.#pointer = pointer;
    this.length = length;
    // SAFETY: the library mapped `length` bytes and keeps no pointer of its own that it would unmap; the buffer is
    // detached before this object unmaps them.
    this.#buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, length) as ArrayBuffer;
  }

  /** Its bytes; of length 0 once it is unmapped. Make every view from it. */
  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** Detaches every view, then unmaps; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const pointer = this.#pointer;
    if (pointer === undefined) return;
    this.#pointer = undefined;
    this.#buffer.transfer(0);
    // SAFETY: the mapping is ours, and the only buffer over it was detached in the line above.
    libc().munmap(pointer, BigInt(this.length));
  }
}
