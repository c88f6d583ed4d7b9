import assert from "node:assert/strict";
import fc from "fast-check";
import { FaultError } from "../vm/errors.ts";
import { REGISTER_NAMES, type RegisterName, type Registers, type RegisterValues } from "../vm/registers.ts";
import { backtrace } from "./backtrace.ts";

function registers(values: RegisterValues): Registers {
  const all = Object.fromEntries(REGISTER_NAMES.map((n): [RegisterName, bigint] => [n, 0n]));
  return { ...all, ...values } as Registers;
}

/** 64 KiB of linear memory at `base`, NOPs all over. */
class Memory {
  readonly view = new DataView(new ArrayBuffer(0x10000));
  readonly base: bigint;
  constructor(base = 0n) {
    this.base = base;
    new Uint8Array(this.view.buffer).fill(0x90);
  }
  readonly read = (address: bigint, into: Uint8Array): void => {
    const at = address - this.base;
    if (at < 0n || at + BigInt(into.length) > 0x10000n) {
      throw new FaultError("there is no memory", { address, space: "gva" });
    }
    into.set(new Uint8Array(this.view.buffer, Number(at), into.length));
  };
  code(at: number, ...bytes: number[]): this {
    new Uint8Array(this.view.buffer).set(bytes, at);
    return this;
  }
  /** Pushes of `size` bytes from `at` upwards. */
  words(at: number, size: 2 | 4 | 8, ...values: (bigint | number)[]): this {
    values.forEach((v, i) => {
      for (let b = 0; b < size; b++) {
        this.view.setUint8(at + i * size + b, Number(BigInt(v) >> BigInt(8 * b) & 255n));
      }
    });
    return this;
  }
}

const LONG: RegisterValues = { cr0: 0x80000011n, efer: 0x500n, cs_attributes: 0xa09bn, rip: 0x1000n };
const PROTECTED: RegisterValues = {
  cr0: 0x11n,
  cs_attributes: 0xc09bn,
  ss_attributes: 0xc093n,
  rip: 0x1000n,
};

Deno.test("backtrace: three frames in 64 bit, up to the frame pointer 0", async () => {
  const memory = new Memory().words(0x8010, 8, 0x8040, 0x2001).words(0x8040, 8, 0x8060, 0x3002)
    .words(0x8060, 8, 0, 0x4003);
  const result = await backtrace(registers({ ...LONG, rsp: 0x8000n, rbp: 0x8010n }), memory.read);
  assert.deepEqual(result.frames.map((f) => [f.rip, f.stackPointer, f.framePointer]), [
    [0x1000n, 0x8000n, 0x8010n],
    [0x2001n, 0x8020n, 0x8040n],
    [0x3002n, 0x8050n, 0x8060n],
    [0x4003n, 0x8070n, 0n],
  ]);
  assert.equal(result.end, "outermost");
});

Deno.test("backtrace: the caller is found before the frame is made and after it is gone", async () => {
  const outer = (memory: Memory) => memory.words(0x8040, 8, 0, 0x4003);
  const at = { ...LONG, rsp: 0x8000n, rbp: 0x8040n };
  const callers = async (memory: Memory) =>
    (await backtrace(registers(at), outer(memory).read)).frames.map((f) => f.rip);
  const expected = [0x1000n, 0x2001n, 0x4003n];
  const entered = () => new Memory().words(0x8000, 8, 0x2001);
  assert.deepEqual(await callers(entered().code(0x1000, 0x55)), expected);
  assert.deepEqual(await callers(entered().code(0x1000, 0xf3, 0x0f, 0x1e, 0xfa, 0x55)), expected);
  assert.deepEqual(await callers(entered().code(0x1000, 0xc3)), expected);
  const pushed = new Memory().words(0x8000, 8, 0x8040, 0x2001).code(0x1000, 0x48, 0x89, 0xe5);
  assert.deepEqual(await callers(pushed), expected);
});

Deno.test("backtrace: 32-bit and real mode go through their segments", async () => {
  const flat = new Memory().words(0x8000, 4, 0x8010, 0x2001).words(0x8010, 4, 0, 0);
  const narrow = await backtrace(registers({ ...PROTECTED, rsp: 0x7ff0n, rbp: 0x8000n }), flat.read);
  assert.deepEqual(narrow.frames.map((f) => f.address), [0x1000n, 0x2001n]);
  assert.equal(narrow.reason, "the return address is 0");
  const real = new Memory(0x20000n).words(0x100, 2, 0x110, 0x1234).words(0x110, 2, 0, 0x5678);
  const segments = { cs_base: 0x20000n, ss_base: 0x20000n, cs_attributes: 0x9bn, ss_attributes: 0x93n };
  const result = await backtrace(registers({ ...segments, rip: 0x10n, rsp: 0x80n, rbp: 0x100n }), real.read);
  assert.deepEqual(result.frames.map((f) => f.address), [0x20010n, 0x21234n, 0x25678n]);
  assert.equal(result.frames[1].rip, 0x1234n);
});

Deno.test("backtrace: why it ends is told", async () => {
  const end = async (values: RegisterValues, memory: Memory, limit?: number) =>
    (await backtrace(registers({ ...LONG, rsp: 0x8000n, ...values }), memory.read, { limit })).end;
  const loop = new Memory().words(0x8010, 8, 0x8010, 0x2001);
  assert.equal(await end({ rbp: 0x8010n }, loop), "loop");
  assert.equal(await end({ rbp: 0x7000n }, new Memory()), "not-a-frame");
  assert.equal(await end({ rbp: 0x8001n }, new Memory()), "not-a-frame");
  assert.equal(await end({ rbp: 0x20000n }, new Memory()), "unreadable");
  assert.equal(await end({ rbp: 0n }, new Memory()), "outermost");
  assert.equal(
    await end({ rbp: 0x8010n }, new Memory().words(0x8010, 8, 0x8040, 1n << 60n)),
    "bad-return-address",
  );
  const deep = new Memory();
  for (let at = 0x8010; at < 0xff00; at += 16) deep.words(at, 8, at + 16, 0x2001);
  assert.equal(await end({ rbp: 0x8010n }, deep, 5), "limit");
  assert.equal(
    (await backtrace(registers({ ...LONG, rip: 1n << 40n, rbp: 0n }), deep.read)).frames.length,
    1,
  );
});

Deno.test("backtrace: errors other than faults are passed on, later readers are waited for", async () => {
  const memory = new Memory().words(0x8010, 8, 0, 0x2001);
  const at = registers({ ...LONG, rsp: 0x8000n, rbp: 0x8010n });
  const later = await backtrace(at, (address, into) => Promise.resolve(memory.read(address, into)));
  assert.equal(later.frames.length, 2);
  await assert.rejects(backtrace(at, () => Promise.reject(new Error("gone"))), /gone/);
});

Deno.test("backtrace: random stacks come to an end, each frame above the one before", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 400 }),
      fc.nat(0xffff),
      async (words, rbp) => {
        const memory = new Memory();
        words.forEach((w, i) => memory.words(0x8000 + 8 * i, 8, 0x8000 + (w & 0xff8), 0x1000 + w));
        const { frames } = await backtrace(
          registers({ ...LONG, rsp: 0x8000n, rbp: BigInt(rbp) }),
          memory.read,
          {
            limit: 1000,
          },
        );
        for (let i = 1; i < frames.length; i++) {
          assert.ok(
            frames[i].stackPointer > frames[i - 1].stackPointer,
          );
        }
        assert.ok(frames.length <= 1000);
      },
    ),
    { seed: 11, numRuns: 100 },
  );
});
