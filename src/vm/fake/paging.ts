import type { PhysicalMemory } from "./physical.ts";
import { GuestFault, VECTOR } from "./signals.ts";
import { CR0_WP, CR4_LA57, CR4_PAE, CR4_PSE, EFER_NXE, type State } from "./state.ts";

/** One level of paging structures: which bits of the address index it, and bytes of an entry. */
interface Level {
  readonly shift: bigint;
  readonly mask: bigint;
  /** Whether bit 7 of its entries may say "page" (PS). */
  readonly page: boolean;
}

const LEVELS_32: readonly Level[] = [
  { shift: 22n, mask: 0x3ffn, page: true },
  { shift: 12n, mask: 0x3ffn, page: false },
];
const LEVELS_PAE: readonly Level[] = [
  { shift: 30n, mask: 3n, page: false },
  { shift: 21n, mask: 0x1ffn, page: true },
  { shift: 12n, mask: 0x1ffn, page: false },
];
const LEVELS_4: readonly Level[] = [
  { shift: 39n, mask: 0x1ffn, page: false },
  { shift: 30n, mask: 0x1ffn, page: true },
  ...LEVELS_PAE.slice(1),
];
const LEVELS_5: readonly Level[] = [{ shift: 48n, mask: 0x1ffn, page: false }, ...LEVELS_4];

const PRESENT = 1n, WRITABLE = 2n, USER = 4n, ACCESSED = 0x20n, DIRTY = 0x40n, PS = 0x80n, NX = 1n << 63n;
const ADDRESS = 0x000ffffffffff000n;

/**
 * Linear to guest-physical (SDM vol. 3A, chapter 4): 2-level, PAE, 4- and 5-level, large pages, access rights,
 * accessed and dirty bits. There is no TLB: a change of the tables is seen at once.
 *
 * @throws {GuestFault} #PF with its error code.
 */
export function translate(
  state: State,
  memory: PhysicalMemory,
  linear: bigint,
  write: boolean,
  user: boolean,
  fetch: boolean,
): number {
  if (!state.paging) return Number(linear & 0xffffffffn);
  const wide = (state.cr4 & CR4_PAE) !== 0n;
  const levels = !wide
    ? LEVELS_32
    : !state.longMode
    ? LEVELS_PAE
    : (state.cr4 & CR4_LA57) !== 0n
    ? LEVELS_5
    : LEVELS_4;
  const nx = wide && (state.efer & EFER_NXE) !== 0n;
  const fail = (present: boolean) => {
    const code = (present ? 1 : 0) | (write ? 2 : 0) | (user ? 4 : 0) | (fetch && nx ? 0x10 : 0);
    return new GuestFault(VECTOR.PF, code, linear);
  };
  const bytes = wide ? 8 : 4;
  // CR3 of PAE paging points to 32 bytes, all others to a page.
  let table = Number(state.cr3 & (levels === LEVELS_PAE ? 0xffffffe0n : wide ? ADDRESS : 0xfffff000n));
  let rights = WRITABLE | USER;
  let noExecute = false;
  for (let depth = 0; depth < levels.length; depth++) {
    const level = levels[depth];
    const place = table + Number(linear >> level.shift & level.mask) * bytes;
    let entry = memory.load(place, bytes);
    if (entry === undefined || (entry & PRESENT) === 0n) throw fail(false);
    // The four PDPTEs of PAE paging have no access rights (SDM vol. 3A, 4.4.1).
    const plain = levels === LEVELS_PAE && depth === 0;
    if (!plain) {
      rights &= entry;
      if (nx && (entry & NX) !== 0n) noExecute = true;
    }
    const last = depth === levels.length - 1 ||
      (level.page && (entry & PS) !== 0n && (wide || (state.cr4 & CR4_PSE) !== 0n));
    if (last) {
      const writable = (rights & WRITABLE) !== 0n || (!user && (state.cr0 & CR0_WP) === 0n);
      if ((user && (rights & USER) === 0n) || (write && !writable) || (fetch && noExecute)) throw fail(true);
    }
    const marks = plain ? 0n : ACCESSED | (last && write ? DIRTY : 0n);
    if ((entry & marks) !== marks) memory.store(place, bytes, entry |= marks);
    const address = wide ? entry & ADDRESS : entry & 0xfffff000n;
    if (last) {
      const inPage = (1n << level.shift) - 1n;
      return Number((address & ~inPage) | (linear & inPage));
    }
    table = Number(address);
  }
  throw fail(false);
}
