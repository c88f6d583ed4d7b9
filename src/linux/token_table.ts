/**
 * The table of tokens that kallsyms compresses its names with: 256 zero-terminated strings, a character that names
 * use standing for itself, followed by where each of them starts (scripts/kallsyms.c of Linux, `write_src`).
 */
import { FaultError } from "../vm/errors.ts";
import type { PhysicalMemory } from "../vm/machine.ts";

/** A token table that was found, and checked against its index. */
export interface TokenTable {
  /** Guest-physical address of the first token. */
  readonly at: bigint;
  /** First address behind the table of indices. */
  readonly end: bigint;
  /** What each byte of a compressed name stands for: 256 strings of printable ASCII. */
  readonly tokens: readonly string[];
}

const TOKENS = 256;
/** The ten digits stand for themselves, one after the other: the part of the table that is always the same. */
const DIGITS = Uint8Array.from({ length: 20 }, (_, i) => (i & 1) === 0 ? 0x30 + (i >> 1) : 0);
const DIGIT_0 = 0x30;
/** What is looked at before and behind the digits. Indices have 16 bits; real tables have 1 KiB. */
const REACH = 1 << 14;
/** kallsyms_token_table and kallsyms_token_index are aligned to 8 bytes in a 64-bit kernel. */
const ALIGN = 8;
/** How many places with the digits are looked at in all: tables of UTF-16 characters have them too. */
const MOST_PLACES = 4096;
const PLACES_AT_ONCE = 64;

/** The most bytes of one token: a symbol's name has 511 at most (KSYM_NAME_LEN). */
const TOKEN_BYTES = 511;

/**
 * Finds token tables in [from, to) of guest-physical memory, lowest first.
 *
 * @throws {FaultError} Never for holes: what lies in none of the regions is passed over.
 */
export async function* findTokenTables(
  memory: PhysicalMemory,
  from: bigint,
  to: bigint,
): AsyncGenerator<TokenTable, void, void> {
  let start = from;
  for (let places = 0; places < MOST_PLACES && start < to;) {
    const found = await memory.search(DIGITS, { from: start, to, limit: PLACES_AT_ONCE });
    for (const at of found) {
      const table = await readTokenTable(memory, at);
      if (table !== undefined) yield table;
    }
    if (found.length < PLACES_AT_ONCE) return;
    places += found.length;
    start = found[found.length - 1] + 1n;
  }
}

/** The token table whose digits lie at `digits`, if that is what they are part of. */
async function readTokenTable(memory: PhysicalMemory, digits: bigint): Promise<TokenTable | undefined> {
  const area = await around(memory, digits, REACH, REACH);
  if (area === undefined) return undefined;
  const { bytes } = area;
  const here = Number(digits - area.at);
  let end = here;
  for (let token = DIGIT_0; token < TOKENS; token++) {
    const zero = bytes.indexOf(0, end);
    if (zero <= end || zero - end > TOKEN_BYTES) return undefined;
    end = zero + 1;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // The index lies behind, and says how far in front of the digits the table starts.
  const index = end + (ALIGN - Number((area.at + BigInt(end)) % BigInt(ALIGN))) % ALIGN;
  if (index + 2 * TOKENS > bytes.length) return undefined;
  const start = here - view.getUint16(index + 2 * DIGIT_0, true);
  if (start < 0 || (area.at + BigInt(start)) % BigInt(ALIGN) !== 0n) return undefined;
  const tokens: string[] = [];
  let at = start;
  for (let token = 0; token < TOKENS; token++) {
    if (view.getUint16(index + 2 * token, true) !== at - start) return undefined;
    let text = "";
    for (; at < bytes.length && bytes[at] !== 0; at++) {
      if (bytes[at] <= 0x20 || bytes[at] >= 0x7f || text.length >= TOKEN_BYTES) return undefined;
      text += String.fromCharCode(bytes[at]);
    }
    if (text === "") return undefined;
    tokens.push(text);
    at++;
  }
  return { at: area.at + BigInt(start), end: area.at + BigInt(index + 2 * TOKENS), tokens };
}

/** A stretch of memory around an address, cut at the region it is in; undefined where there is no memory. */
export async function around(
  memory: PhysicalMemory,
  at: bigint,
  before: number,
  behind: number,
): Promise<{ at: bigint; bytes: Uint8Array } | undefined> {
  const region = memory.regions.find(({ start, size }) => at >= start && at < start + size);
  if (region === undefined) return undefined;
  const from = at - BigInt(before) > region.start ? at - BigInt(before) : region.start;
  const limit = region.start + region.size;
  const to = at + BigInt(behind) < limit ? at + BigInt(behind) : limit;
  try {
    return { at: from, bytes: await memory.read(from, Number(to - from)) };
  } catch (error) {
    // A stub may list memory that it does not read.
    if (error instanceof FaultError) return undefined;
    throw error;
  }
}
