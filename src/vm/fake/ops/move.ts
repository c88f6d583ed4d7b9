import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import { type OpcodeRow, span } from "../row.ts";
import { loadSegment } from "../segments.ts";
import { undefinedOpcode } from "../signals.ts";
import { CS, DS, ES, FLAG, FS, GS, RAX, RBP, RBX, RDX, RSP, type Size, SS } from "../state.ts";

const { MODRM, BYTE, IMM8, IMM16, IMMZ, IMMV, OFFSET, STACK, NO64 } = FORM;

const opcodeRegister = ({ opcode, rex }: Instruction) => (opcode & 7) | ((rex & 1) << 3);

/** A load of SS holds events back until the next instruction is done (SDM vol. 3A, 6.8.3). */
function shadowOf(core: Core, index: number): void {
  if (index === SS) core.shadow = 1;
}

function fromSegment(core: Core, { reg, mod, operandSize }: Instruction): void {
  if ((reg & 7) > GS) throw undefinedOpcode();
  core.setRm(BigInt(core.seg[reg & 7].selector), mod === 3 ? operandSize : 2);
}

function toSegment(core: Core, { reg }: Instruction): void {
  const index = reg & 7;
  if (index > GS || index === CS) throw undefinedOpcode();
  loadSegment(core, index, Number(core.rm(2)));
  shadowOf(core, index);
}

function extend(core: Core, { opcode }: Instruction): void {
  const from: Size = (opcode & 1) === 0 ? 1 : 2;
  const value = core.rm(from);
  const signed = (opcode & 8) !== 0;
  core.setReg(signed ? BigInt.asUintN(64, BigInt.asIntN(8 * from, value)) : value);
}

function exchange(core: Core): void {
  const a = core.rm();
  const b = core.reg();
  core.setRm(b);
  core.setReg(a);
}

function popRm(core: Core, insn: Instruction): void {
  if ((insn.reg & 7) !== 0) throw undefinedOpcode();
  const value = core.pop(insn.size);
  if (insn.mod !== 3 && insn.stackBased) {
    const mask = insn.addressSize === 8 ? 64 : 8 * insn.addressSize;
    insn.offset = BigInt.asUintN(mask, insn.offset + BigInt(insn.size));
  }
  core.setRm(value);
}

/** PUSHA and POPA in the order of the register numbers; SP is pushed as it was, and skipped when popped. */
function pushAll(core: Core, { size }: Instruction): void {
  const sp = core.register(RSP, size);
  for (let i = 0; i < 8; i++) core.push(i === RSP ? sp : core.register(i, size), size);
}

function popAll(core: Core, { size }: Instruction): void {
  for (let i = 7; i >= 0; i--) {
    const value = core.pop(size);
    if (i !== RSP) core.setRegister(i, size, value);
  }
}

function pushSegment(index: number) {
  return (core: Core, { size }: Instruction) => core.push(BigInt(core.seg[index].selector), size);
}

function popSegment(index: number) {
  return (core: Core, { size }: Instruction) => {
    const selector = Number(core.pop(size) & 0xffffn);
    loadSegment(core, index, selector);
    shadowOf(core, index);
  };
}

/** LES, LDS, LSS, LFS, LGS. */
function loadFar(index: number) {
  return (core: Core, insn: Instruction) => {
    if (insn.mod === 3) throw undefinedOpcode();
    const { segment, offset, size } = insn;
    const target = core.mmu.load(segment, offset, size);
    const selector = core.mmu.load(segment, offset + BigInt(size), 2);
    loadSegment(core, index, Number(selector));
    core.setReg(target);
  };
}

function enter(core: Core, { size, immediate, immediate2 }: Instruction): void {
  const level = immediate2 & 31;
  core.push(core.register(RBP, size), size);
  const frame = core.sp;
  let link = core.regs[RBP];
  for (let i = 1; i < level; i++) {
    link -= BigInt(size);
    core.push(core.mmu.load(SS, BigInt.asUintN(8 * core.stack, link), size), size);
  }
  if (level > 0) core.push(frame, size);
  core.setRegister(RBP, size, frame);
  core.sp = BigInt.asUintN(8 * core.stack, core.sp - immediate);
}

function leave(core: Core, { size }: Instruction): void {
  core.sp = BigInt.asUintN(8 * core.stack, core.regs[RBP]);
  core.setRegister(RBP, size, core.pop(size));
}

/** XLAT reads DS:[BX + AL]. */
function translateByte(core: Core, { dataSegment, addressSize }: Instruction): void {
  const offset = BigInt.asUintN(8 * addressSize, core.regs[RBX] + core.register(RAX, 1));
  core.setRegister(RAX, 1, core.mmu.load(dataSegment, offset, 1));
}

/** CBW, CWDE, CDQE: the accumulator's lower half extended into the whole. */
function extendAccumulator(core: Core, { operandSize }: Instruction): void {
  const half = operandSize / 2 as Size;
  const value = BigInt.asIntN(8 * half, core.register(RAX, half));
  core.setRegister(RAX, operandSize, BigInt.asUintN(64, value));
}

/** CWD, CDQ, CQO: the accumulator's sign into all of DX. */
function extendToD(core: Core, { operandSize }: Instruction): void {
  const negative = BigInt.asIntN(8 * operandSize, core.register(RAX, operandSize)) < 0n;
  core.setRegister(RDX, operandSize, negative ? (1n << 64n) - 1n : 0n);
}

const STATUS = FLAG.SF | FLAG.ZF | FLAG.AF | FLAG.PF | FLAG.CF;

/** Moves, exchanges, extensions and the stack. */
export const MOVE_ROWS: readonly OpcodeRow[] = [
  ...([[0x06, ES], [0x0e, CS], [0x16, SS], [0x1e, DS]] as const).map(([opcode, index]) =>
    [opcode, NO64, pushSegment(index)] as const
  ),
  ...([[0x07, ES], [0x17, SS], [0x1f, DS]] as const).map(([opcode, index]) =>
    [opcode, NO64, popSegment(index)] as const
  ),
  [0x0fa0, STACK, pushSegment(FS)],
  [0x0fa1, STACK, popSegment(FS)],
  [0x0fa8, STACK, pushSegment(GS)],
  [0x0fa9, STACK, popSegment(GS)],
  ...span(
    0x50,
    8,
    STACK,
    (core, insn) => core.push(core.register(opcodeRegister(insn), insn.size), insn.size),
  ),
  ...span(0x58, 8, STACK, (core, insn) => {
    const value = core.pop(insn.size);
    core.setRegister(opcodeRegister(insn), insn.size, value);
  }),
  [0x60, NO64, pushAll],
  [0x61, NO64, popAll],
  [0x63, MODRM, (core) => {
    // ARPL outside 64-bit code is rare enough to stay out; MOVSXD in it.
    if (core.code !== 8) throw undefinedOpcode();
    core.setReg(BigInt.asUintN(64, BigInt.asIntN(32, core.rm(4))));
  }],
  [0x68, STACK | IMMZ, (core, { size, immediate }) => core.push(BigInt.asUintN(8 * size, immediate), size)],
  [0x6a, STACK | IMM8, (core, { size, immediate }) => core.push(BigInt.asUintN(8 * size, immediate), size)],
  [0x86, MODRM | BYTE, exchange],
  [0x87, MODRM, exchange],
  [0x88, MODRM | BYTE, (core) => core.setRm(core.reg())],
  [0x89, MODRM, (core) => core.setRm(core.reg())],
  [0x8a, MODRM | BYTE, (core) => core.setReg(core.rm())],
  [0x8b, MODRM, (core) => core.setReg(core.rm())],
  [0x8c, MODRM, fromSegment],
  [0x8d, MODRM, (core, { mod, offset, size }) => {
    if (mod === 3) throw undefinedOpcode();
    core.setReg(BigInt.asUintN(8 * size, offset));
  }],
  [0x8e, MODRM, toSegment],
  [0x8f, MODRM | STACK, popRm],
  ...span(0x90, 8, 0, (core, insn) => {
    const index = opcodeRegister(insn);
    // 90 is NOP (and PAUSE), not XCHG EAX, EAX, which would clear the upper half.
    if (index === RAX) return;
    const a = core.register(RAX, insn.size);
    core.setRegister(RAX, insn.size, core.register(index, insn.size));
    core.setRegister(index, insn.size, a);
  }),
  [0x98, 0, extendAccumulator],
  [0x99, 0, extendToD],
  [0x9e, 0, (core) => {
    core.flags = (core.flags & ~STATUS) | (Number(core.regs[RAX] >> 8n & 0xffn) & STATUS);
  }],
  [0x9f, 0, (core) => core.setRegister(RAX, 2, BigInt(core.flags & 0xff) << 8n | core.register(RAX, 1))],
  [0xa0, BYTE | OFFSET, (core, i) => core.setRegister(RAX, 1, core.mmu.load(i.dataSegment, i.offset, 1))],
  [0xa1, OFFSET, (core, i) => core.setRegister(RAX, i.size, core.mmu.load(i.dataSegment, i.offset, i.size))],
  [0xa2, BYTE | OFFSET, (core, i) => core.mmu.store(i.dataSegment, i.offset, 1, core.register(RAX, 1))],
  [0xa3, OFFSET, (core, i) => core.mmu.store(i.dataSegment, i.offset, i.size, core.register(RAX, i.size))],
  ...span(0xb0, 8, BYTE | IMM8, (core, insn) => core.setRegister(opcodeRegister(insn), 1, insn.immediate)),
  ...span(0xb8, 8, IMMV, (core, insn) => core.setRegister(opcodeRegister(insn), insn.size, insn.immediate)),
  [0xc4, MODRM | NO64, loadFar(ES)],
  [0xc5, MODRM | NO64, loadFar(DS)],
  [0x0fb2, MODRM, loadFar(SS)],
  [0x0fb4, MODRM, loadFar(FS)],
  [0x0fb5, MODRM, loadFar(GS)],
  [0xc6, MODRM | BYTE | IMM8, (core, { immediate }) => core.setRm(immediate & 0xffn)],
  [0xc7, MODRM | IMMZ, (core, { immediate, size }) => core.setRm(BigInt.asUintN(8 * size, immediate))],
  [0xc8, STACK | IMM16 | IMM8, enter],
  [0xc9, STACK, leave],
  [0xd7, 0, translateByte],
  ...[0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf].map((opcode) => [opcode, MODRM, extend] as const),
  // MOVNTI: the cache hint means nothing here.
  [0x0fc3, MODRM, (core) => core.setRm(core.reg())],
];
