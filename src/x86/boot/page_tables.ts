/** Builds 4-level page tables for guests that start in 64-bit mode. */
import { InputError } from "../../vm/errors.ts";

const PAGE = 4096n;
const LARGE = 2n << 20n;
/** P, R/W, U/S: everything may be done at every privilege level, as without paging. */
const RIGHTS = 7n;
const PS = 0x80n;
/** The most tables: 4 MiB of them map 2 GiB in 4 KiB pages. */
const TABLES = 1024;

/** An entry: a page at an address, or another table. */
type Entry = { readonly page: bigint } | { readonly table: Table };

interface Table {
  readonly entries: Map<number, Entry>;
}

/** Mappings, collected first and laid out when it is known where the tables will lie. */
export class PageTables {
  readonly #root: Table = { entries: new Map() };
  readonly #all: Table[] = [this.#root];

  /** Bytes all tables take. */
  get size(): bigint {
    return BigInt(this.#all.length) * PAGE;
  }

  /**
   * Maps `size` bytes (rounded out to pages) at linear `vaddr` to physical `paddr`, over what was mapped
   * there. Uses 2 MiB pages where both addresses allow.
   *
   * @throws {InputError} If the addresses differ within a page, or it would take more than 1024 tables.
   */
  map(vaddr: bigint, paddr: bigint, size: bigint): void {
    if ((vaddr - paddr) % PAGE !== 0n) {
      throw new InputError(
        `0x${vaddr.toString(16)} can't be mapped to 0x${paddr.toString(16)}: they differ in the low 12 bits`,
        { remedy: "link with virtual and physical addresses a multiple of 4096 apart" },
      );
    }
    const end = vaddr + size;
    for (let at = vaddr / PAGE * PAGE, to = paddr / PAGE * PAGE; at < end;) {
      const large = at % LARGE === 0n && to % LARGE === 0n && end - at >= LARGE;
      this.#set(at, to, large);
      const step = large ? LARGE : PAGE;
      at += step;
      to += step;
    }
  }

  #set(vaddr: bigint, paddr: bigint, large: boolean): void {
    let table = this.#root;
    const last = large ? 21n : 12n;
    for (let shift = 39n; shift > last; shift -= 9n) table = this.#below(table, index(vaddr, shift), shift);
    table.entries.set(index(vaddr, last), { page: paddr });
  }

  /** The table below an entry; a large page that stood there is split into small ones. */
  #below(table: Table, at: number, shift: bigint): Table {
    const entry = table.entries.get(at);
    if (entry !== undefined && "table" in entry) return entry.table;
    if (this.#all.length >= TABLES) {
      throw new InputError(`Mapping the image would take more than ${TABLES} page tables`, {
        remedy: "link with virtual and physical addresses a multiple of 2 MiB apart",
      });
    }
    const made: Table = { entries: new Map() };
    if (entry !== undefined) {
      const step = 1n << shift - 9n;
      for (let i = 0; i < 512; i++) made.entries.set(i, { page: entry.page + BigInt(i) * step });
    }
    this.#all.push(made);
    table.entries.set(at, { table: made });
    return made;
  }

  /** The tables' bytes when the first (the PML4) lies at `base`, a multiple of 4096. */
  bytes(base: bigint): Uint8Array {
    const bytes = new Uint8Array(this.#all.length * Number(PAGE));
    const view = new DataView(bytes.buffer);
    const place = new Map(this.#all.map((table, i) => [table, i]));
    const lay = (table: Table, shift: bigint) => {
      const at = place.get(table)! * Number(PAGE);
      for (const [i, entry] of table.entries) {
        const value = "page" in entry
          ? entry.page | RIGHTS | (shift > 12n ? PS : 0n)
          : base + BigInt(place.get(entry.table)!) * PAGE | RIGHTS;
        view.setBigUint64(at + 8 * i, value, true);
        if ("table" in entry) lay(entry.table, shift - 9n);
      }
    };
    lay(this.#root, 39n);
    return bytes;
  }
}

function index(vaddr: bigint, shift: bigint): number {
  return Number(vaddr >> shift & 511n);
}
