import * as alu from "../alu.ts";
import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import { type OpcodeRow, span } from "../row.ts";
import { GuestFault, Undecodable, VECTOR } from "../signals.ts";
import { FLAG, MASK, RAX, RDX, type Size } from "../state.ts";

const { MODRM, BYTE, IMM8, IMMZ, TEST, NO64 } = FORM;

/** In the order of the opcodes 00..3F and of the groups 80..83; CMP is last and keeps no result. */
const OPERATIONS: readonly alu.Binary[] = [
  alu.add,
  alu.or,
  alu.adc,
  alu.sbb,
  alu.and,
  alu.sub,
  alu.xor,
  alu.sub,
];
const CMP = 7;

/** Computes and sets flags; undefined when the result is not to be stored. */
function operate(core: Core, which: number, a: bigint, b: bigint, size: Size): bigint | undefined {
  const { value, flags } = OPERATIONS[which](a, b, size, core.flags);
  core.flags = flags;
  return which === CMP ? undefined : value;
}

/** r/m, something. */
function toRm(core: Core, which: number, b: bigint, size: Size): void {
  const before = core.flags;
  const value = operate(core, which, core.rm(size), b & MASK[size], size);
  if (value === undefined) return;
  const after = core.flags;
  // A store that faults leaves the flags alone.
  core.flags = before;
  core.setRm(value, size);
  core.flags = after;
}

/** The six forms of one of the eight operations. */
function family(which: number): OpcodeRow[] {
  const base = which * 8;
  const rmReg = (core: Core, insn: Instruction) => toRm(core, which, core.reg(), insn.size);
  const regRm = (core: Core, insn: Instruction) => {
    const value = operate(core, which, core.reg(), core.rm(), insn.size);
    if (value !== undefined) core.setReg(value);
  };
  const accumulator = (core: Core, { size, immediate }: Instruction) => {
    const value = operate(core, which, core.register(RAX, size), immediate & MASK[size], size);
    if (value !== undefined) core.setRegister(RAX, size, value);
  };
  return [
    [base, MODRM | BYTE, rmReg],
    [base + 1, MODRM, rmReg],
    [base + 2, MODRM | BYTE, regRm],
    [base + 3, MODRM, regRm],
    [base + 4, BYTE | IMM8, accumulator],
    [base + 5, IMMZ, accumulator],
  ];
}

function group80(core: Core, { reg, size, immediate }: Instruction): void {
  toRm(core, reg & 7, immediate, size);
}

function test(core: Core, a: bigint, b: bigint, size: Size): void {
  core.flags = alu.and(a, b & MASK[size], size, core.flags).flags;
}

function step(core: Core, a: bigint, size: Size, up: boolean): bigint {
  const { value, flags } = (up ? alu.inc : alu.dec)(a, size, core.flags);
  core.flags = flags;
  return value;
}

/** INC and DEC of F E/0, F E/1, F F/0 and F F/1: shared with the group FF of branches. */
export function incDec(core: Core, { reg, size }: Instruction): void {
  if ((reg & 7) > 1) throw new GuestFault(VECTOR.UD);
  core.setRm(step(core, core.rm(), size, (reg & 7) === 0));
}

/** The double-width accumulator: AX, DX:AX, EDX:EAX or RDX:RAX. */
function accumulator(core: Core, size: Size): bigint {
  if (size === 1) return core.register(RAX, 2);
  return core.register(RDX, size) << BigInt(8 * size) | core.register(RAX, size);
}

function setAccumulator(core: Core, size: Size, low: bigint, high: bigint): void {
  if (size === 1) return core.setRegister(RAX, 2, high << 8n | low);
  core.setRegister(RAX, size, low);
  core.setRegister(RDX, size, high);
}

/** F6 and F7. */
function group3(core: Core, insn: Instruction): void {
  const { size, immediate } = insn;
  const operand = core.rm();
  switch (insn.reg & 7) {
    case 0:
    case 1:
      return test(core, operand, immediate, size);
    case 2:
      return core.setRm(~operand & MASK[size]);
    case 3: {
      const { value, flags } = alu.sub(0n, operand, size, core.flags);
      core.setRm(value);
      core.flags = flags;
      return;
    }
    case 4:
    case 5: {
      const signed = (insn.reg & 7) === 5;
      const { value, flags } = alu.multiply(core.register(RAX, size), operand, size, core.flags, signed);
      core.flags = flags;
      return setAccumulator(core, size, value & MASK[size], value >> BigInt(8 * size));
    }
    default: {
      const answer = alu.divide(accumulator(core, size), operand, size, (insn.reg & 7) === 7);
      if (answer === undefined) throw new GuestFault(VECTOR.DE);
      return setAccumulator(core, size, answer.quotient, answer.remainder);
    }
  }
}

/** IMUL with two or three operands: the upper half is dropped. */
function signedProduct(core: Core, a: bigint, b: bigint, size: Size): void {
  const { value, flags } = alu.multiply(a, b & MASK[size], size, core.flags, true);
  core.flags = flags;
  core.setReg(value & MASK[size]);
}

/** CMPXCHG: the operand is written in any case, as on a processor. */
function compareExchange(core: Core, { size }: Instruction): void {
  const operand = core.rm();
  const { flags } = alu.sub(core.register(RAX, size), operand, size, core.flags);
  const equal = (flags & FLAG.ZF) !== 0;
  core.setRm(equal ? core.reg() : operand);
  if (!equal) core.setRegister(RAX, size, operand);
  core.flags = flags;
}

function exchangeAdd(core: Core, { size }: Instruction): void {
  const a = core.rm();
  const b = core.reg();
  const { value, flags } = alu.add(a, b, size, core.flags);
  if (core.insn.mod === 3) {
    core.setReg(a);
    core.setRm(value);
  } else {
    core.setRm(value);
    core.setReg(a);
  }
  core.flags = flags;
}

/** DAA, DAS, AAA and AAS are outside the subset; in 64-bit code they are #UD. */
const noDecimal = (_core: Core, { opcode }: Instruction) => {
  throw new Undecodable(`decimal adjust 0x${opcode.toString(16)} is not known to the interpreter`);
};

/** Addition to division, comparison, exchange-and-add. */
export const ARITHMETIC_ROWS: readonly OpcodeRow[] = [
  ...OPERATIONS.flatMap((_, which) => family(which)),
  ...[0x27, 0x2f, 0x37, 0x3f].map((opcode) => [opcode, NO64, noDecimal] as const),
  ...span(0x40, 8, NO64, (core, { opcode, size }) => {
    core.setRegister(opcode & 7, size, step(core, core.register(opcode & 7, size), size, true));
  }),
  ...span(0x48, 8, NO64, (core, { opcode, size }) => {
    core.setRegister(opcode & 7, size, step(core, core.register(opcode & 7, size), size, false));
  }),
  [0x69, MODRM | IMMZ, (core, { size, immediate }) => signedProduct(core, core.rm(), immediate, size)],
  [0x6b, MODRM | IMM8, (core, { size, immediate }) => signedProduct(core, core.rm(), immediate, size)],
  [0x80, MODRM | BYTE | IMM8, group80],
  [0x81, MODRM | IMMZ, group80],
  [0x82, MODRM | BYTE | IMM8 | NO64, group80],
  [0x83, MODRM | IMM8, group80],
  [0x84, MODRM | BYTE, (core, { size }) => test(core, core.rm(), core.reg(), size)],
  [0x85, MODRM, (core, { size }) => test(core, core.rm(), core.reg(), size)],
  [0xa8, BYTE | IMM8, (core, { size, immediate }) => test(core, core.register(RAX, size), immediate, size)],
  [0xa9, IMMZ, (core, { size, immediate }) => test(core, core.register(RAX, size), immediate, size)],
  [0xf6, MODRM | BYTE | IMM8 | TEST, group3],
  [0xf7, MODRM | IMMZ | TEST, group3],
  [0xfe, MODRM | BYTE, incDec],
  [0x0faf, MODRM, (core, { size }) => signedProduct(core, core.reg(), core.rm(), size)],
  [0x0fb0, MODRM | BYTE, compareExchange],
  [0x0fb1, MODRM, compareExchange],
  [0x0fc0, MODRM | BYTE, exchangeAdd],
  [0x0fc1, MODRM, exchangeAdd],
];
