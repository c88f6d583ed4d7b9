/**
 * Where kallsyms keeps its tables, found from the token table on: their addresses are in no symbol table.
 *
 * The order is that of scripts/kallsyms.c. Up to Linux 6.3: offsets, relative base, number, names, markers (6.2 and
 * 6.3: then the order of names), tokens. From 6.4: number, names, markers, tokens, offsets, relative base.
 */

/** The order of the tables, by the first version that had it. */
export type KallsymsOrder = "4.20" | "6.4";

/** Where the tables lie in the bytes that were looked through. */
export interface KallsymsLayout {
  /** Which order it is. */
  readonly order: KallsymsOrder;
  /** How many symbols there are. */
  readonly count: number;
  /** Index of the compressed names' first byte. */
  readonly names: number;
  /** Index of the offsets, 32 bits each. */
  readonly offsets: number;
  /** kallsyms_relative_base: linear, already moved by KASLR. */
  readonly base: bigint;
}

/** The most symbols of a kernel; distributions have 200,000. */
export const MOST_SYMBOLS = 1 << 20;
/** Every so many names there is a marker. */
const MARKED = 256;
/** A compressed name: one or two bytes that say the length, of 511 at most (KSYM_NAME_LEN). */
const MOST_NAME = 511;
/** The kernel's image lies in the topmost 2 GiB (Documentation/arch/x86/x86_64/mm.rst). */
const IMAGE_HIGH = 0xffff_ffff;
const IMAGE_LOW = 0x8000_0000;
/** How many candidates for the number of symbols are looked at: each may cost a pass over the names. */
const MOST_TRIES = 64;

/** A view of the stretch of memory that holds the tables. All indices are multiples of 8 where ALGN says so. */
class Area {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u32(at: number): number {
    return at >= 0 && at + 4 <= this.bytes.length ? this.view.getUint32(at, true) : 0;
  }
  /** The address of an image at `at`, or undefined. */
  imageAddress(at: number): bigint | undefined {
    return this.u32(at + 4) === IMAGE_HIGH && this.u32(at) >= IMAGE_LOW && at >= 0
      ? this.view.getBigUint64(at, true)
      : undefined;
  }
}

/**
 * Finds the tables around a token table.
 *
 * @param bytes Memory around it, starting at a multiple of 8.
 * @param table Index of the token table in `bytes`; `tableEnd` of the first byte behind its index.
 */
export function findLayout(bytes: Uint8Array, table: number, tableEnd: number): KallsymsLayout | undefined {
  const area = new Area(bytes);
  return newOrder(area, table, tableEnd) ?? oldOrder(area, table);
}

/** Linux 6.4 and newer: the markers end at the token table, offsets and base follow its index. */
function newOrder(area: Area, table: number, tableEnd: number): KallsymsLayout | undefined {
  let tries = 0;
  // Markers have 32 bits, the table is aligned to 8 bytes.
  for (const end of [table, table - 4]) {
    if (end !== table && area.u32(end) !== 0) continue;
    let first = end - 4;
    while (first >= 4 && area.u32(first) !== 0 && area.u32(first - 4) < area.u32(first)) first -= 4;
    if (first < 0 || area.u32(first) !== 0 || first % 8 !== 0) continue;
    const blocks = (end - first) / 4;
    const last = area.u32(end - 4);
    // The last block has 1 to 256 names behind its marker.
    const highest = first - last - 8;
    const lowest = Math.max(0, highest - MARKED * (MOST_NAME + 2) - 8);
    for (let at = highest - highest % 8; at >= lowest && tries < MOST_TRIES; at -= 8) {
      const count = area.u32(at);
      if (Math.ceil(count / MARKED) !== blocks || count > MOST_SYMBOLS || area.u32(at + 4) !== 0) continue;
      tries++;
      if (namesEnd(area, at + 8, count, first) !== first) continue;
      const offsets = align(tableEnd);
      const base = area.imageAddress(align(offsets + 4 * count));
      if (base !== undefined) return { order: "6.4", count, names: at + 8, offsets, base };
    }
  }
  return undefined;
}

/** Up to Linux 6.3: the base stands before the number of symbols. */
function oldOrder(area: Area, table: number): KallsymsLayout | undefined {
  let tries = 0;
  for (let at = table - 16; at >= 8 && tries < MOST_TRIES; at -= 8) {
    const count = area.u32(at);
    if (count === 0 || count > MOST_SYMBOLS || area.u32(at + 4) !== 0) continue;
    const base = area.imageAddress(at - 8);
    const offsets = at - 8 - align(4 * count);
    if (base === undefined || offsets < 0) continue;
    tries++;
    if (namesEnd(area, at + 8, count, undefined) === undefined) continue;
    return { order: "4.20", count, names: at + 8, offsets, base };
  }
  return undefined;
}

/**
 * Passes over `count` names and checks them against the markers that follow, at `markers` if that is known.
 *
 * @returns Where the markers start; undefined if these are no names.
 */
function namesEnd(area: Area, names: number, count: number, markers: number | undefined): number | undefined {
  const { bytes } = area;
  const marks: number[] = [];
  let at = names;
  for (let i = 0; i < count; i++) {
    if (i % MARKED === 0) {
      if (markers !== undefined && area.u32(markers + 4 * marks.length) !== at - names) return undefined;
      marks.push(at - names);
    }
    const length = nameLength(bytes, at);
    if (length === undefined) return undefined;
    at += length.prefix + length.bytes;
  }
  const end = align(at);
  if (end + 4 * marks.length > bytes.length) return undefined;
  return marks.every((mark, i) => area.u32(end + 4 * i) === mark) ? end : undefined;
}

/** How long the compressed name at `at` is: bytes of its length (ULEB128 since 6.1), and of what follows. */
export function nameLength(bytes: Uint8Array, at: number): { prefix: number; bytes: number } | undefined {
  const low = bytes[at];
  const two = low !== undefined && (low & 0x80) !== 0;
  const length = two ? low & 0x7f | bytes[at + 1] << 7 : low;
  const prefix = two ? 2 : 1;
  if (length === undefined || length === 0 || length > MOST_NAME || at + prefix + length > bytes.length) {
    return undefined;
  }
  return { prefix, bytes: length };
}

function align(at: number): number {
  return Math.ceil(at / 8) * 8;
}
