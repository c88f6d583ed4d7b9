/** The kernel's own symbol table, /proc/kallsyms, out of guest memory. */
import { turn } from "../vm/promise.ts";
import type { PhysicalMemory } from "../vm/machine.ts";
import { findLayout, type KallsymsLayout, type KallsymsOrder, nameLength } from "./kallsyms_layout.ts";
import { around, findTokenTables, type TokenTable } from "./token_table.ts";

/** A symbol of a kernel or of one of its modules. */
export interface KernelSymbol {
  /** Linear address; for what is in each CPU's own area, the offset in it. */
  readonly address: bigint;
  /** nm's letter: "t" and "T" are functions, "d" and "b" data, "a" absolute; capital if global. */
  readonly type: string;
  /** Printable ASCII, at most 511 characters. */
  readonly name: string;
}

/** A kernel's symbol table, as found in memory. */
export interface Kallsyms {
  /** The order in which its tables lie. */
  readonly order: KallsymsOrder;
  /** Guest-physical address of its token table: a place in the kernel's read-only data. */
  readonly at: bigint;
  /** By address, as the kernel has them. */
  readonly symbols: readonly KernelSymbol[];
}

/** How much memory before and behind a token table is looked through: first that much, then more. */
const REACHES = [4 << 20, 24 << 20];
/** Longest name (KSYM_NAME_LEN less its zero). */
const MOST_NAME = 511;
/** Names decoded between two turns of the event loop. */
const NAMES_A_TURN = 1 << 14;
const INT_SIGN = 0x8000_0000;
const RANGE = 0x1_0000_0000;

/** Finds symbol tables in [from, to) of guest-physical memory: there may be those of a kernel that ran before. */
export async function* findKallsyms(
  memory: PhysicalMemory,
  from: bigint,
  to: bigint,
): AsyncGenerator<Kallsyms, void, void> {
  for await (const table of findTokenTables(memory, from, to)) {
    for (const reach of REACHES) {
      const area = await around(memory, table.at, reach, reach);
      if (area === undefined) break;
      const layout = findLayout(area.bytes, Number(table.at - area.at), Number(table.end - area.at));
      if (layout === undefined) continue;
      const symbols = await decode(area.bytes, layout, table);
      if (symbols !== undefined) yield { order: layout.order, at: table.at, symbols };
      break;
    }
  }
}

async function decode(
  bytes: Uint8Array,
  layout: KallsymsLayout,
  table: TokenTable,
): Promise<KernelSymbol[] | undefined> {
  const { count, offsets } = layout;
  if (offsets + 4 * count > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const addressOf = addressing(view, layout);
  const symbols: KernelSymbol[] = [];
  let at = layout.names;
  for (let i = 0; i < count; i++) {
    const length = nameLength(bytes, at);
    if (length === undefined) return undefined;
    at += length.prefix;
    let text = "";
    for (const end = at + length.bytes; at < end; at++) text += table.tokens[bytes[at]];
    // The first character is the type.
    if (text.length < 2 || text.length > MOST_NAME + 1) return undefined;
    symbols.push({ address: addressOf(i), type: text[0], name: text.slice(1) });
    if (i % NAMES_A_TURN === NAMES_A_TURN - 1) await turn();
  }
  return symbols;
}

/**
 * How offsets become addresses (kernel/kallsyms.c, `kallsyms_sym_address`): with CONFIG_KALLSYMS_ABSOLUTE_PERCPU, on
 * x86-64 up to 6.14, positive ones are absolute, negative ones count down from the base; else all are added to it.
 */
function addressing(view: DataView, { base, count, offsets }: KallsymsLayout): (i: number) => bigint {
  const offset = (i: number) => view.getUint32(offsets + 4 * i, true);
  let negative = 0;
  for (let i = 0; i < count; i++) if (offset(i) >= INT_SIGN) negative++;
  if (2 * negative <= count) return (i) => BigInt.asUintN(64, base + BigInt(offset(i)));
  return (i) => {
    const value = offset(i);
    return value < INT_SIGN ? BigInt(value) : BigInt.asUintN(64, base - 1n + BigInt(RANGE - value));
  };
}
