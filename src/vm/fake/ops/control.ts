import { condition } from "../alu.ts";
import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import { deliver } from "../interrupts.ts";
import { checkTarget, farReturn, interruptReturn } from "../return.ts";
import { type OpcodeRow, span } from "../row.ts";
import { codeSegment, isGate, realSegment, setSegment } from "../segments.ts";
import { Breakpoint3, generalProtection, Undecodable, undefinedOpcode, VECTOR } from "../signals.ts";
import { CS, FLAG, RCX, type Size } from "../state.ts";
import { incDec } from "./arithmetic.ts";

const { MODRM, IMM8, IMM16, IMMZ, FAR, STACK, BRANCH, NO64 } = FORM;

function relative(core: Core, { immediate, size }: Instruction): void {
  core.jump(core.rip + immediate, size);
}

function call(core: Core, target: bigint, size: Size): void {
  const next = core.rip;
  core.jump(target, size);
  core.push(next, size);
}

/** Far JMP and CALL. Gates and tasks are outside the subset. */
function far(core: Core, selector: number, offset: bigint, size: Size, returns: boolean): void {
  if (isGate(core, selector)) throw new Undecodable("gates and tasks are not known to the interpreter");
  const before = core.seg[CS].selector;
  const next = core.rip;
  const code = core.protectedMode ? codeSegment(core, selector) : undefined;
  checkTarget(core, code ?? core.seg[CS], offset);
  if (returns) {
    core.push(BigInt(before), size);
    core.push(next, size);
  }
  if (code === undefined) realSegment(core, CS, selector);
  else setSegment(core, CS, code);
  core.rip = offset;
}

function returnFar(core: Core, { size, immediate }: Instruction, extra: boolean): void {
  const free = extra ? Number(immediate) : 0;
  const ip = core.peek(0, size);
  const cs = Number(core.peek(size, size) & 0xffffn);
  if (core.protectedMode) return farReturn(core, ip, cs, size, 2, free);
  if (Number(ip) > core.seg[CS].limit) throw generalProtection();
  core.sp = core.sp + BigInt(2 * size + free);
  realSegment(core, CS, cs);
  core.rip = ip;
}

function returnNear(core: Core, { size }: Instruction, free: bigint): void {
  const target = core.pop(size);
  core.jump(target, size);
  core.sp = core.sp + free;
}

/** LOOPNE, LOOPE, LOOP, JCXZ: E0 to E3. */
function loop(core: Core, insn: Instruction): void {
  const { opcode, addressSize } = insn;
  if (opcode === 0xe3) {
    if (core.register(RCX, addressSize) === 0n) relative(core, insn);
    return;
  }
  core.setRegister(RCX, addressSize, core.register(RCX, addressSize) - 1n);
  const wanted = opcode === 0xe2 || core.has(FLAG.ZF) === (opcode === 0xe1);
  if (core.register(RCX, addressSize) !== 0n && wanted) relative(core, insn);
}

function group5(core: Core, insn: Instruction): void {
  const { size, mod, segment, offset } = insn;
  switch (insn.reg & 7) {
    case 0:
    case 1:
      return incDec(core, insn);
    case 2:
    case 4: {
      // Near branches and PUSH have 64-bit operands in 64-bit code; INC, DEC and far branches have not.
      const wide: Size = core.code === 8 ? 8 : size;
      const target = core.rm(wide);
      return (insn.reg & 7) === 2 ? call(core, target, wide) : core.jump(target, wide);
    }
    case 3:
    case 5: {
      if (mod === 3) throw undefinedOpcode();
      const target = core.mmu.load(segment, offset, size);
      const selector = Number(core.mmu.load(segment, offset + BigInt(size), 2));
      return far(core, selector, target, size, (insn.reg & 7) === 3);
    }
    case 6: {
      const wide: Size = core.code === 8 && size === 4 ? 8 : size;
      return core.push(core.rm(wide), wide);
    }
    default:
      throw undefinedOpcode();
  }
}

function softwareInterrupt(core: Core, vector: number): void {
  deliver(core, vector, "software", core.rip, undefined);
}

/** Branches, calls, returns, interrupts. */
export const CONTROL_ROWS: readonly OpcodeRow[] = [
  ...span(0x70, 16, IMM8 | BRANCH, (core, insn) => {
    if (condition(insn.opcode, core.flags)) relative(core, insn);
  }),
  ...span(0x0f80, 16, IMMZ | BRANCH, (core, insn) => {
    if (condition(insn.opcode, core.flags)) relative(core, insn);
  }),
  [0x9a, FAR | NO64, (core, i) => far(core, i.immediate2, i.immediate, i.size, true)],
  [0xea, FAR | NO64, (core, i) => far(core, i.immediate2, i.immediate, i.size, false)],
  [0xc2, IMM16 | BRANCH, (core, insn) => returnNear(core, insn, insn.immediate)],
  [0xc3, BRANCH, (core, insn) => returnNear(core, insn, 0n)],
  [0xca, IMM16, (core, insn) => returnFar(core, insn, true)],
  [0xcb, 0, (core, insn) => returnFar(core, insn, false)],
  [0xcc, 0, (core) => {
    if (core.int3) throw new Breakpoint3();
    softwareInterrupt(core, VECTOR.BP);
  }],
  [0xcd, IMM8, (core, { immediate }) => softwareInterrupt(core, Number(immediate & 0xffn))],
  [0xce, NO64, (core) => {
    if (core.has(FLAG.OF)) softwareInterrupt(core, VECTOR.OF);
  }],
  [0xcf, 0, (core, { size }) => interruptReturn(core, size)],
  ...span(0xe0, 4, IMM8 | BRANCH, loop),
  [0xe8, IMMZ | BRANCH, (core, i) => call(core, core.rip + i.immediate, i.size)],
  [0xe9, IMMZ | BRANCH, relative],
  [0xeb, IMM8 | BRANCH, relative],
  [0xff, MODRM, group5],
  // PUSHF and POPF: the stack's business, but for what the level may change.
  [0x9c, STACK, (core, { size }) => core.push(BigInt(core.flags & ~(FLAG.RF | FLAG.VM)), size)],
];
