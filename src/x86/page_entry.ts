/**
 * Paging-structure entries, level by level (SDM vol. 3A, 4.3 to 4.5): which bits select them, what they point
 * to, and which of their bits must be zero.
 */
import type { PagingMode, PagingRegisters } from "./mode.ts";
import { pagingMode } from "./mode.ts";
import type { MachinePaging } from "../vm/registers.ts";

/** The kinds of entries, from the top. */
export type PageLevel = "PML5E" | "PML4E" | "PDPTE" | "PDE" | "PTE";

/** Bits 51..12: where an 8-byte entry keeps an address. */
const ADDRESS = 0x000f_ffff_ffff_f000n;
const P = 1n << 0n;
const RW = 1n << 1n;
const US = 1n << 2n;
const A = 1n << 5n;
const D = 1n << 6n;
const PS = 1n << 7n;
const G = 1n << 8n;
const XD = 1n << 63n;
const CR4_PSE_BIT = 1n << 4n;
const CR4_PGE_BIT = 1n << 7n;
const EFER_NXE_BIT = 1n << 11n;

/** One level of a paging mode. */
export interface LevelFormat {
  /** Kind of its entries. */
  readonly level: PageLevel;
  /** Lowest bit of the linear address that takes part in the index. */
  readonly shift: number;
  /** Number of entries in a table. */
  readonly entries: number;
  /** Whether PS = 1 makes the entry map a page. */
  readonly large: boolean;
  /** Bits that must be 0 in an entry that points to a table (or, at the last level, to a 4 KiB page). */
  readonly reserved: bigint;
  /** Bits that must be 0 in an entry that maps a large page. */
  readonly reservedLarge: bigint;
}

/** A paging mode as the registers set it up. */
export interface PagingFormat {
  /** Which mode. */
  readonly mode: Exclude<PagingMode, "none">;
  /** Guest-physical address of the top table. */
  readonly root: bigint;
  /** Bytes of an entry: 4 or 8. */
  readonly entryBytes: 4 | 8;
  /** From the top. */
  readonly levels: readonly LevelFormat[];
  /** Whether XD forbids execution. */
  readonly nxe: boolean;
  /** Whether G counts. */
  readonly pge: boolean;
  /** Where a machine address is guest-physical, for paravirtual guests, whose entries hold machine addresses. */
  readonly physicalOf?: (machine: bigint) => bigint;
}

/** What one entry says. */
export interface PageEntry {
  /** Whether P is set. */
  readonly present: boolean;
  /** Bits set that must be 0 (0 if not present). */
  readonly reserved: bigint;
  /** Whether it maps a page: the walk ends here. */
  readonly leaf: boolean;
  /** Guest-physical address of the page, or of the next table. */
  readonly address: bigint;
  /** Whether writes are allowed. */
  readonly writable: boolean;
  /** Whether CPL 3 is allowed. */
  readonly user: boolean;
  /** Whether execution is forbidden. */
  readonly noExecute: boolean;
  /** Whether A is set. */
  readonly accessed: boolean;
  /** Whether D is set. */
  readonly dirty: boolean;
  /** Whether it survives a change of CR3. */
  readonly global: boolean;
}

/** Bits high..low set. */
function bits(high: number, low: number): bigint {
  return high < low ? 0n : (1n << BigInt(high + 1)) - (1n << BigInt(low));
}

/** What the levels of a mode depend on beside the mode. */
interface LevelOptions {
  readonly pse: boolean;
  readonly nxe: boolean;
  readonly physicalBits: number;
}

/** The levels of 32-bit paging. */
function levels32({ pse, physicalBits }: LevelOptions): LevelFormat[] {
  // PSE-36: a 4 MiB page keeps address bits 39..32 in 20..13; bit 21 and what exceeds MAXPHYADDR are reserved.
  const reservedLarge = bits(21, Math.min(40, physicalBits) - 19);
  return [
    { level: "PDE", shift: 22, entries: 1024, large: pse, reserved: 0n, reservedLarge },
    { level: "PTE", shift: 12, entries: 1024, large: false, reserved: 0n, reservedLarge: 0n },
  ];
}

/** A level of 8-byte entries. */
function level64(
  level: PageLevel,
  shift: number,
  reserved: bigint,
  large: boolean,
  entries = 512,
): LevelFormat {
  // The address bits below a large page's size, but for bit 12, which is PAT.
  const reservedLarge = large ? reserved | bits(shift - 1, 13) : 0n;
  return { level, shift, entries, large, reserved, reservedLarge };
}

/** The levels of PAE paging: bits 62..52 are reserved, where 4-level paging ignores them (SDM vol. 3A, 4.4.2). */
function levelsPae({ nxe, physicalBits }: LevelOptions): LevelFormat[] {
  const reserved = bits(62, physicalBits) | (nxe ? 0n : XD);
  const top = bits(2, 1) | bits(8, 5) | reserved | XD;
  return [
    level64("PDPTE", 30, top, false, 4),
    level64("PDE", 21, reserved, true),
    level64("PTE", 12, reserved, false),
  ];
}

/** The levels of 4-level and 5-level paging. */
function levelsLong(five: boolean, { nxe, physicalBits }: LevelOptions): LevelFormat[] {
  const reserved = bits(51, physicalBits) | (nxe ? 0n : XD);
  const list = [
    level64("PML4E", 39, reserved | PS, false),
    level64("PDPTE", 30, reserved, true),
    level64("PDE", 21, reserved, true),
    level64("PTE", 12, reserved, false),
  ];
  return five ? [level64("PML5E", 48, reserved | PS, false), ...list] : list;
}

/** Levels that were made already: conditions walk thousands of times under the same settings. */
const known = new Map<string, readonly LevelFormat[]>();

function levelsOf(mode: PagingFormat["mode"], options: LevelOptions): readonly LevelFormat[] {
  const key = `${mode} ${options.pse} ${options.nxe} ${options.physicalBits}`;
  let levels = known.get(key);
  if (levels === undefined) {
    levels = mode === "32-bit"
      ? levels32(options)
      : mode === "pae"
      ? levelsPae(options)
      : levelsLong(mode === "5-level", options);
    known.set(key, levels);
  }
  return levels;
}

/**
 * How the registers lay out the paging structures; undefined without paging.
 *
 * @param physicalBits MAXPHYADDR, 32 to 52: address bits above it are reserved.
 * @throws {RangeError} If `physicalBits` is out of its range.
 */
export function pagingFormat(
  registers: PagingRegisters & MachinePaging & { readonly cr3: bigint },
  physicalBits = 52,
): PagingFormat | undefined {
  const mode = pagingMode(registers);
  if (mode === "none") return undefined;
  if (!Number.isInteger(physicalBits) || physicalBits < 32 || physicalBits > 52) {
    throw new RangeError(`MAXPHYADDR is 32 to 52; got ${physicalBits}`);
  }
  const { cr3, cr4, efer } = registers;
  const legacy = mode === "32-bit";
  const nxe = !legacy && (efer & EFER_NXE_BIT) !== 0n; // 4-byte entries have no XD
  const root = cr3 & (legacy ? 0xffff_f000n : mode === "pae" ? 0xffff_ffe0n : ADDRESS);
  const { physicalOf } = registers;
  return {
    mode,
    nxe,
    ...(physicalOf && { physicalOf }),
    pge: (cr4 & CR4_PGE_BIT) !== 0n,
    root: registers.root ?? physicalOf?.(root) ?? root,
    entryBytes: legacy ? 4 : 8,
    levels: levelsOf(mode, { pse: (cr4 & CR4_PSE_BIT) !== 0n, nxe, physicalBits }),
  };
}

/** Decodes the entry `value` at `depth` (index into `format.levels`). */
export function pageEntry(format: PagingFormat, depth: number, value: bigint): PageEntry {
  const level = format.levels[depth];
  // The low flags as a number: arithmetic on small numbers is many times as fast as on bigints.
  const low = Number(value & 0xfffn);
  const present = (low & 1) !== 0;
  const largePage = level.large && (low & 0x80) !== 0;
  const leaf = largePage || depth === format.levels.length - 1;
  let address: bigint;
  if (format.entryBytes === 4) {
    address = largePage ? (value & 0xffc0_0000n) | (value & 0x1f_e000n) << 19n : value & 0xffff_f000n;
  } else {
    address = value & ADDRESS;
    if (largePage) address &= ~((1n << BigInt(level.shift)) - 1n);
  }
  if (format.physicalOf !== undefined && present) address = format.physicalOf(address);
  // The four PDPTEs of PAE paging carry no rights.
  const rights = format.mode !== "pae" || depth !== 0;
  return {
    present,
    reserved: present ? value & (largePage ? level.reservedLarge : level.reserved) : 0n,
    leaf,
    address,
    writable: !rights || (low & 2) !== 0,
    user: !rights || (low & 4) !== 0,
    noExecute: rights && format.nxe && value >> 63n !== 0n,
    accessed: (low & 0x20) !== 0,
    dirty: leaf && (low & 0x40) !== 0,
    global: leaf && format.pge && (low & 0x100) !== 0,
  };
}

/** The names of the flags set in an entry, as the SDM spells them. */
export function pageFlags(format: PagingFormat, depth: number, value: bigint): string[] {
  const { leaf } = pageEntry(format, depth, value);
  const last = depth === format.levels.length - 1;
  const rights = format.mode !== "pae" || depth !== 0;
  const names: string[] = [];
  const flag = (bit: bigint, name: string, when = true) => {
    if (when && (value & bit) !== 0n) names.push(name);
  };
  flag(P, "P");
  flag(RW, "R/W", rights);
  flag(US, "U/S", rights);
  flag(1n << 3n, "PWT");
  flag(1n << 4n, "PCD");
  flag(A, "A", rights);
  flag(D, "D", leaf);
  flag(PS, last ? "PAT" : "PS", last || format.levels[depth].large);
  flag(1n << 12n, "PAT", leaf && !last);
  flag(G, "G", leaf);
  flag(XD, "XD", format.entryBytes === 8 && rights);
  return names;
}
