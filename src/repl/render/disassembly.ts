import type { Registers } from "../../dsl/mod.ts";
import type { Instruction } from "../../dsl/x86.ts";
import type { Style } from "../style.ts";
import { clip, hex, pad, visible } from "./text.ts";

/** How instructions are listed. */
export interface ListingOptions {
  readonly style: Style;
  /** Linear address of the instruction that is next; it gets the arrow. */
  readonly pc?: bigint;
  /** Names an address: "kernel_main+0x10". */
  readonly symbol?: (address: bigint) => string | undefined;
  /** What stands before the instruction: gdb's `0x7c00 <start+4>:`, or `<+4>` within a function. */
  readonly within?: bigint;
  /** gdb's tab between address and text, instead of aligned columns. */
  readonly tabs?: boolean;
  readonly bytes?: boolean;
  /** Cut to this many columns. */
  readonly width?: number;
  /** Addresses with a breakpoint: they get a mark. */
  readonly marked?: (address: bigint) => boolean;
  /** Text behind the current instruction: "taken". */
  readonly hint?: string;
}

/** Instructions, one a line, gdb's arrow at the current one. */
export function instructionLines(list: readonly Instruction[], options: ListingOptions): string {
  const { style, pc } = options;
  const labels = list.map((i) => label(i, options));
  const columns = Math.max(0, ...labels.map(visible));
  const raw = 3 * Math.max(0, ...list.map((i) => i.length));
  return list.map((instruction, i) => {
    const here = pc !== undefined && instruction.address === pc;
    const mark = options.marked?.(instruction.address) ? style.error("*") : " ";
    const arrow = options.marked === undefined ? (here ? "=> " : "   ") : `${here ? "=>" : " " + mark} `;
    const bytes = options.bytes ? rawBytes(instruction, options.tabs ? undefined : raw) : "";
    const gap = options.tabs ? "\t" : "  ";
    const name = options.tabs ? labels[i] : pad(labels[i], columns);
    const hint = here && options.hint !== undefined ? `  ${style.dim(options.hint)}` : "";
    const line = `${arrow}${name}${gap}${bytes}${textOf(instruction, options)}${hint}`;
    const cut = options.width === undefined ? line : clip(line, options.width);
    return `${here ? style.current(cut) : cut}\n`;
  }).join("");
}

function label(instruction: Instruction, options: ListingOptions): string {
  const { style, within } = options;
  const at = style.address(hex(instruction.address));
  if (within !== undefined) return `${at} <+${instruction.address - within}>:`;
  const symbol = options.symbol?.(instruction.address);
  return symbol === undefined ? `${at}:` : `${at} <${style.symbol(symbol)}>:`;
}

/** The bytes, followed by a tab or padded to `columns`. */
function rawBytes(instruction: Instruction, columns: number | undefined): string {
  const text = Array.from(instruction.bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
  return columns === undefined ? `${text}\t` : `${text.padEnd(columns)} `;
}

function textOf(instruction: Instruction, { style, symbol }: ListingOptions): string {
  const [, mnemonic, operands] = /^(\S+)([^]*)$/.exec(instruction.text) ?? [];
  const painted = mnemonic === undefined ? instruction.text : style.mnemonic(mnemonic) + operands;
  const name = instruction.target === undefined || painted.includes("<")
    ? undefined
    : symbol?.(instruction.target);
  return name === undefined ? painted : `${painted} <${style.symbol(name)}>`;
}

/** An instruction as data. */
export function instructionData(instruction: Instruction): Record<string, unknown> {
  return {
    address: instruction.address,
    bytes: Array.from(instruction.bytes, (b) => b.toString(16).padStart(2, "0")).join(""),
    text: instruction.text,
    ...(instruction.target === undefined ? {} : { target: instruction.target }),
  };
}

/** Flag conditions of Jcc, SETcc and CMOVcc (SDM vol. 2A, appendix B, table B-10). */
const CONDITIONS: Readonly<Record<string, (f: (bit: number) => boolean) => boolean>> = {
  o: (f) => f(11),
  no: (f) => !f(11),
  b: (f) => f(0),
  ae: (f) => !f(0),
  e: (f) => f(6),
  ne: (f) => !f(6),
  be: (f) => f(0) || f(6),
  a: (f) => !f(0) && !f(6),
  s: (f) => f(7),
  ns: (f) => !f(7),
  p: (f) => f(2),
  np: (f) => !f(2),
  l: (f) => f(7) !== f(11),
  ge: (f) => f(7) === f(11),
  le: (f) => f(6) || f(7) !== f(11),
  g: (f) => !f(6) && f(7) === f(11),
};

const SAME: Readonly<Record<string, string>> = {
  c: "b",
  nae: "b",
  nc: "ae",
  nb: "ae",
  z: "e",
  nz: "ne",
  na: "be",
  nbe: "a",
  pe: "p",
  po: "np",
  nge: "l",
  nl: "ge",
  ng: "le",
  nle: "g",
};

/** Whether the conditional jump that is next will be taken: "taken", "not taken"; undefined for anything else. */
export function branchHint(text: string, registers: Pick<Registers, "rflags" | "rcx">): string | undefined {
  const [, mnemonic] = /^(?:bnd |notrack )?(\w+)/.exec(text) ?? [];
  if (mnemonic === undefined) return undefined;
  const flag = (bit: number) => (registers.rflags >> BigInt(bit) & 1n) === 1n;
  const taken = (is: boolean) => (is ? "taken" : "not taken");
  const counter: Readonly<Record<string, bigint>> = {
    jcxz: registers.rcx & 0xffffn,
    jecxz: registers.rcx & 0xffff_ffffn,
    jrcxz: registers.rcx,
  };
  if (Object.hasOwn(counter, mnemonic)) return taken(counter[mnemonic] === 0n);
  const code = /^j(\w{1,3})$/.exec(mnemonic)?.[1];
  if (code === undefined) return undefined;
  const condition = Object.hasOwn(SAME, code) ? SAME[code] : code;
  return Object.hasOwn(CONDITIONS, condition) ? taken(CONDITIONS[condition](flag)) : undefined;
}
