import { InputError } from "../../dsl/nouns.ts";
import type { RegisterName, SegmentName } from "../../vm/registers.ts";

/** A number's shape in memory, as a cast names it. */
export interface Scalar {
  readonly bytes: 1 | 2 | 4 | 8;
  readonly signed: boolean;
}

/** Some bits of a register: `$ah` is bits 8..15 of rax. */
export interface RegisterPart {
  readonly register: RegisterName;
  /** Lowest bit. */
  readonly shift: number;
  readonly bits: number;
}

/** Where a value came from, if it can be written back there. */
export type Place =
  | ({ readonly kind: "register" } & RegisterPart)
  | {
    readonly kind: "memory";
    readonly address: bigint;
    readonly space: "gpa" | "gva";
    readonly type: Scalar;
  }
  | { readonly kind: "variable"; readonly name: string };

/**
 * What an expression is worth.
 *
 * `value` is a mathematical integer: registers, symbols and unsigned memory are never negative, unary minus,
 * `~` and signed types can be. Sums and products are cut to 64 bits. Equality compares the low 64 bits, so
 * `$rax == -1` means what it says.
 */
export interface Value {
  readonly value: bigint;
  /** "gpa" after `phys()`. Left out: a plain number, linear where an address is wanted. */
  readonly space?: "gpa" | "gva";
  /** RIP, RSP and RBP are offsets in CS and SS: an address made of them gets that segment's base. */
  readonly segment?: SegmentName;
  /** Set by `SELECTOR:OFFSET`; `value` is the linear address then. */
  readonly segmented?: { readonly selector: number; readonly offset: bigint };
  /** The type that a cast gave it. */
  readonly type?: Scalar;
  /** What it points to, after a cast such as `(u32*)`. */
  readonly pointee?: Scalar;
  /** Whether it is an address by nature: a symbol, RIP, a segmented address, a pointer. */
  readonly pointer?: boolean;
  /** Of a symbol that names a variable: its address. */
  readonly symbol?: bigint;
  readonly place?: Place;
}

/** What an expression needs while it is worked out; answered at once or later, by the driver. */
export type Request =
  | {
    readonly kind: "memory";
    readonly address: bigint;
    readonly space: "gpa" | "gva";
    readonly bytes: number;
  }
  | { readonly kind: "msr"; readonly index: number }
  | { readonly kind: "segment-base"; readonly selector: number };

/** What names in an expression mean. */
export interface Names {
  /** A register's value; "cpl" is the privilege level. */
  register(name: RegisterName | "cpl"): bigint;
  /** The linear address of an offset in a loaded segment. */
  linear(segment: SegmentName, offset: bigint): bigint;
  /** A symbol's linear address. */
  symbol(name: string): bigint | undefined;
  /** What a symbol holds, if the table says that it is an object of a number's size. */
  variableType?(name: string): Scalar | undefined;
  /** A variable, without its dollar sign: "1" is `$1`, "" is `$`. */
  variable(name: string): bigint | undefined;
  /** Bytes of `*ADDRESS` without a type: the code's word, 2, 4 or 8. */
  readonly word: 2 | 4 | 8;
}

const LOW_64 = (1n << 64n) - 1n;
const LEAST = -(1n << 63n);

/** Cuts to 64 bits what does not fit -2^63 .. 2^64-1. */
export function wrap(value: bigint): bigint {
  return value > LOW_64 || value < LEAST ? BigInt.asUintN(64, value) : value;
}

/** The number as `type` holds it. */
export function convert(value: bigint, type: Scalar): bigint {
  return type.signed ? BigInt.asIntN(type.bytes * 8, value) : BigInt.asUintN(type.bytes * 8, value);
}

/** The address a value stands for, in its space. */
export function addressOf(value: Value, names: Pick<Names, "linear">): { space: "gpa" | "gva"; at: bigint } {
  if (value.value > LOW_64 || value.value < LEAST) {
    throw new InputError(`0x${value.value.toString(16)} is no address: it has more than 64 bits`, {
      remedy: "give an address below 2^64",
    });
  }
  const at = BigInt.asUintN(64, value.value);
  if (value.space === "gpa") return { space: "gpa", at };
  return { space: "gva", at: value.segment === undefined ? at : names.linear(value.segment, at) };
}
