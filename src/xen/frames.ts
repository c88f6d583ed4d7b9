import { FaultError } from "../vm/errors.ts";
import type { ForeignMapping, ForeignMemory } from "../host/xen/foreign_memory.ts";

const PAGE = 4096;
/** Pages that stay mapped: 4 MiB. */
const CACHED_PAGES = 1024;
/** From here on a run of pages is mapped for one read and let go again. */
const BULK_PAGES = 16;
/** The most pages of one such mapping: 4 MiB. */
const MAPPED_AT_ONCE = 1024;

/** Pages of a domain's memory, mapped when they are first touched, the least recently used ones let go. */
export class FrameCache implements Disposable {
  readonly #memory: ForeignMemory;
  readonly #domain: number;
  /** By frame; a Map keeps the order in which they were put in, so that the first is the oldest. */
  readonly #pages = new Map<number, ForeignMapping>();
  readonly #one = new BigUint64Array(1);
  readonly #error = new Int32Array(1);

  /** @param memory Disposed of by its owner, after this. */
  constructor(memory: ForeignMemory, domain: number) {
    this.#memory = memory;
    this.#domain = domain;
  }

  /** How many pages are mapped now. */
  get size(): number {
    return this.#pages.size;
  }

  /**
   * The page of `frame`; undefined if it is not the domain's, or no memory.
   *
   * @param writable Whether it shall be written: a page table of a PV domain can't be.
   */
  page(frame: number, writable = false): ForeignMapping | undefined {
    const present = this.#pages.get(frame);
    if (present !== undefined && (present.writable || !writable)) {
      this.#pages.delete(frame);
      this.#pages.set(frame, present);
      return present;
    }
    this.#one[0] = BigInt(frame);
    const mapped = this.#memory.map(this.#domain, this.#one, this.#error, writable);
    if (mapped === undefined) return undefined;
    if (this.#error[0] !== 0) {
      mapped[Symbol.dispose]();
      return undefined;
    }
    this.#drop(frame);
    if (this.#pages.size >= CACHED_PAGES) this.#drop(this.#pages.keys().next().value!);
    this.#pages.set(frame, mapped);
    return mapped;
  }

  /**
   * Copies whole pages out.
   *
   * @param frames One for each 4096 bytes of `into`.
   * @returns How many pages could be read before one could not.
   */
  readPages(frames: readonly number[], into: Uint8Array): number {
    if (frames.length < BULK_PAGES) return this.#readCached(frames, into);
    for (let done = 0; done < frames.length;) {
      const part = numbers(frames, done, Math.min(frames.length - done, MAPPED_AT_ONCE));
      const errors = new Int32Array(part.length);
      using mapped = this.#memory.map(this.#domain, part, errors);
      if (mapped === undefined) return done;
      let good = 0;
      while (good < part.length && errors[good] === 0) good++;
      mapped.read(0, into.subarray(done * PAGE, (done + good) * PAGE));
      done += good;
      if (good < part.length) return done;
    }
    return frames.length;
  }

  /** Fills whole pages with zeros, `count` from the frame `first` on. @throws {FaultError} If one is not there. */
  wipe(first: number, count: number): void {
    const zeros = new Uint8Array(Math.min(count, MAPPED_AT_ONCE) * PAGE);
    for (let done = 0; done < count; done += MAPPED_AT_ONCE) {
      const length = Math.min(count - done, MAPPED_AT_ONCE);
      const frames = BigUint64Array.from({ length }, (_, i) => BigInt(first + done + i));
      const errors = new Int32Array(length);
      using mapped = this.#memory.map(this.#domain, frames, errors, true);
      const wrong = mapped === undefined ? 0 : errors.findIndex((error) => error !== 0);
      if (wrong >= 0) {
        const address = BigInt(first + done + wrong) * BigInt(PAGE);
        throw new FaultError(`there is no memory at 0x${address.toString(16)}`, { address, space: "gpa" });
      }
      mapped!.write(0, zeros.subarray(0, length * PAGE));
    }
  }

  /** Which of `frames` can be mapped; 1024 at most. */
  present(frames: readonly number[]): boolean[] {
    const errors = new Int32Array(frames.length);
    using mapped = this.#memory.map(this.#domain, numbers(frames, 0, frames.length), errors);
    return frames.map((_, i) => mapped !== undefined && errors[i] === 0);
  }

  /** Lets every page go: what a frame number means may change while the guest runs. */
  clear(): void {
    for (const mapped of this.#pages.values()) mapped[Symbol.dispose]();
    this.#pages.clear();
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #readCached(frames: readonly number[], into: Uint8Array): number {
    for (const [i, frame] of frames.entries()) {
      const page = this.page(frame);
      if (page === undefined) return i;
      page.read(0, into.subarray(i * PAGE, (i + 1) * PAGE));
    }
    return frames.length;
  }

  #drop(frame: number): void {
    this.#pages.get(frame)?.[Symbol.dispose]();
    this.#pages.delete(frame);
  }
}

/** Some of `frames` as Xen's libraries take them. A BigInt for each would take longer than to copy its page. */
function numbers(frames: readonly number[], first: number, count: number): BigUint64Array<ArrayBuffer> {
  const words = new Uint32Array(2 * count);
  for (let i = 0; i < count; i++) {
    const frame = frames[first + i];
    words[2 * i] = frame;
    words[2 * i + 1] = frame / 2 ** 32;
  }
  return new BigUint64Array(words.buffer);
}
