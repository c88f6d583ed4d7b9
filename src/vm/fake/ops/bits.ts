import { condition } from "../alu.ts";
import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import { type OpcodeRow, span } from "../row.ts";
import { undefinedOpcode } from "../signals.ts";
import { FLAG, MASK } from "../state.ts";

const { MODRM, BYTE, IMM8 } = FORM;

/** What BT, BTS, BTR and BTC make of a value and a bit in it. */
const BIT_OPERATIONS: readonly (((value: bigint, bit: bigint) => bigint) | undefined)[] = [
  undefined,
  (value, bit) => value | bit,
  (value, bit) => value & ~bit,
  (value, bit) => value ^ bit,
];

function bitTest(core: Core, insn: Instruction, which: number, index: bigint): void {
  const { size } = insn;
  const bits = BigInt(8 * size);
  const bit = 1n << BigInt.asUintN(8, index & (bits - 1n));
  const value = core.rm();
  const change = BIT_OPERATIONS[which];
  if (change !== undefined) core.setRm(change(value, bit) & MASK[size]);
  core.put(FLAG.CF, (value & bit) !== 0n);
}

/** A register index reaches beyond a memory operand, in both directions (SDM vol. 2A, BT). */
function byRegister(core: Core, insn: Instruction): void {
  const { size, mod } = insn;
  const index = BigInt.asIntN(8 * size, core.reg());
  if (mod !== 3) {
    const words = index >> BigInt(Math.log2(8 * size));
    insn.offset = (insn.offset + words * BigInt(size)) & MASK[insn.addressSize];
  }
  bitTest(core, insn, (insn.opcode >> 3) & 3, index);
}

function byImmediate(core: Core, insn: Instruction): void {
  if ((insn.reg & 7) < 4) throw undefinedOpcode();
  bitTest(core, insn, insn.reg & 3, insn.immediate & 0xffn);
}

/** BSF and BSR; a zero operand sets ZF and leaves the destination. */
function scan(core: Core, { opcode, size }: Instruction): void {
  const value = core.rm();
  core.put(FLAG.ZF, value === 0n);
  if (value === 0n) return;
  let index = 0;
  if (opcode === 0x0fbc) { while ((value >> BigInt(index) & 1n) === 0n) index++; }
  else index = value.toString(2).length - 1;
  core.setReg(BigInt(index), size);
}

function swap(core: Core, { opcode, rex, operandSize }: Instruction): void {
  const index = (opcode & 7) | ((rex & 1) << 3);
  const size = operandSize === 8 ? 8 : 4;
  let value = core.register(index, size);
  let out = 0n;
  for (let i = 0; i < size; i++, value >>= 8n) out = out << 8n | value & 0xffn;
  core.setRegister(index, size, out);
}

/** Single bits, and what depends on conditions without branching. */
export const BIT_ROWS: readonly OpcodeRow[] = [
  ...span(0x0f40, 16, MODRM, (core, { opcode }) => {
    const value = core.rm();
    // A 32-bit CMOV clears the upper half even if the condition is false.
    core.setReg(condition(opcode, core.flags) ? value : core.reg());
  }),
  ...span(
    0x0f90,
    16,
    MODRM | BYTE,
    (core, { opcode }) => core.setRm(condition(opcode, core.flags) ? 1n : 0n),
  ),
  [0x0fa3, MODRM, byRegister],
  [0x0fab, MODRM, byRegister],
  [0x0fb3, MODRM, byRegister],
  [0x0fba, MODRM | IMM8, byImmediate],
  [0x0fbb, MODRM, byRegister],
  [0x0fbc, MODRM, scan],
  [0x0fbd, MODRM, scan],
  ...span(0x0fc8, 8, 0, swap),
];
