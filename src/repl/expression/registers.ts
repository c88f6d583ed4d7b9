import { REGISTER_NAMES } from "../../dsl/nouns.ts";
import type { RegisterName } from "../../vm/registers.ts";
import type { RegisterPart } from "./value.ts";

const part = (register: RegisterName, bits: number, shift = 0): RegisterPart => ({ register, bits, shift });

const PARTS = new Map<string, RegisterPart>();

for (const name of REGISTER_NAMES) PARTS.set(name, part(name, widthOf(name)));
for (const letter of ["a", "b", "c", "d"] as const) {
  const full = `r${letter}x` as const;
  PARTS.set(`e${letter}x`, part(full, 32)).set(`${letter}x`, part(full, 16));
  PARTS.set(`${letter}l`, part(full, 8)).set(`${letter}h`, part(full, 8, 8));
}
for (const two of ["si", "di", "bp", "sp"] as const) {
  const full = `r${two}` as const;
  PARTS.set(`e${two}`, part(full, 32)).set(two, part(full, 16)).set(`${two}l`, part(full, 8));
}
for (const n of [8, 9, 10, 11, 12, 13, 14, 15] as const) {
  const full = `r${n}` as const;
  PARTS.set(`${full}d`, part(full, 32)).set(`${full}w`, part(full, 16));
  PARTS.set(`${full}b`, part(full, 8)).set(`${full}l`, part(full, 8));
}
PARTS.set("eip", part("rip", 32)).set("ip", part("rip", 16)).set("pc", part("rip", 64));
PARTS.set("eflags", part("rflags", 32)).set("flags", part("rflags", 16)).set("ps", part("rflags", 64));
// gdb's own names: the whole stack and frame pointer whatever the mode. `$sp` is not the 16-bit SP.
PARTS.set("sp", part("rsp", 64)).set("fp", part("rbp", 64));
PARTS.set("gdtr", part("gdtr_base", 64)).set("idtr", part("idtr_base", 64));

function widthOf(name: RegisterName): number {
  if (name.startsWith("ymm")) return 256;
  if (name.startsWith("xmm")) return 128;
  return name.startsWith("st") ? 80 : 64;
}

/**
 * The register, or the part of one, that `name` (without `$`, any case) means: every name of
 * `registers()`, the parts `eax`, `ax`, `al`, `ah`, `r8d` ..., and gdb's `pc`, `sp`, `fp`, `eflags`.
 */
export function registerPart(name: string): RegisterPart | undefined {
  return PARTS.get(name.toLowerCase());
}

/** Every name that `registerPart` takes. */
export function registerAliases(): string[] {
  return [...PARTS.keys()];
}

/** The value of a part, of the whole register's value. */
export function partOf(whole: bigint, part: RegisterPart): bigint {
  return BigInt.asUintN(part.bits, whole >> BigInt(part.shift));
}

/** The whole register's value with `part` replaced; other bits stay, as when gdb writes `$al`. */
export function withPart(whole: bigint, part: RegisterPart, value: bigint): bigint {
  const mask = (1n << BigInt(part.bits)) - 1n << BigInt(part.shift);
  return whole & ~mask | (value << BigInt(part.shift) & mask);
}
