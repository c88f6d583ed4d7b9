/**
 * The fake's interpreter against a processor: the same random instructions, one step at a time, on KVM and on
 * the fake, must give the same registers, flags and memory. Flags that the SDM calls undefined are not compared.
 */

import "../src/host/preload.ts";
import assert from "node:assert/strict";
import fc from "fast-check";
import { kvmHost, openKvm } from "../src/kvm/open.ts";
import type { Backend } from "../src/vm/backend.ts";
import type { VmExit } from "../src/vm/exit.ts";
import { createFake } from "../src/vm/fake.ts";
import { GENERAL, type RegisterValues } from "../src/vm/registers.ts";

const host = kvmHost();
const reason = host.usable ? undefined : host.reason;
if (reason !== undefined) console.log(`fake against kvm: skipped, ${reason}`);

const CODE = 0x1000, DATA = 0x4000, DATA_SIZE = 0x100, STACK = 0x7f00, TABLES = 0x10000;
const RUNS = 150;

const CF = 1n, PF = 4n, AF = 0x10n, ZF = 0x40n, SF = 0x80n, OF = 0x800n;
const ALL = CF | PF | AF | ZF | SF | OF;

type Mode = 16 | 32 | 64;

/** Takes choices one after the other: what a template makes of them is up to it. */
class Choices {
  #at = 0;
  constructor(readonly mode: Mode, readonly bytes: readonly number[]) {}
  /** 0 to `limit` - 1. */
  next(limit: number): number {
    return this.bytes[this.#at++ % this.bytes.length] % limit;
  }
  list(length: number): number[] {
    return Array.from({ length }, () => this.next(256));
  }
}

/** A random instruction, and the flags it leaves undefined. */
interface Random {
  readonly bytes: number[];
  readonly undefined: bigint;
}

/** Any general register but the stack pointer. */
const REGISTERS = [0, 1, 2, 3, 5, 6, 7];

/** Prefixes: operand size now and then, REX.W, R and B in 64-bit code (never such that SP is named). */
function prefixes(c: Choices): { before: number[]; rex: number } {
  const before = c.next(3) === 0 ? [0x66] : [];
  if (c.mode !== 64 || c.next(3) === 0) return { before, rex: 0 };
  const rex = 0x40 | c.next(2) * 8 | c.next(2) * 4 | c.next(2);
  return { before: [...before, rex], rex };
}

/** A ModRM with a register, or the memory at an absolute address in the data area. */
function modrm(c: Choices, reg: number, registerOnly = false): number[] {
  if (registerOnly || c.next(2) === 0) return [0xc0 | reg << 3 | REGISTERS[c.next(7)]];
  const at = DATA + c.next(DATA_SIZE - 16);
  const low = [at & 255, at >> 8];
  if (c.mode === 16) return [reg << 3 | 6, ...low];
  if (c.mode === 32) return [reg << 3 | 5, ...low, 0, 0];
  return [reg << 3 | 4, 0x25, ...low, 0, 0];
}

/** How many immediate bytes a "z" operand has. */
function widthZ(mode: Mode, before: readonly number[]): number {
  const swapped = before.includes(0x66);
  const wide = before.some((b) => (b & 0xf8) === 0x48);
  return wide ? 4 : (mode === 16) === swapped ? 4 : 2;
}

type Template = (c: Choices) => Random;

/** An opcode with ModRM, register in reg and an immediate of so many bytes. */
function plain(opcode: number[], undefinedFlags = 0n, immediate = 0, registerOnly = false): Template {
  return (c) => {
    const { before } = prefixes(c);
    const bytes = [
      ...before,
      ...opcode,
      ...modrm(c, REGISTERS[c.next(7)], registerOnly),
      ...c.list(immediate),
    ];
    return { bytes, undefined: undefinedFlags };
  };
}

/** An opcode whose ModRM.reg chooses the operation. */
function group(
  opcode: number,
  regs: number[],
  undefinedFlags: (reg: number) => bigint,
  immediate: number | "z",
) {
  return (c: Choices): Random => {
    const { before } = prefixes(c);
    const reg = regs[c.next(regs.length)];
    const rest = modrm(c, reg);
    const bytes = c.list(immediate === "z" ? widthZ(c.mode, before) : immediate);
    return { bytes: [...before, opcode, ...rest, ...bytes], undefined: undefinedFlags(reg) };
  };
}

/** What shifts leave undefined: OF unless by one, AF, and CF for counts beyond the width. */
const shiftUndefined = (byOne: boolean) => (reg: number) => {
  const rotate = reg < 4;
  return rotate ? (byOne ? 0n : OF) : byOne ? AF : AF | OF | CF;
};

function division(signed: boolean): Template {
  return (c) => {
    // A dividend of half the width and a divisor that is not zero: the quotient fits (but for INT_MIN / -1).
    const clear = [0x31, 0xd2];
    const divisor = c.mode === 16 ? [0xb9, 1 + c.next(100), 0] : [0xb9, 1 + c.next(100), c.next(256), 0, 0];
    const widen = signed ? [0x99] : clear;
    return { bytes: [...divisor, ...widen, 0xf7, (signed ? 0xf8 : 0xf0) | 1], undefined: ALL };
  };
}

function stringOperation(opcode: number): Template {
  return (c) => {
    const pointer = (base: number) => [base, c.next(200), DATA >> 8, ...(c.mode === 16 ? [] : [0, 0])];
    const { before } = prefixes(c);
    return { bytes: [...pointer(0xbe), ...pointer(0xbf), ...before, opcode + c.next(2)], undefined: 0n };
  };
}

const each = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

const MUL = SF | ZF | AF | PF;

const TEMPLATES: Template[] = [
  ...each(8, (op) => plain([op * 8 + 0], op === 1 || op === 4 || op === 6 ? AF : 0n)),
  ...each(8, (op) => plain([op * 8 + 1], op === 1 || op === 4 || op === 6 ? AF : 0n)),
  ...each(8, (op) => plain([op * 8 + 2], op === 1 || op === 4 || op === 6 ? AF : 0n)),
  ...each(8, (op) => plain([op * 8 + 3], op === 1 || op === 4 || op === 6 ? AF : 0n)),
  ...each(8, (op): Template => (c) => ({ bytes: [op * 8 + 4, c.next(256)], undefined: AF })),
  group(0x80, each(8, (i) => i), () => AF, 1),
  group(0x81, each(8, (i) => i), () => AF, "z"),
  group(0x83, each(8, (i) => i), () => AF, 1),
  group(0xc0, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(false), 1),
  group(0xc1, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(false), 1),
  group(0xd0, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(true), 0),
  group(0xd1, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(true), 0),
  group(0xd2, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(false), 0),
  group(0xd3, [0, 1, 2, 3, 4, 5, 7], shiftUndefined(false), 0),
  group(0xf6, [0], () => AF, 1),
  group(0xf7, [0], () => AF, "z"),
  group(0xf6, [2, 3], () => 0n, 0),
  group(0xf7, [2, 3], () => 0n, 0),
  group(0xf6, [4, 5], () => MUL, 0),
  group(0xf7, [4, 5], () => MUL, 0),
  group(0xfe, [0, 1], () => 0n, 0),
  group(0xff, [0, 1], () => 0n, 0),
  group(0xc6, [0], () => 0n, 1),
  group(0xc7, [0], () => 0n, "z"),
  plain([0x84], AF),
  plain([0x85], AF),
  plain([0x86]),
  plain([0x87]),
  plain([0x88]),
  plain([0x89]),
  plain([0x8a]),
  plain([0x8b]),
  plain([0x6b], MUL, 1),
  plain([0x0f, 0xaf], MUL),
  ...[0xb6, 0xb7, 0xbe, 0xbf, 0xb0, 0xb1, 0xc0, 0xc1].map((op) => plain([0x0f, op])),
  ...[0xa3, 0xab, 0xb3, 0xbb].map((op) => plain([0x0f, op], OF | SF | AF | PF, 0, true)),
  ...[0xbc, 0xbd].map((op) => plain([0x0f, op], CF | OF | SF | AF | PF)),
  (c) => {
    const { before } = prefixes(c);
    const reg = 4 + c.next(4);
    return { bytes: [...before, 0x0f, 0xba, ...modrm(c, reg), c.next(256)], undefined: OF | SF | AF | PF };
  },
  ...each(16, (cc) => plain([0x0f, 0x40 + cc])),
  ...each(16, (cc) => plain([0x0f, 0x90 + cc])),
  division(false),
  division(true),
  ...[0xa4, 0xa6, 0xaa, 0xac, 0xae].map(stringOperation),
  ...[0x98, 0x99, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0x90].map((op): Template => (c) => {
    const { before } = prefixes(c);
    return { bytes: [...before, op], undefined: 0n };
  }),
  (c) => {
    // BSWAP of 16 bits is undefined (SDM vol. 2A).
    const before = c.mode === 16 ? [0x66] : c.mode === 64 && c.next(2) === 0 ? [0x48] : [];
    return { bytes: [...before, 0x0f, 0xc8 + REGISTERS[c.next(7)]], undefined: 0n };
  },
  (c) => {
    const reg = REGISTERS[c.next(7)];
    const flags = c.next(4) === 0;
    return { bytes: [flags ? 0x9c : 0x50 + reg, 0x58 + REGISTERS[c.next(7)]], undefined: 0n };
  },
  (c) => ({ bytes: [0x6a, c.next(256), 0x58 + REGISTERS[c.next(7)]], undefined: 0n }),
  // JECXZ, LOOP and Jcc over one byte: a NOP that is jumped over or not.
  (c) => ({ bytes: [0xe0 + c.next(4), 1, 0x90], undefined: 0n }),
  (c) => ({ bytes: [0x70 + c.next(16), 1, 0x90], undefined: 0n }),
  // CALL to the next instruction, and POP of the return address.
  (c) => ({
    bytes: [0xe8, 0, 0, ...(c.mode === 16 ? [] : [0, 0]), 0x58 + REGISTERS[c.next(7)]],
    undefined: 0n,
  }),
  (c) => {
    const op = [0xa4, 0xac][c.next(2)];
    const count = 1 + c.next(15);
    const { before } = prefixes(c);
    const bytes = [...before, 0x0f, op, ...modrm(c, REGISTERS[c.next(7)]), count];
    return { bytes, undefined: AF | (count === 1 ? 0n : OF) };
  },
];

const FLAT = { limit: 0xffffffffn, data: 0xc093n, code: { 32: 0xc09bn, 64: 0xa09bn } } as const;

/** Registers that put a vCPU into `mode` at CODE, paging in long mode by tables at TABLES. */
function entry(mode: Mode): RegisterValues {
  const values: { [name: string]: bigint } = { rip: BigInt(CODE), rsp: BigInt(STACK), rflags: 2n };
  for (const s of ["cs", "ds", "es", "fs", "gs", "ss"]) {
    values[s] = mode === 16 ? 0n : s === "cs" ? 8n : 16n;
    values[`${s}_base`] = 0n;
    values[`${s}_limit`] = mode === 16 ? 0xffffn : FLAT.limit;
    values[`${s}_attributes`] = mode === 16
      ? (s === "cs" ? 0x9bn : 0x93n)
      : s === "cs"
      ? FLAT.code[mode]
      : FLAT.data;
  }
  values.cr0 = mode === 16 ? 0x10n : mode === 32 ? 0x11n : 0x80000011n;
  if (mode === 64) Object.assign(values, { cr3: BigInt(TABLES), cr4: 0x20n, efer: 0x500n });
  return values as RegisterValues;
}

async function prepare(backend: Backend, mode: Mode): Promise<void> {
  const tables = new DataView(new ArrayBuffer(0x3000));
  tables.setBigUint64(0, BigInt(TABLES + 0x1000) | 3n, true);
  tables.setBigUint64(0x1000, BigInt(TABLES + 0x2000) | 3n, true);
  tables.setBigUint64(0x2000, 0x83n, true);
  await backend.memory.write(BigInt(TABLES), new Uint8Array(tables.buffer));
  await backend.vcpus[0].setRegisters(entry(mode));
}

const hex = (bytes: Iterable<number>) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join(" ");

/** One instruction, however many time slices end meanwhile. */
async function step(backend: Backend): Promise<VmExit> {
  for (;;) {
    const exit = await backend.vcpus[0].step();
    if (exit.kind !== "slice") return exit;
  }
}

/** Steps both through `code`; says where they differ first. */
async function compare(kvm: Backend, fake: Backend, code: Random[], start: RegisterValues, data: Uint8Array) {
  for (const backend of [kvm, fake]) {
    await backend.memory.write(BigInt(CODE), new Uint8Array(code.flatMap((i) => i.bytes).concat(0xf4)));
    await backend.memory.write(BigInt(DATA), data);
    await backend.vcpus[0].setRegisters({ ...start, rip: BigInt(CODE), rsp: BigInt(STACK) });
  }
  let end = BigInt(CODE);
  for (const { bytes, undefined: skipped } of code) {
    end += BigInt(bytes.length);
    // A template may hold several instructions; loops are bounded by its length.
    for (let n = 0; n <= bytes.length && (await fake.vcpus[0].registers()).rip < end; n++) {
      const exits = [await step(kvm), await step(fake)];
      assert.deepEqual(exits.map((e) => e.kind), ["debug", "debug"], `${hex(bytes)}: kvm and fake`);
      const [a, b] = [await kvm.vcpus[0].registers(), await fake.vcpus[0].registers()];
      for (const name of GENERAL) {
        const mask = name === "rflags" ? ALL & ~skipped | 0x400n : ~0n;
        assert.equal(
          `${name}=${(b[name] & mask).toString(16)}`,
          `${name}=${(a[name] & mask).toString(16)}`,
          `after ${hex(bytes)}: fake, kvm`,
        );
      }
      await fake.vcpus[0].setRegisters({ rflags: a.rflags });
    }
  }
  const [x, y] = [new Uint8Array(DATA_SIZE), new Uint8Array(DATA_SIZE)];
  await kvm.memory.read(BigInt(DATA), x);
  await fake.memory.read(BigInt(DATA), y);
  assert.equal(hex(y), hex(x), "the data area: fake, kvm");
}

for (const mode of [16, 32, 64] as const) {
  Deno.test({
    name: `random ${mode}-bit instructions do the same on the fake as on KVM`,
    ignore: reason !== undefined,
    async fn() {
      const options = { memory: 1 << 20, cpus: 1, irqchip: false, pit: false };
      using kvm = openKvm(options);
      const fake = createFake(options);
      for (const backend of [kvm, fake]) await prepare(backend, mode);
      const registers = GENERAL.filter((n) =>
        !["rip", "rsp", "rflags"].includes(n) && (mode === 64 || !/\d/.test(n))
      );
      const width = mode === 64 ? 64n : 32n;
      const value = fc.oneof(
        fc.bigInt(0n, (1n << width) - 1n),
        fc.constantFrom(0n, 1n, (1n << width) - 1n, 0x80n),
      );
      const instruction = fc.tuple(
        fc.nat(TEMPLATES.length - 1),
        fc.array(fc.nat(255), { minLength: 14, maxLength: 14 }),
      ).map(([which, bytes]) => TEMPLATES[which](new Choices(mode, bytes)));
      await fc.assert(
        fc.asyncProperty(
          fc.array(instruction, { minLength: 1, maxLength: 25 }),
          fc.record(Object.fromEntries(registers.map((n) => [n, value]))),
          fc.noShrink(fc.uint8Array({ minLength: DATA_SIZE, maxLength: DATA_SIZE })),
          (code, start, data) => compare(kvm, fake, code, start as RegisterValues, data),
        ),
        { numRuns: RUNS, seed: 2309 + mode },
      );
      await fake.close();
    },
  });
}
