import { ascii, clip, hex, pad } from "./text.ts";
import type { Style } from "../style.ts";

/** One word of the stack and where following it as a pointer leads. */
export interface StackSlot {
  /** Bytes from the stack pointer. */
  readonly offset: number;
  readonly address: bigint;
  readonly value: bigint;
  /** What the value points to, and what that points to, and so on; at most a few. */
  readonly chain: readonly { readonly value: bigint; readonly symbol?: string }[];
  /** The value's own symbol. */
  readonly symbol?: string;
  /** Registers that point at this slot: "rsp", "rbp". */
  readonly registers: readonly string[];
}

/** Reads a word; undefined where there is nothing. */
export type ReadWord = (address: bigint) => Promise<bigint | undefined>;

/** Links of a chain that are followed; pointers may go in circles. */
const LONGEST_CHAIN = 4;

/**
 * Follows a value as a pointer for as long as what it points to is readable.
 *
 * @param least Below it a value is taken for a number, not a pointer: small numbers are everywhere, and in a
 * guest without paging every one of them is readable.
 */
export async function follow(
  value: bigint,
  read: ReadWord,
  symbol: (address: bigint) => string | undefined,
  least: bigint,
): Promise<StackSlot["chain"]> {
  const chain: { value: bigint; symbol?: string }[] = [];
  const seen = new Set([value]);
  let at = value;
  while (chain.length < LONGEST_CHAIN && at >= least) {
    const next = await read(at);
    if (next === undefined) break;
    const name = symbol(next);
    chain.push(name === undefined ? { value: next } : { value: next, symbol: name });
    // A symbol names code or data we know: what its bytes would point to says nothing.
    if (seen.has(next) || symbol(at) !== undefined) break;
    seen.add(next);
    at = next;
  }
  return chain;
}

/** Slots, one a line: `0x7bf0 +00  rsp  0x0000000000007c05 <start+0x5> -> 0x...`. */
export function stackLines(slots: readonly StackSlot[], digits: number, style: Style, width: number): string {
  const marks = Math.max(0, ...slots.map((slot) => slot.registers.join(" ").length));
  return slots.map((slot) => {
    const name = (symbol?: string) => (symbol === undefined ? "" : ` <${style.symbol(symbol)}>`);
    const chain = slot.chain.map((c) => ` -> ${hex(c.value)}${name(c.symbol)}`).join("");
    const who = marks === 0 ? "" : `${pad(style.register(slot.registers.join(" ")), marks)}  `;
    const text = printable(slot.chain.at(-1)?.value ?? slot.value);
    const line = `${style.address(hex(slot.address, 4))} ${style.dim(`+${bareOffset(slot.offset)}`)}  ${who}${
      hex(slot.value, digits)
    }${name(slot.symbol)}${chain}${text}`;
    return `${clip(line, width)}\n`;
  }).join("");
}

function bareOffset(offset: number): string {
  return hex(offset, 2).slice(2);
}

/** The characters of a value that is text: at least four printable ones. */
function printable(value: bigint): string {
  const bytes: number[] = [];
  for (let rest = value; rest !== 0n; rest >>= 8n) bytes.push(Number(rest & 0xffn));
  if (bytes.length < 4 || bytes.some((b) => ascii(b) === "." && b !== 0x2e)) return "";
  return ` "${String.fromCharCode(...bytes)}"`;
}
