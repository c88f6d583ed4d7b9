import { FLAG, MASK, SIGN, type Size } from "./state.ts";

/** A result and the flags after it: all of RFLAGS, of which an operation changes the arithmetic ones. */
export interface Result {
  readonly value: bigint;
  readonly flags: number;
}

/** Two operands and the flags before. Operands are unsigned and fit `size`. */
export type Binary = (a: bigint, b: bigint, size: Size, flags: number) => Result;

const { CF, PF, AF, ZF, SF, OF } = FLAG;

/** The flags that arithmetic changes. */
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** SF, ZF and PF of a result (SDM vol. 1, 3.4.3.1). */
export function signZeroParity(value: bigint, size: Size): number {
  let low = Number(value & 0xffn);
  low ^= low >> 4;
  const odd = (0x6996 >> (low & 15)) & 1;
  return (odd === 0 ? PF : 0) | (value === 0n ? ZF : 0) | ((value & SIGN[size]) !== 0n ? SF : 0);
}

function sum(a: bigint, b: bigint, carry: bigint, size: Size, flags: number): Result {
  const wide = a + b + carry;
  const value = wide & MASK[size];
  let f = (flags & ~ARITHMETIC) | signZeroParity(value, size);
  if (wide > MASK[size]) f |= CF;
  if (((a ^ b ^ value) & 0x10n) !== 0n) f |= AF;
  if (((a ^ value) & (b ^ value) & SIGN[size]) !== 0n) f |= OF;
  return { value, flags: f };
}

function difference(a: bigint, b: bigint, borrow: bigint, size: Size, flags: number): Result {
  const wide = a - b - borrow;
  const value = wide & MASK[size];
  let f = (flags & ~ARITHMETIC) | signZeroParity(value, size);
  if (wide < 0n) f |= CF;
  if (((a ^ b ^ value) & 0x10n) !== 0n) f |= AF;
  if (((a ^ b) & (a ^ value) & SIGN[size]) !== 0n) f |= OF;
  return { value, flags: f };
}

function logic(value: bigint, size: Size, flags: number): Result {
  return { value, flags: (flags & ~ARITHMETIC) | signZeroParity(value, size) };
}

const carryOf = (flags: number) => (flags & CF) !== 0 ? 1n : 0n;

/** ADD. */
export const add: Binary = (a, b, size, flags) => sum(a, b, 0n, size, flags);
/** ADC. */
export const adc: Binary = (a, b, size, flags) => sum(a, b, carryOf(flags), size, flags);
/** SUB, CMP, CMPS, SCAS. */
export const sub: Binary = (a, b, size, flags) => difference(a, b, 0n, size, flags);
/** SBB. */
export const sbb: Binary = (a, b, size, flags) => difference(a, b, carryOf(flags), size, flags);
/** AND, TEST. */
export const and: Binary = (a, b, size, flags) => logic(a & b, size, flags);
/** OR. */
export const or: Binary = (a, b, size, flags) => logic(a | b, size, flags);
/** XOR. */
export const xor: Binary = (a, b, size, flags) => logic(a ^ b, size, flags);

/** INC: ADD of 1 that leaves CF. */
export function inc(a: bigint, size: Size, flags: number): Result {
  const { value, flags: f } = add(a, 1n, size, flags);
  return { value, flags: (f & ~CF) | (flags & CF) };
}

/** DEC: SUB of 1 that leaves CF. */
export function dec(a: bigint, size: Size, flags: number): Result {
  const { value, flags: f } = sub(a, 1n, size, flags);
  return { value, flags: (f & ~CF) | (flags & CF) };
}

/** A product of two `size` operands, twice as wide, and CF and OF: whether its upper half says anything. */
export function multiply(a: bigint, b: bigint, size: Size, flags: number, signed: boolean): Result {
  const bits = 8 * size;
  const wide = signed ? BigInt.asIntN(bits, a) * BigInt.asIntN(bits, b) : a * b;
  const fits = signed ? wide === BigInt.asIntN(bits, wide) : wide <= MASK[size];
  const value = BigInt.asUintN(2 * bits, wide);
  const rest = (flags & ~ARITHMETIC) | signZeroParity(value & MASK[size], size);
  return { value, flags: rest | (fits ? 0 : CF | OF) };
}

/** Quotient and remainder, or undefined for #DE: a divisor of zero, or a quotient that does not fit. */
export function divide(
  dividend: bigint,
  divisor: bigint,
  size: Size,
  signed: boolean,
): { quotient: bigint; remainder: bigint } | undefined {
  const bits = 8 * size;
  const n = signed ? BigInt.asIntN(2 * bits, dividend) : dividend;
  const d = signed ? BigInt.asIntN(bits, divisor) : divisor;
  if (d === 0n) return undefined;
  const quotient = n / d;
  if (quotient !== (signed ? BigInt.asIntN(bits, quotient) : BigInt.asUintN(bits, quotient))) {
    return undefined;
  }
  return { quotient: quotient & MASK[size], remainder: (n % d) & MASK[size] };
}

/** A shift or rotate by `count`, not yet masked. A masked count of zero changes nothing. */
export type Shift = (a: bigint, count: number, size: Size, flags: number) => Result;

/** Counts are taken modulo 32, or 64 for 64-bit operands (SDM vol. 2B, SAL/SAR/SHL/SHR). */
function masked(count: number, size: Size): number {
  return count & (size === 8 ? 63 : 31);
}

function shifted(value: bigint, carry: bigint, overflow: boolean, size: Size, flags: number): Result {
  const f = (flags & ~ARITHMETIC) | signZeroParity(value, size);
  return { value, flags: f | ((carry & 1n) !== 0n ? CF : 0) | (overflow ? OF : 0) };
}

const negative = (value: bigint, size: Size) => (value & SIGN[size]) !== 0n;

/** SHL, SAL. OF is defined for a count of 1 alone, as in all of these. */
export const shl: Shift = (a, count, size, flags) => {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const wide = a << BigInt(n);
  const carry = wide >> BigInt(8 * size);
  const value = wide & MASK[size];
  return shifted(value, carry, negative(value, size) !== ((carry & 1n) !== 0n), size, flags);
};

/** SHR. */
export const shr: Shift = (a, count, size, flags) => {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  return shifted(a >> BigInt(n), a >> BigInt(n - 1), negative(a, size), size, flags);
};

/** SAR. */
export const sar: Shift = (a, count, size, flags) => {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const signed = BigInt.asIntN(8 * size, a);
  return shifted((signed >> BigInt(n)) & MASK[size], signed >> BigInt(n - 1), false, size, flags);
};

function rotated(value: bigint, carry: boolean, overflow: boolean, flags: number): Result {
  return { value, flags: (flags & ~(CF | OF)) | (carry ? CF : 0) | (overflow ? OF : 0) };
}

/** ROL. */
export const rol: Shift = (a, count, size, flags) => {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const turn = BigInt(n % (8 * size));
  const value = ((a << turn) | (a >> (BigInt(8 * size) - turn))) & MASK[size];
  const carry = (value & 1n) !== 0n;
  return rotated(value, carry, negative(value, size) !== carry, flags);
};

/** ROR. */
export const ror: Shift = (a, count, size, flags) => {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const turn = BigInt(n % (8 * size));
  const value = ((a >> turn) | (a << (BigInt(8 * size) - turn))) & MASK[size];
  const carry = negative(value, size);
  return rotated(value, carry, carry !== ((value & (SIGN[size] >> 1n)) !== 0n), flags);
};

/** RCL: a rotate of 8 * size + 1 bits, CF on top. */
export const rcl: Shift = (a, count, size, flags) => {
  const bits = 8 * size;
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const turn = BigInt(n % (bits + 1));
  const whole = carryOf(flags) << BigInt(bits) | a;
  const turned = BigInt.asUintN(bits + 1, whole << turn | whole >> (BigInt(bits + 1) - turn));
  const value = turned & MASK[size];
  const carry = turned >> BigInt(bits) !== 0n;
  return rotated(value, carry, negative(value, size) !== carry, flags);
};

/** RCR. */
export const rcr: Shift = (a, count, size, flags) => {
  const bits = 8 * size;
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const turn = BigInt(n % (bits + 1));
  const whole = carryOf(flags) << BigInt(bits) | a;
  const turned = BigInt.asUintN(bits + 1, whole >> turn | whole << (BigInt(bits + 1) - turn));
  const value = turned & MASK[size];
  const second = (value & (SIGN[size] >> 1n)) !== 0n;
  return rotated(value, turned >> BigInt(bits) !== 0n, negative(value, size) !== second, flags);
};

/** SHLD: `a` shifted left, filled from the top of `b`. */
export function shld(a: bigint, b: bigint, count: number, size: Size, flags: number): Result {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const bits = BigInt(8 * size);
  const wide = (a << bits | b) << BigInt(n);
  const value = (wide >> bits) & MASK[size];
  return shifted(value, wide >> (2n * bits), negative(value, size) !== negative(a, size), size, flags);
}

/** SHRD: `a` shifted right, filled from the bottom of `b`. */
export function shrd(a: bigint, b: bigint, count: number, size: Size, flags: number): Result {
  const n = masked(count, size);
  if (n === 0) return { value: a, flags };
  const whole = b << BigInt(8 * size) | a;
  const value = (whole >> BigInt(n)) & MASK[size];
  return shifted(value, whole >> BigInt(n - 1), negative(value, size) !== negative(a, size), size, flags);
}

/** The condition of Jcc, SETcc and CMOVcc, by the low four bits of the opcode (SDM vol. 1, appendix B). */
export function condition(code: number, flags: number): boolean {
  const less = ((flags & SF) !== 0) !== ((flags & OF) !== 0);
  const zero = (flags & ZF) !== 0;
  const carry = (flags & CF) !== 0;
  const answers = [
    (flags & OF) !== 0,
    carry,
    zero,
    carry || zero,
    (flags & SF) !== 0,
    (flags & PF) !== 0,
    less,
  ];
  const answer = answers[(code >> 1) & 7] ?? (less || zero);
  return (code & 1) === 0 ? answer : !answer;
}
