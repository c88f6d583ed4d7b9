import assert from "node:assert/strict";
import type { Registers } from "../vm/registers.ts";
import { interruptInstruction, realInterrupt } from "./real_interrupt.ts";

const memory = new Uint8Array(0x400);
new DataView(memory.buffer).setUint32(4 * 0x10, 0xf000_e123, true);
const read = (at: bigint, length: number) => memory.subarray(Number(at), Number(at) + length);
const registers = (values: Partial<Registers> = {}) =>
  ({
    rip: 0x7c05n,
    rsp: 0xabcd_1000n,
    rflags: 0x4_0302n, // AC, IF, TF
    cs: 0x7c0n,
    ss_base: 0x20000n,
    idtr_base: 0n,
    idtr_limit: 0x3ffn,
    ...values,
  }) as unknown as Registers;

Deno.test("an interrupt in real mode pushes FLAGS, CS and IP, and goes where the table says", () => {
  const entered = realInterrupt(registers(), 0x10, 0x7c07n, read);
  assert.ok(entered);
  assert.equal(entered.at, 0x20ffan);
  assert.deepEqual([...entered.frame], [0x07, 0x7c, 0xc0, 0x07, 0x02, 0x03]);
  assert.deepEqual(entered.registers, {
    rip: 0xe123n,
    cs: 0xf000n,
    cs_base: 0xf0000n,
    rsp: 0xabcd_0ffan,
    rflags: 2n,
  });
});

Deno.test("what the processor would answer with an exception is left to it", () => {
  assert.equal(realInterrupt(registers({ idtr_limit: 0x42n }), 0x10, 0n, read), undefined);
  assert.equal(realInterrupt(registers({ rsp: 5n }), 0x10, 0n, read), undefined);
});

Deno.test("the instructions that enter a handler are known, with their lengths", () => {
  const of = (code: number[], rflags = 2n) => interruptInstruction(Uint8Array.from(code), rflags);
  assert.deepEqual(of([0xcd, 0x21]), { vector: 0x21, length: 2n });
  assert.deepEqual(of([0xcc, 0]), { vector: 3, length: 1n });
  assert.deepEqual(of([0xf1, 0]), { vector: 1, length: 1n });
  assert.equal(of([0xce, 0]), undefined);
  assert.deepEqual(of([0xce, 0], 0x802n), { vector: 4, length: 1n });
  assert.equal(of([0x90, 0xcd]), undefined);
});
