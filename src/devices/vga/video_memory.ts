/**
 * The memory of a VGA: four planes of 64 KiB, interleaved byte by byte, and what the linear framebuffer has beyond.
 */
import { InputError } from "../../vm/errors.ts";

/** Bytes that the four planes take: byte `offset` of plane `p` is at `offset * 4 + p`. */
export const PLANES_BYTES = 0x4_0000;
const PAGE = 4096;

/** A page that is not zeros. */
export interface SavedPage {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Bytes that read as zeros until they are written; most guests never go beyond the planes. */
export class VideoMemory {
  /** Bytes there are: a power of two. */
  readonly size: number;
  #bytes = new Uint8Array(PLANES_BYTES);

  /** @throws {InputError} If `size` is no power of two from 256 KiB to 64 MiB. */
  constructor(size: number) {
    if (!Number.isInteger(Math.log2(size)) || size < PLANES_BYTES || size > 1 << 26) {
      throw new InputError(`a VGA can't have ${size} bytes of memory`, {
        remedy: "give a power of two from 256 KiB to 64 MiB",
      });
    }
    this.size = size;
  }

  /** What is there so far, from address 0; what lies behind it is zeros. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** One byte; outside there are zeros. */
  get(at: number): number {
    return at < this.#bytes.length ? this.#bytes[at] : 0;
  }

  /** Sets one byte; outside nothing happens. */
  set(at: number, value: number): void {
    if (at >= this.#bytes.length && !this.#grow(at)) return;
    this.#bytes[at] = value;
  }

  /** Reads linearly: what lies outside is zeros. */
  read(at: number, into: Uint8Array): void {
    const part = this.#bytes.subarray(at, at + into.length);
    into.set(part);
    into.fill(0, part.length);
  }

  /** Writes linearly; what lies outside is dropped. */
  write(at: number, from: Uint8Array): void {
    const part = from.subarray(0, Math.max(0, this.size - at));
    if (part.length === 0) return;
    if (at + part.length > this.#bytes.length) this.#grow(at);
    this.#bytes.set(part, at);
  }

  /** Zeros from the start on. */
  clear(length = this.size): void {
    this.#bytes.fill(0, 0, length);
  }

  /** The pages that are not zeros, as `page number in hexadecimal:bytes in hexadecimal`. */
  save(): string[] {
    const pages: string[] = [];
    for (let at = 0; at < this.#bytes.length; at += PAGE) {
      const page = this.#bytes.subarray(at, at + PAGE);
      if (isZero(page)) continue;
      pages.push(`${(at / PAGE).toString(16)}:${page.toHex()}`);
    }
    return pages;
  }

  /** The pages that `save` gave. @throws {InputError} If they are damaged, or do not fit this memory. */
  check(pages: readonly string[]): SavedPage[] {
    return pages.map((text) => {
      const [, number, hex] = /^([0-9a-f]{1,4}):((?:[0-9a-f]{2})*)$/.exec(text) ?? [];
      const at = parseInt(number, 16) * PAGE;
      if (!(at < this.size) || hex.length !== PAGE * 2) {
        throw new InputError("The saved VGA memory is not usable: a page of it is damaged or does not fit", {
          remedy: "restore it on a VGA with as much memory as the one that saved it",
        });
      }
      return { at, bytes: Uint8Array.fromHex(hex) };
    });
  }

  /** Takes what `check` found good. */
  restore(pages: readonly SavedPage[]): void {
    this.clear();
    for (const { at, bytes } of pages) this.write(at, bytes);
  }

  #grow(at: number): boolean {
    if (at >= this.size) return false;
    const bytes = new Uint8Array(this.size);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    return true;
  }
}

function isZero(page: Uint8Array): boolean {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}
