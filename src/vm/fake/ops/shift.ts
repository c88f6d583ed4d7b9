import * as alu from "../alu.ts";
import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import type { OpcodeRow } from "../row.ts";
import { RCX } from "../state.ts";

const { MODRM, BYTE, IMM8 } = FORM;

/** By ModRM.reg; 6 is an undocumented alias of SHL. */
const SHIFTS: readonly alu.Shift[] = [
  alu.rol,
  alu.ror,
  alu.rcl,
  alu.rcr,
  alu.shl,
  alu.shr,
  alu.shl,
  alu.sar,
];

function shift(core: Core, { reg, size }: Instruction, count: number): void {
  const { value, flags } = SHIFTS[reg & 7](core.rm(), count, size, core.flags);
  core.setRm(value);
  core.flags = flags;
}

const byImmediate = (core: Core, insn: Instruction) => shift(core, insn, Number(insn.immediate & 0xffn));
const byOne = (core: Core, insn: Instruction) => shift(core, insn, 1);
const byCl = (core: Core, insn: Instruction) => shift(core, insn, Number(core.regs[RCX] & 0xffn));

function double(core: Core, { opcode, size }: Instruction, count: number): void {
  const operation = opcode < 0x0fa8 ? alu.shld : alu.shrd;
  const { value, flags } = operation(core.rm(), core.reg(), count, size, core.flags);
  core.setRm(value);
  core.flags = flags;
}

const doubleImmediate = (core: Core, insn: Instruction) => double(core, insn, Number(insn.immediate & 0xffn));
const doubleCl = (core: Core, insn: Instruction) => double(core, insn, Number(core.regs[RCX] & 0xffn));

/** Shifts and rotates. */
export const SHIFT_ROWS: readonly OpcodeRow[] = [
  [0xc0, MODRM | BYTE | IMM8, byImmediate],
  [0xc1, MODRM | IMM8, byImmediate],
  [0xd0, MODRM | BYTE, byOne],
  [0xd1, MODRM, byOne],
  [0xd2, MODRM | BYTE, byCl],
  [0xd3, MODRM, byCl],
  [0x0fa4, MODRM | IMM8, doubleImmediate],
  [0x0fa5, MODRM, doubleCl],
  [0x0fac, MODRM | IMM8, doubleImmediate],
  [0x0fad, MODRM, doubleCl],
];
