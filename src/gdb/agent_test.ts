import assert from "node:assert/strict";
import type { RegisterName, Registers } from "../vm/registers.ts";
import { FaultError } from "../vm/errors.ts";
import { AgentError, evaluate, EXPRESSION_LIMIT, STACK_LIMIT } from "./agent.ts";
import { numberOf } from "./layout.ts";

/** Registers of which only a few are there. */
const registers = { rax: 0xffff_ffff_ffff_fff6n, rflags: 0x1_0000_0246n, cs: 8n, xmm0: 1n } as
  & { [name in RegisterName]?: bigint }
  & Registers;

const memory = (address: bigint, length: number): Uint8Array => {
  if (address !== 0x1000n) throw new FaultError("not mapped", { address, space: "gva" });
  return Uint8Array.of(0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11).subarray(0, length);
};

const value = (...code: number[]) => evaluate(Uint8Array.from(code), { registers, read: memory });
const END = 0x27;
const c8 = (n: number) => [0x22, n];
const minus = (n: number) => [...c8(256 - n), 0x16, 8];

Deno.test("arithmetic is of 64 bits, signed or unsigned as the instruction says", () => {
  const both = (op: number, a: number[], b: number[]) => value(...a, ...b, op, END);
  const all = 0xffff_ffff_ffff_ffffn;
  assert.equal(both(0x02, minus(1), c8(3)), 2n);
  assert.equal(both(0x03, c8(1), c8(2)), all);
  assert.equal(both(0x04, minus(1), minus(1)), 1n);
  assert.equal(both(0x05, minus(7), c8(2)), all - 2n); // -3
  assert.equal(both(0x06, minus(1), c8(2)), all >> 1n);
  assert.equal(both(0x07, minus(7), c8(2)), all); // -1
  assert.equal(both(0x08, minus(7), c8(2)), 1n);
  assert.equal(both(0x09, c8(1), c8(63)), 1n << 63n);
  assert.equal(both(0x09, c8(1), c8(64)), 0n);
  assert.equal(both(0x0a, minus(8), c8(1)), all - 3n); // -4
  assert.equal(both(0x0a, minus(8), c8(200)), all);
  assert.equal(both(0x0b, minus(1), c8(63)), 1n);
  assert.equal(both(0x0b, minus(1), c8(64)), 0n);
  assert.equal(both(0x0f, c8(6), c8(3)), 2n);
  assert.equal(both(0x10, c8(6), c8(3)), 7n);
  assert.equal(both(0x11, c8(6), c8(3)), 5n);
  assert.equal(both(0x13, c8(6), c8(6)), 1n);
  assert.equal(both(0x14, minus(1), c8(0)), 1n);
  assert.equal(both(0x15, minus(1), c8(0)), 0n);
  assert.equal(value(...c8(0), 0x0e, END), 1n);
  assert.equal(value(...c8(0), 0x12, END), all);
});

Deno.test("constants are big-endian and unsigned until they are extended", () => {
  assert.equal(value(0x23, 0x12, 0x34, END), 0x1234n);
  assert.equal(value(0x24, 0x12, 0x34, 0x56, 0x78, END), 0x12345678n);
  assert.equal(value(0x25, 0x88, 0, 0, 0, 0, 0, 0, 1, END), 0x8800_0000_0000_0001n);
  assert.equal(value(...c8(0xff), END), 0xffn);
  assert.equal(value(...c8(0xff), 0x16, 8, END), 0xffff_ffff_ffff_ffffn);
  assert.equal(value(0x23, 0xff, 0xff, 0x2a, 8, END), 0xffn);
});

Deno.test("memory is little-endian, registers are gdb's", () => {
  const at = [0x23, 0x10, 0x00];
  assert.equal(value(...at, 0x17, END), 0x88n);
  assert.equal(value(...at, 0x18, END), 0x7788n);
  assert.equal(value(...at, 0x19, END), 0x55667788n);
  assert.equal(value(...at, 0x1a, END), 0x1122334455667788n);
  const reg = (name: string) => value(0x26, 0, numberOf(name), END);
  assert.equal(reg("rax"), registers.rax);
  assert.equal(reg("eflags"), 0x246n);
  assert.equal(reg("cs"), 8n);
  assert.throws(() => reg("xmm0"), AgentError);
  assert.throws(() => value(...c8(9), 0x17, END), FaultError);
});

Deno.test("the stack is dropped from, doubled, swapped, picked from and turned", () => {
  const three = [...c8(1), ...c8(2), ...c8(3)];
  const list = (
    ...code: number[]
  ) => [value(...code, END), value(...code, 0x29, END), value(...code, 0x29, 0x29, END)];
  assert.deepEqual(list(...three), [3n, 2n, 1n]);
  assert.deepEqual(list(...three, 0x33), [2n, 1n, 3n]); // a b c -> c a b
  assert.deepEqual(list(...three, 0x2b), [2n, 3n, 1n]);
  assert.equal(value(...three, 0x32, 2, END), 1n);
  assert.equal(value(...c8(5), 0x28, 0x02, END), 10n);
  assert.equal(value(...three, 0x0c, END), 1n); // a trace takes an address and a length
  assert.equal(value(...c8(4), 0x0d, 8, END), 4n);
});

Deno.test("jumps: a loop that counts to five", () => {
  // 0: const8 0; 2: const8 1; 4: add; 5: dup; 6: const8 5; 8: equal; 9: log_not; 10: if_goto 2; 13: end
  assert.equal(value(0x22, 0, 0x22, 1, 0x02, 0x28, 0x22, 5, 0x13, 0x0e, 0x20, 0, 2, END), 5n);
  assert.equal(value(0x21, 0, 5, 0x22, 1, 0x22, 2, END), 2n);
});

Deno.test("what makes no sense, or goes on for ever, is an error", () => {
  const wrong: number[][] = [
    [],
    [END],
    [0x02, END],
    [0x22],
    [0x21, 0, 0],
    [0x21, 0xff, 0xff],
    [0x28, END],
    [...c8(1), 0x32, 200, END],
    [...c8(1), 0x16, 0, END],
    [...c8(1), 0x2a, 65, END],
    [...c8(1), ...c8(0), 0x05, END],
    [...c8(1), ...c8(0), 0x08, END],
    [0x26, 0xff, 0xff, END],
    [0x2c, 0, 0, END], // getv: there are no trace state variables
    [0x1b, END], // no floating point
    [0x34, 0, 0, END],
    [0xff],
    Array<number>(2 * STACK_LIMIT + 2).fill(0x22),
    [...c8(1), ...Array<number>(STACK_LIMIT).fill(0x28), END],
    Array<number>(EXPRESSION_LIMIT + 1).fill(END),
  ];
  for (const code of wrong) assert.throws(() => value(...code), AgentError, code.slice(0, 8).join());
});

Deno.test("memory that is far away is waited for", async () => {
  const read = (address: bigint, length: number) => Promise.resolve(memory(address, length));
  const code = Uint8Array.of(0x23, 0x10, 0, 0x17, 0x23, 0x10, 0, 0x18, 0x02, END);
  assert.equal(await evaluate(code, { registers, read }), 0x88n + 0x7788n);
});
