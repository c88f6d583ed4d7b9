import type { RegisterGroup, RegisterName, Registers } from "../../dsl/mod.ts";
import { REGISTER_GROUPS } from "../../dsl/nouns.ts";
import {
  cpl,
  type CpuMode,
  cpuMode,
  decodeFlags,
  type FlagTable,
  flagTableOf,
  pagingMode,
  SEGMENTS,
} from "../../dsl/modes.ts";
import type { Style } from "../style.ts";
import { formatFloat, formatVector } from "./number.ts";
import { bare, far, grid, hex, table, wrap } from "./text.ts";

/** Registers as plain numbers, to be compared at the next stop. */
export type Snapshot = { readonly [name in RegisterName]?: bigint };

/** The groups that cost nothing to read, copied. */
export function snapshot(registers: Registers): Snapshot {
  const copy: { [name in RegisterName]?: bigint } = {};
  for (const group of ["general", "segment", "control"] as const) {
    for (const name of REGISTER_GROUPS[group]) copy[name] = registers[name];
  }
  return copy;
}

/** How registers are shown. */
export interface RegisterView {
  readonly style: Style;
  readonly width: number;
  /** The registers at the stop before: what differs is highlighted. */
  readonly previous?: Snapshot;
  /** Names an address: "kernel_main+0x10". */
  readonly symbol?: (address: bigint) => string | undefined;
}

/** Several names in one word, as `regs` and `info registers` take them. */
const GROUP_NAMES: Readonly<Record<string, readonly RegisterGroup[]>> = {
  general: ["general"],
  gpr: ["general"],
  segment: ["segment"],
  segments: ["segment"],
  control: ["control"],
  system: ["control"],
  debug: ["debug"],
  fpu: ["fpu"],
  float: ["fpu"],
  vector: ["vector"],
  sse: ["vector"],
  avx: ["vector"],
  all: ["general", "segment", "control", "debug", "fpu", "vector"],
};

/** The groups that a word names, or undefined; three letters or more that begin the name of one group alone are enough. */
export function groupsNamed(word: string): readonly RegisterGroup[] | undefined {
  if (Object.hasOwn(GROUP_NAMES, word)) return GROUP_NAMES[word];
  if (word.length < 3) return undefined;
  const begun = Object.entries(GROUP_NAMES).filter(([name]) => name.startsWith(word)).map(([, groups]) =>
    groups
  );
  return begun.length > 0 && begun.every(([group]) => group === begun[0][0]) ? begun[0] : undefined;
}

/** Every word for groups. */
export function groupWords(): string[] {
  return Object.keys(GROUP_NAMES);
}

/** One group, compact, flags decoded, what changed highlighted. */
export function registerGroup(group: RegisterGroup, registers: Registers, view: RegisterView): string {
  switch (group) {
    case "general":
      return general(registers, view);
    case "segment":
      return segments(registers, view);
    case "control":
    case "debug":
      return system(REGISTER_GROUPS[group], registers, view);
    case "fpu":
      return fpu(registers, view);
    case "vector":
      return vector(registers, view);
    default:
      return group satisfies never;
  }
}

const MODES: Readonly<Record<CpuMode, string>> = {
  "real": "real mode",
  "virtual-8086": "virtual-8086 mode",
  "protected16": "16-bit protected mode",
  "protected32": "32-bit protected mode",
  "compat16": "16-bit compatibility mode",
  "compat32": "32-bit compatibility mode",
  "long": "long mode",
};

/** The line that tells the mode: `real mode, CPL 0, no paging, cs:ip f000:fff0`. */
export function modeLine(registers: Registers): string {
  const mode = cpuMode(registers);
  const paging = pagingMode(registers);
  const words = [
    MODES[mode],
    `CPL ${cpl(registers)}`,
    paging === "none" ? "no paging" : `${paging} paging`,
  ];
  if (mode === "real" || mode === "virtual-8086") words.push(`cs:ip ${far(registers.cs, registers.rip)}`);
  return words.join(", ");
}

function general(registers: Registers, view: RegisterView): string {
  const names = REGISTER_GROUPS.general.filter((n) => n !== "rflags" && (!/^r\d/.test(n) || long(registers)));
  const wide = names.some((n) => registers[n] >> 32n !== 0n) || long(registers);
  const cells = names.map((n) => cell(n, registers, view, wide ? 16 : 8));
  const symbol = view.symbol?.(registers.rip);
  const rip = symbol === undefined ? "" : `  ${view.style.dim("rip is")} ${view.style.symbol(symbol)}`;
  const lines = [flagLine("rflags", registers, view) + rip, view.style.dim(modeLine(registers))];
  return grid(cells, view.width) + lines.flatMap((l) => wrap(l, view.width)).map((l) => `${l}\n`).join("");
}

function long(registers: Registers): boolean {
  return (registers.efer & 1n << 10n) !== 0n;
}

function cell(name: RegisterName, registers: Registers, view: RegisterView, digits: number): string {
  return `${view.style.register(name.padEnd(3))} ${
    paint(name, registers, view, hex(registers[name], digits))
  }`;
}

function paint(name: RegisterName, registers: Registers, view: RegisterView, text: string): string {
  const before = view.previous?.[name];
  return before !== undefined && before !== registers[name] ? view.style.changed(text) : text;
}

function flagLine(name: RegisterName & FlagTable, registers: Registers, view: RegisterView): string {
  const text = `${hex(registers[name], name === "rflags" ? 8 : 1)} ${flagWords(name, registers[name])}`;
  return `${view.style.register(name)} ${paint(name, registers, view, text)}`;
}

/** `[ IF ZF ]`, as gdb shows flags. */
export function flagWords(register: string, value: bigint): string {
  const known = flagTableOf(register);
  if (known === undefined) return "";
  const words = decodeFlags(known, value);
  return words.length === 0 ? "[ ]" : `[ ${words.join(" ")} ]`;
}

function segments(registers: Registers, view: RegisterView): string {
  const { style } = view;
  const rows = SEGMENTS.map((s) => [
    style.register(s),
    paint(s, registers, view, bare(registers[s], 4)),
    paint(`${s}_base`, registers, view, hex(registers[`${s}_base`], 8)),
    paint(`${s}_limit`, registers, view, hex(registers[`${s}_limit`], 8)),
    decodeFlags("attributes", registers[`${s}_attributes`]).join(" "),
  ]);
  const head = ["", "sel", "base", "limit", "attributes"].map((t) => style.dim(t));
  return table([head, ...rows], view.width);
}

function system(names: readonly RegisterName[], registers: Registers, view: RegisterView): string {
  const rows = names.map((n) => [
    view.style.register(n),
    paint(n, registers, view, hex(registers[n])),
    flagWords(n, registers[n]),
  ]);
  return table(rows, view.width);
}

function fpu(registers: Registers, view: RegisterView): string {
  const rows = REGISTER_GROUPS.fpu.map((n) => [
    view.style.register(n),
    hex(registers[n], n.startsWith("st") ? 20 : 4),
    n.startsWith("st") ? formatFloat(registers[n], 80) : flagWords(n, registers[n]),
  ]);
  return table(rows, view.width);
}

function vector(registers: Registers, view: RegisterView): string {
  const names = REGISTER_GROUPS.vector.filter((n) => n.startsWith("ymm"));
  const rows = names.map((n) => {
    const avx = registers[n] >> 128n !== 0n;
    const name = (avx ? n : n.replace("ymm", "xmm")) as RegisterName;
    return [view.style.register(name), hex(registers[name], avx ? 64 : 32)];
  });
  return `${table(rows, view.width)}${flagLine("mxcsr", registers, view)}\n`;
}

/** gdb's `info registers`: name, hex, natural. */
export function gdbRegisters(
  names: readonly RegisterName[],
  registers: Registers,
  view: RegisterView,
): string {
  let out = "";
  for (const name of names) {
    const value = registers[name];
    const label = name === "rflags" ? "eflags" : name;
    const text = hex(value);
    const line = `${`${label} `.padEnd(15)}${paint(name, registers, view, text)}${
      " ".repeat(Math.max(1, 19 - text.length))
    }${natural(name, value, view)}`;
    out += `${line.trimEnd()}\n`;
  }
  return out;
}

function natural(name: RegisterName, value: bigint, view: RegisterView): string {
  const flags = flagWords(name, value);
  if (flags !== "") return flags;
  if (name === "rip") {
    const symbol = view.symbol?.(value);
    return symbol === undefined ? hex(value) : `${hex(value)} <${symbol}>`;
  }
  if (name === "rsp" || name === "rbp" || name === "cr2" || name === "cr3") return hex(value);
  if (name.startsWith("ymm") || name.startsWith("xmm")) {
    return formatVector(value, name.startsWith("y") ? 256 : 128);
  }
  if (/^st\d$/.test(name)) return formatFloat(value, 80);
  return BigInt.asIntN(64, value).toString();
}

/** Registers as data: name to value, with decoded flags beside. */
export function registerData(names: readonly RegisterName[], registers: Registers): Record<string, unknown> {
  const data: Record<string, unknown> = {};
  for (const name of names) {
    data[name] = registers[name];
    const flags = flagTableOf(name);
    if (flags !== undefined) data[`${name}_flags`] = decodeFlags(flags, registers[name]);
  }
  return data;
}
