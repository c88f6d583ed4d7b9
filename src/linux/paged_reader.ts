/** Reading by linear addresses through page tables that no vCPU needs to have loaded: the kernel's, or a process's. */
import { FaultError, InputError } from "../vm/errors.ts";
import type { PhysicalMemory } from "../vm/machine.ts";
import { faultOf, walk, type WalkRegisters } from "../x86/paging.ts";

const PAGE = 4096;
const PAGE_MASK = 0xfffn;
/** The most bytes of one read. */
const MOST_BYTES = 256 << 20;
/** What is read at least page by page, and kept. */
const SMALL = 4 * PAGE;
/** How many pages, and how many translations, are kept. */
const KEPT_PAGES = 2048;
const KEPT_TRANSLATIONS = 65536;

/** Strings end here at the latest. */
const MOST_STRING = 4096;

/**
 * Memory through one set of page tables, as it is while the guest stands still: it keeps what it has read. Make a new
 * one for each look at the guest.
 */
export class PagedReader {
  readonly #physical: PhysicalMemory;
  readonly #registers: WalkRegisters;
  readonly #pages = new Map<bigint, Uint8Array>();
  readonly #translations = new Map<bigint, bigint>();

  /** @param registers What the tables are found and understood by: CR0, CR3, CR4 and EFER. */
  constructor(physical: PhysicalMemory, registers: WalkRegisters) {
    this.#physical = physical;
    this.#registers = registers;
  }

  /** One like it, with other tables: the guest-physical address of the top one. */
  withTables(root: bigint): PagedReader {
    return new PagedReader(this.#physical, { ...this.#registers, root });
  }

  /** The guest-physical address behind a linear one. @throws {FaultError} If it is not mapped. */
  async translate(address: bigint): Promise<bigint> {
    const page = address & ~PAGE_MASK;
    const known = this.#translations.get(page);
    if (known !== undefined) return known | address & PAGE_MASK;
    const found = await walk(this.#registers, address, (gpa, into) => this.#entry(gpa, into));
    if (!found.ok) throw faultOf(found);
    if (this.#translations.size >= KEPT_TRANSLATIONS) this.#translations.clear();
    this.#translations.set(page, found.gpa & ~PAGE_MASK);
    return found.gpa;
  }

  /**
   * Reads `length` bytes, 256 MiB at most.
   *
   * @throws {FaultError} If a page is not mapped or is not memory.
   * @throws {InputError} If it is more than is allowed.
   */
  async read(address: bigint, length: number): Promise<Uint8Array> {
    if (!Number.isInteger(length) || length < 0 || length > MOST_BYTES) {
      throw new InputError(`a read has 0 to ${MOST_BYTES} bytes, not ${length}`, {
        remedy: "read it in pieces",
      });
    }
    if (address + BigInt(length) > 1n << 64n) {
      throw new FaultError(
        `${length} bytes at 0x${address.toString(16)} go past the end of the address space`,
        { address, space: "gva" },
        { remedy: "ask for fewer bytes" },
      );
    }
    const into = new Uint8Array(length);
    const small = length <= SMALL;
    let run: { gpa: bigint; from: number; to: number } | undefined;
    for (let done = 0; done < length;) {
      const gpa = await this.translate(address + BigInt(done));
      const size = Math.min(length - done, PAGE - Number(gpa & PAGE_MASK));
      if (small) {
        const offset = Number(gpa & PAGE_MASK);
        into.set((await this.#page(gpa & ~PAGE_MASK)).subarray(offset, offset + size), done);
      } else if (run !== undefined && run.gpa + BigInt(run.to - run.from) === gpa) {
        run.to += size;
      } else {
        if (run !== undefined) await this.#physical.readInto(run.gpa, into.subarray(run.from, run.to));
        run = { gpa, from: done, to: done + size };
      }
      done += size;
    }
    if (run !== undefined) await this.#physical.readInto(run.gpa, into.subarray(run.from, run.to));
    return into;
  }

  /** A little-endian number of 1 to 8 bytes. @throws {FaultError} */
  async uint(address: bigint, bytes: number): Promise<bigint> {
    let value = 0n;
    for (const byte of (await this.read(address, bytes)).reverse()) value = value << 8n | BigInt(byte);
    return value;
  }

  /** A pointer, or another number of 8 bytes. @throws {FaultError} */
  u64(address: bigint): Promise<bigint> {
    return this.uint(address, 8);
  }

  /** A zero-terminated string of `most` bytes at most, as latin1. @throws {FaultError} */
  async string(address: bigint, most: number): Promise<string> {
    let text = "";
    const limit = Math.min(most, MOST_STRING);
    for (let at = address; text.length < limit;) {
      const piece = await this.read(at, Math.min(limit - text.length, PAGE - Number(at & PAGE_MASK)));
      const zero = piece.indexOf(0);
      text += new TextDecoder("latin1").decode(zero < 0 ? piece : piece.subarray(0, zero));
      if (zero >= 0) break;
      at += BigInt(piece.length);
    }
    return text;
  }

  /** A page's bytes; kept. */
  async #page(gpa: bigint): Promise<Uint8Array> {
    const known = this.#pages.get(gpa);
    if (known !== undefined) return known;
    const bytes = await this.#physical.read(gpa, PAGE);
    if (this.#pages.size >= KEPT_PAGES) this.#pages.clear();
    this.#pages.set(gpa, bytes);
    return bytes;
  }

  /** An entry of a table, which never crosses a page: at once if the page has been read. */
  #entry(gpa: bigint, into: Uint8Array): Promise<void> | void {
    const offset = Number(gpa & PAGE_MASK);
    const known = this.#pages.get(gpa & ~PAGE_MASK);
    if (known !== undefined) return into.set(known.subarray(offset, offset + into.length));
    return this.#page(gpa & ~PAGE_MASK).then((page) => into.set(page.subarray(offset, offset + into.length)));
  }
}
