/** Everything the paging structures map, in order of linear addresses. */
import type { MaybePromise } from "../vm/backend.ts";
import { FaultError, InputError } from "../vm/errors.ts";
import type { MachinePaging, Registers } from "../vm/registers.ts";
import { linearAddressBits } from "./mode.ts";
import { pageEntry, pagingFormat } from "./page_entry.ts";
import type { PagingFormat } from "./page_entry.ts";

/** A range of linear addresses whose pages have the same rights. */
export interface Mapping {
  /** First linear address. */
  readonly start: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** Guest-physical address of the first byte. */
  readonly gpa: bigint;
  /** Bytes of the pages; of the first page when merged by rights. */
  readonly pageSize: number;
  /** Whether writes are allowed. */
  readonly writable: boolean;
  /** Whether CPL 3 is allowed. */
  readonly user: boolean;
  /** Whether execution is forbidden. */
  readonly noExecute: boolean;
  /** Whether it survives a change of CR3. */
  readonly global: boolean;
}

/** How mappings are listed. */
export interface MappingsOptions {
  /** Linear addresses to look at: [from, to). All if left out. */
  readonly from?: bigint;
  /** First linear address not looked at. */
  readonly to?: bigint;
  /**
   * "contiguous": neighbours are one mapping when their guest-physical addresses are neighbours too and their
   * pages have one size. "rights": when their rights are the same, wherever they lie. "none": every page by
   * itself. Contiguous if left out.
   */
  readonly merge?: "contiguous" | "rights" | "none";
  /** The most tables that are read. 16384 (64 MiB of tables) if left out. */
  readonly tables?: number;
  /** MAXPHYADDR, 52 if left out. */
  readonly physicalBits?: number;
}

interface Rights {
  readonly writable: boolean;
  readonly user: boolean;
  readonly noExecute: boolean;
}

/**
 * Iterates the present mappings, merged into ranges. Tables that lie outside memory and entries with reserved
 * bits map nothing.
 *
 * @throws {InputError} After the last range within reach, if the guest's structures have more than `tables`
 * tables: they may point to themselves, so there has to be an end.
 */
export async function* mappings(
  registers: Pick<Registers, "cr0" | "cr3" | "cr4" | "efer"> & MachinePaging,
  read: (gpa: bigint, into: Uint8Array) => MaybePromise<void>,
  options: MappingsOptions = {},
): AsyncGenerator<Mapping, void, void> {
  const merge = options.merge ?? "contiguous";
  const format = pagingFormat(registers, options.physicalBits);
  if (format === undefined) {
    const all = { writable: true, user: true, noExecute: false, global: false };
    yield { start: 0n, size: 1n << 32n, gpa: 0n, pageSize: 2 ** 32, ...all };
    return;
  }
  const lister = new Lister(format, read, options);
  let current: Mapping | undefined;
  for await (const next of lister.pages(0, format.root, 0n, FULL_RIGHTS)) {
    if (current !== undefined && joins(current, next, merge)) {
      current = { ...current, size: current.size + next.size };
    } else {
      if (current !== undefined) yield current;
      current = next;
    }
  }
  if (current !== undefined) yield current;
  if (lister.exhausted) {
    throw new InputError(
      `The listing ended after ${lister.limit} page tables; the guest's structures go on`,
      {
        remedy: "give a range of linear addresses, or a larger limit of tables",
      },
    );
  }
}

const FULL_RIGHTS: Rights = { writable: true, user: true, noExecute: false };

function joins(a: Mapping, b: Mapping, merge: "contiguous" | "rights" | "none"): boolean {
  if (merge === "none" || a.start + a.size !== b.start) return false;
  if (a.writable !== b.writable || a.user !== b.user || a.noExecute !== b.noExecute) return false;
  if (merge === "rights") return true;
  return a.gpa + a.size === b.gpa && a.pageSize === b.pageSize && a.global === b.global;
}

class Lister {
  readonly limit: number;
  exhausted = false;
  #tables = 0;
  readonly #format: PagingFormat;
  readonly #read: (gpa: bigint, into: Uint8Array) => MaybePromise<void>;
  readonly #from: bigint;
  readonly #to: bigint;
  readonly #width: number;

  constructor(
    format: PagingFormat,
    read: (gpa: bigint, into: Uint8Array) => MaybePromise<void>,
    options: MappingsOptions,
  ) {
    this.#format = format;
    this.#read = read;
    this.#from = options.from ?? 0n;
    this.#to = options.to ?? 1n << 64n;
    this.#width = linearAddressBits(format.mode);
    this.limit = options.tables ?? 16384;
  }

  /** The pages below the table at `table`, whose first linear address is `base` (not yet sign-extended). */
  async *pages(
    depth: number,
    table: bigint,
    base: bigint,
    above: Rights,
  ): AsyncGenerator<Mapping, void, void> {
    const format = this.#format;
    const { shift, entries } = format.levels[depth];
    if (this.exhausted || ++this.#tables > this.limit) {
      this.exhausted = true;
      return;
    }
    const bytes = new Uint8Array(entries * format.entryBytes);
    try {
      await this.#read(table, bytes);
    } catch (error) {
      if (error instanceof FaultError) return;
      throw error;
    }
    const view = new DataView(bytes.buffer);
    const size = 1n << BigInt(shift);
    for (let i = 0; i < entries; i++) {
      const value = format.entryBytes === 8
        ? view.getBigUint64(8 * i, true)
        : BigInt(view.getUint32(4 * i, true));
      if ((value & 1n) === 0n) continue;
      const entry = pageEntry(format, depth, value);
      if (entry.reserved !== 0n) continue;
      const offset = base + BigInt(i) * size;
      const start = this.#width === 32 ? offset : BigInt.asUintN(64, BigInt.asIntN(this.#width, offset));
      if (start + size <= this.#from || start >= this.#to) continue;
      const rights = {
        writable: above.writable && entry.writable,
        user: above.user && entry.user,
        noExecute: above.noExecute || entry.noExecute,
      };
      if (entry.leaf) {
        yield { start, size, gpa: entry.address, pageSize: Number(size), ...rights, global: entry.global };
      } else {
        yield* this.pages(depth + 1, entry.address, offset, rights);
        if (this.exhausted) return;
      }
    }
  }
}
