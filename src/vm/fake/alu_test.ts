import assert from "node:assert/strict";
import fc from "fast-check";
import * as alu from "./alu.ts";
import { FLAG, type Size } from "./state.ts";

const size = fc.constantFrom<Size>(1, 2, 4, 8);
/** An operand size, two operands (edges are as likely as the rest) and flags. */
const operands = size.chain((s) => {
  const max = (1n << BigInt(8 * s)) - 1n;
  const half = 1n << BigInt(8 * s - 1);
  const edge = fc.constantFrom(0n, 1n, half - 1n, half, max);
  const value = fc.oneof(edge, fc.bigInt(0n, max));
  return fc.tuple(fc.constant(s), value, value, fc.constantFrom(0, FLAG.CF, alu.ARITHMETIC, FLAG.IF));
});
const property = (body: (s: Size, a: bigint, b: bigint, flags: number) => void) =>
  fc.assert(fc.property(operands, ([s, a, b, flags]) => body(s, a, b, flags)), { numRuns: 2000, seed: 7 });

const signed = (v: bigint, s: Size) => BigInt.asIntN(8 * s, v);
const inRange = (v: bigint, s: Size) => signed(v, s) === v;
const ones = (v: bigint) => [...v.toString(2)].filter((d) => d === "1").length;

/** SF, ZF and PF by their definitions, written without looking at the implementation. */
function resultFlags(value: bigint, s: Size): number {
  return (signed(value, s) < 0n ? FLAG.SF : 0) | (value === 0n ? FLAG.ZF : 0) |
    (ones(value % 256n) % 2 === 0 ? FLAG.PF : 0);
}

Deno.test("ADD and ADC: carry is the digit above, overflow a signed sum out of range", () => {
  property((s, a, b, flags) => {
    for (const carry of [0n, flags & FLAG.CF ? 1n : 0n]) {
      const operation = carry === 0n && (flags & FLAG.CF) !== 0 ? alu.add : alu.adc;
      const got = operation(a, b, s, flags);
      const wide = a + b + carry;
      assert.equal(got.value, BigInt.asUintN(8 * s, wide));
      const expected = resultFlags(got.value, s) | (wide >> BigInt(8 * s) !== 0n ? FLAG.CF : 0) |
        (a % 16n + b % 16n + carry > 15n ? FLAG.AF : 0) |
        (inRange(signed(a, s) + signed(b, s) + carry, s) ? 0 : FLAG.OF);
      assert.equal(got.flags, (flags & ~alu.ARITHMETIC) | expected);
    }
  });
});

Deno.test("SUB and SBB: borrow and overflow by their definitions", () => {
  property((s, a, b, flags) => {
    for (const borrow of [0n, flags & FLAG.CF ? 1n : 0n]) {
      const operation = borrow === 0n && (flags & FLAG.CF) !== 0 ? alu.sub : alu.sbb;
      const got = operation(a, b, s, flags);
      assert.equal(got.value, BigInt.asUintN(8 * s, a - b - borrow));
      const expected = resultFlags(got.value, s) | (a < b + borrow ? FLAG.CF : 0) |
        (a % 16n < b % 16n + borrow ? FLAG.AF : 0) |
        (inRange(signed(a, s) - signed(b, s) - borrow, s) ? 0 : FLAG.OF);
      assert.equal(got.flags, (flags & ~alu.ARITHMETIC) | expected);
    }
  });
});

Deno.test("INC and DEC leave the carry and else do as ADD and SUB of one", () => {
  property((s, a, _, flags) => {
    for (const [unary, binary] of [[alu.inc, alu.add], [alu.dec, alu.sub]] as const) {
      const got = unary(a, s, flags);
      const like = binary(a, 1n, s, flags);
      assert.equal(got.value, like.value);
      assert.equal(got.flags, (like.flags & ~FLAG.CF) | (flags & FLAG.CF));
    }
  });
});

Deno.test("AND, OR, XOR clear carry and overflow", () => {
  property((s, a, b, flags) => {
    for (const [operation, value] of [[alu.and, a & b], [alu.or, a | b], [alu.xor, a ^ b]] as const) {
      assert.deepEqual(operation(a, b, s, flags), {
        value,
        flags: (flags & ~alu.ARITHMETIC) | resultFlags(value, s),
      });
    }
  });
});

Deno.test("shifts equal multiplication and division by powers of two; the last bit out is the carry", () => {
  property((s, a, b, flags) => {
    const n = Number(b % BigInt(8 * s));
    if (n === 0) return assert.deepEqual(alu.shl(a, n, s, flags), { value: a, flags });
    const power = 2n ** BigInt(n);
    const left = alu.shl(a, n, s, flags);
    assert.equal(left.value, BigInt.asUintN(8 * s, a * power));
    assert.equal((left.flags & FLAG.CF) !== 0, (a * power / 2n ** BigInt(8 * s)) % 2n === 1n);
    const right = alu.shr(a, n, s, flags);
    assert.equal(right.value, a / power);
    assert.equal((right.flags & FLAG.CF) !== 0, (a / (power / 2n)) % 2n === 1n);
    const arithmetic = alu.sar(a, n, s, flags);
    // Floor division: SAR rounds towards minus infinity.
    const floor = (signed(a, s) - ((signed(a, s) % power + power) % power)) / power;
    assert.equal(signed(arithmetic.value, s), floor);
  });
});

Deno.test("rotates: ROR undoes ROL, RCR undoes RCL, and a whole turn changes nothing", () => {
  property((s, a, b, flags) => {
    const n = Number(b % BigInt(8 * s));
    assert.equal(alu.ror(alu.rol(a, n, s, flags).value, n, s, flags).value, a);
    const through = alu.rcl(a, n, s, flags);
    const back = alu.rcr(through.value, n, s, through.flags);
    assert.equal(back.value, a);
    if (n !== 0) assert.equal(back.flags & FLAG.CF, flags & FLAG.CF);
    let turned = a;
    for (let i = 0; i < 8 * s; i++) turned = alu.rol(turned, 1, s, flags).value;
    assert.equal(turned, a);
  });
});

Deno.test("SHLD and SHRD take bits from the other operand", () => {
  property((s, a, b, flags) => {
    const n = Number(a % BigInt(8 * s));
    const bits = BigInt(8 * s);
    const left = alu.shld(a, b, n, s, flags).value;
    const right = alu.shrd(a, b, n, s, flags).value;
    assert.equal(left, BigInt.asUintN(8 * s, a * 2n ** BigInt(n) + b / 2n ** (bits - BigInt(n))));
    assert.equal(right, a / 2n ** BigInt(n) + BigInt.asUintN(8 * s, b * 2n ** (bits - BigInt(n))));
  });
});

Deno.test("MUL, IMUL, DIV and IDIV agree with each other and with whole numbers", () => {
  property((s, a, b, flags) => {
    const product = alu.multiply(a, b, s, flags, false);
    assert.equal(product.value, a * b);
    assert.equal((product.flags & FLAG.CF) !== 0, product.value >> BigInt(8 * s) !== 0n);
    const signedProduct = alu.multiply(a, b, s, flags, true);
    assert.equal(BigInt.asIntN(16 * s, signedProduct.value), signed(a, s) * signed(b, s));
    assert.equal((signedProduct.flags & FLAG.OF) !== 0, !inRange(signed(a, s) * signed(b, s), s));
    if (b === 0n) return assert.equal(alu.divide(a, b, s, false), undefined);
    const quotient = alu.divide(product.value, b, s, false);
    assert.deepEqual(quotient, { quotient: a, remainder: 0n });
    const back = alu.divide(signedProduct.value, b, s, true);
    assert.equal(back && signed(back.quotient, s), signed(a, s));
  });
});

Deno.test("DIV overflows where the quotient does not fit, IDIV at the smallest number by -1", () => {
  assert.equal(alu.divide(0x100n, 1n, 1, false), undefined);
  assert.deepEqual(alu.divide(0xffn, 1n, 1, false), { quotient: 0xffn, remainder: 0n });
  assert.equal(alu.divide(0xff80n, 0xffn, 1, true), undefined);
  assert.deepEqual(alu.divide(0xfff9n, 2n, 1, true), { quotient: 0xfdn, remainder: 0xffn });
});

Deno.test("conditions are those of the comparison that set the flags", () => {
  property((s, a, b, flags) => {
    const f = alu.sub(a, b, s, flags).flags;
    const [x, y] = [signed(a, s), signed(b, s)];
    const expected = [a < b, a === b, a <= b, x < y, x <= y];
    const codes = [2, 4, 6, 12, 14];
    codes.forEach((code, i) => {
      assert.equal(alu.condition(code, f), expected[i], `condition ${code}`);
      assert.equal(alu.condition(code + 1, f), !expected[i], `condition ${code + 1}`);
    });
  });
});
