import { XCR0 } from "../../exit.ts";
import { cpuid } from "../cpuid.ts";
import { getVector, setVector } from "../xsave.ts";
import {
  readControl,
  readDebug,
  readMsr,
  setXcr0,
  writeControl,
  writeDebug,
  writeMsr,
} from "../control_registers.ts";
import type { Core } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import { changeable, setFlags } from "../return.ts";
import { type OpcodeRow, span } from "../row.ts";
import { readDescriptor } from "../segments.ts";
import { generalProtection, GuestFault, Halted, Undecodable, undefinedOpcode, VECTOR } from "../signals.ts";
import { ATTRIBUTE, FLAG, GS, LDTR, RAX, RBX, RCX, RDX, type Segment, type Size, TR } from "../state.ts";
import { MSR } from "../msr.ts";

const CR0_TS = 1n << 3n;

const { MODRM, BYTE, STACK, REGISTER } = FORM;

/** @throws {GuestFault} #GP(0) unless on level 0. */
function privileged(core: Core): void {
  if (core.cpl !== 0) throw generalProtection();
}

function flag(bit: number, on: boolean) {
  return (core: Core) => core.put(bit, on);
}

/** CLI and STI need CPL <= IOPL in protected mode. */
function interruptFlag(on: boolean) {
  return (core: Core) => {
    if (core.protectedMode && core.cpl > (core.flags >> 12 & 3)) throw generalProtection();
    // STI's effect on interrupts is held back by one instruction, if they were off.
    if (on && !core.has(FLAG.IF)) core.shadow = 2;
    core.put(FLAG.IF, on);
  };
}

/** LLDT and LTR. */
function loadSystemSegment(core: Core, index: number, selector: number): void {
  privileged(core);
  if (!core.protectedMode) throw undefinedOpcode();
  const bad = generalProtection(selector & 0xfffc);
  if ((selector & 0xfffc) === 0) {
    if (index === TR) throw bad;
    core.seg[LDTR] = { selector, base: 0n, limit: 0, attributes: ATTRIBUTE.UNUSABLE };
    return;
  }
  if ((selector & 4) !== 0) throw bad;
  const d = readDescriptor(core, selector);
  const available = index === LDTR ? d.type === 2 : d.type === 9 || (d.type === 1 && !core.longMode);
  if (!d.system || !available) throw bad;
  if (!d.present) throw new GuestFault(VECTOR.NP, selector & 0xfffc);
  // In long mode the descriptor has 16 bytes, the upper half of the base in the third doubleword.
  const high = core.longMode ? (core.mmu.loadSystem(d.at + 8n, 4) << 32n) : 0n;
  const segment: Segment = { selector, base: d.base | high, limit: d.limit, attributes: d.attributes };
  if (index === TR) {
    core.mmu.storeSystem(d.at + 5n, 1, BigInt((d.attributes | 2) & 0xff));
    segment.attributes |= 2;
  }
  core.seg[index] = segment;
}

function group0f00(core: Core, insn: Instruction): void {
  switch (insn.reg & 7) {
    case 0:
    case 1: {
      const { selector } = core.seg[(insn.reg & 7) === 0 ? LDTR : TR];
      return core.setRm(BigInt(selector), insn.mod === 3 ? insn.operandSize : 2);
    }
    case 2:
      return loadSystemSegment(core, LDTR, Number(core.rm(2)));
    case 3:
      return loadSystemSegment(core, TR, Number(core.rm(2)));
    default:
      throw new Undecodable("VERR and VERW are not known to the interpreter");
  }
}

/** The instructions of 0F 01 without a memory operand, by ModRM. */
const REGISTER_FORMS: Readonly<Record<number, (core: Core) => void>> = {
  0xd0: (core) => {
    setPair(core, core.regs[RCX] === 0n ? core.xcr0 : 0n);
  },
  0xd1: (core) => {
    privileged(core);
    const before = core.xcr0;
    setXcr0(core, Number(core.register(RCX, 4)), pairOf(core));
    core.reports.control(core, XCR0, before);
  },
  0xf8: (core) => {
    if (core.code !== 8) throw undefinedOpcode();
    privileged(core);
    const other = core.msrs.get(MSR.KERNEL_GS_BASE) ?? 0n;
    core.msrs.set(MSR.KERNEL_GS_BASE, core.seg[GS].base);
    core.seg[GS].base = other;
  },
  0xf9: (core) => {
    setPair(core, core.tsc);
    core.setRegister(RCX, 4, core.msrs.get(MSR.TSC_AUX) ?? 0n);
  },
};

function group0f01(core: Core, insn: Instruction): void {
  const { mod, segment, offset, operandSize } = insn;
  const which = insn.reg & 7;
  if (which === 4) return core.setRm(core.cr0, mod === 3 ? operandSize : 2);
  if (which === 6) {
    privileged(core);
    // LMSW can set PE but not clear it.
    return changeControl(core, 0, (core.cr0 & ~0xen) | (core.rm(2) & 0xfn));
  }
  if (mod === 3) {
    const run = REGISTER_FORMS[0xc0 | (which << 3) | (insn.rm & 7)];
    if (run === undefined) throw new Undecodable("this form of 0F 01 is not known to the interpreter");
    return run(core);
  }
  if (which === 7) return privileged(core);
  if (which === 5) throw undefinedOpcode();
  const bytes = core.code === 8 ? 8 : 4;
  if (which < 2) {
    const table = which === 0 ? core.gdtr : core.idtr;
    core.mmu.store(segment, offset, 2, BigInt(table.limit));
    return core.mmu.store(segment, offset + 2n, bytes, table.base);
  }
  privileged(core);
  const limit = Number(core.mmu.load(segment, offset, 2));
  const base = core.mmu.load(segment, offset + 2n, bytes);
  // With 16-bit operands only 24 bits of the base count (SDM vol. 2A, LGDT/LIDT).
  const table = { limit, base: operandSize === 2 && core.code !== 8 ? base & 0xffffffn : base };
  if (which === 2) core.gdtr = table;
  else core.idtr = table;
}

function moveControl(core: Core, insn: Instruction): void {
  privileged(core);
  const wide: Size = core.code === 8 ? 8 : 4;
  if (insn.opcode === 0x0f20) return core.setRegister(insn.rm, wide, readControl(core, insn.reg));
  changeControl(core, insn.reg, core.register(insn.rm, wide));
}

function changeControl(core: Core, register: number, value: bigint): void {
  const before = readControl(core, register);
  writeControl(core, register, value);
  core.reports.control(core, register, before);
}

function moveDebug(core: Core, insn: Instruction): void {
  privileged(core);
  const wide: Size = core.code === 8 ? 8 : 4;
  if (insn.opcode === 0x0f21) return core.setRegister(insn.rm, wide, readDebug(core, insn.reg));
  writeDebug(core, insn.reg, core.register(insn.rm, wide));
}

const pairOf = (core: Core) => core.register(RDX, 4) << 32n | core.register(RAX, 4);

function setPair(core: Core, value: bigint): void {
  core.setRegister(RAX, 4, value);
  core.setRegister(RDX, 4, value >> 32n);
}

function rdmsr(core: Core): void {
  privileged(core);
  const index = Number(core.register(RCX, 4));
  const value = core.trappedMsrs.has(index) ? core.log.msrRead(index) : readMsr(core, index);
  if (value === undefined) throw generalProtection();
  setPair(core, value);
}

function wrmsr(core: Core): void {
  privileged(core);
  const index = Number(core.register(RCX, 4));
  const value = pairOf(core);
  const done = core.trappedMsrs.has(index) ? core.log.msrWrite(index, value) : writeMsr(core, index, value);
  if (!done) throw generalProtection();
}

/** CMPXCHG8B and CMPXCHG16B. */
function compareExchangePair(core: Core, insn: Instruction): void {
  if (insn.mod === 3 || (insn.reg & 7) !== 1) throw undefinedOpcode();
  const half: Size = insn.operandSize === 8 ? 8 : 4;
  const { segment, offset } = insn;
  const low = core.mmu.load(segment, offset, half);
  const high = core.mmu.load(segment, offset + BigInt(half), half);
  const equal = low === core.register(RAX, half) && high === core.register(RDX, half);
  core.mmu.store(segment, offset, half, equal ? core.register(RBX, half) : low);
  core.mmu.store(segment, offset + BigInt(half), half, equal ? core.register(RCX, half) : high);
  if (!equal) {
    core.setRegister(RAX, half, low);
    core.setRegister(RDX, half, high);
  }
  core.put(FLAG.ZF, equal);
}

const nothing = () => {};

/** Of the x87 only what boot code does with it before it asks for more (SDM vol. 2A, FINIT and FCLEX). */
function groupDb(core: Core, { mod, reg, rm }: Instruction): void {
  const which = mod === 3 && (reg & 7) === 4 ? rm & 7 : -1;
  if (which === 2) return setVector(core.xsave, "fsw", getVector(core.xsave, "fsw") & 0x7f00n);
  if (which !== 3) throw new Undecodable("opcode 0xdb is not known to the interpreter");
  for (const name of ["fsw", "fop", "fip", "fdp"] as const) setVector(core.xsave, name, 0n);
  setVector(core.xsave, "fcw", 0x37fn);
  setVector(core.xsave, "ftw", 0xffffn);
}

/** Flags, modes, tables, MSRs and what identifies the processor. */
export const SYSTEM_ROWS: readonly OpcodeRow[] = [
  [0x9b, 0, nothing],
  [0x9d, STACK, (core, { size }) => {
    const mask = changeable(core, size);
    setFlags(core, core.pop(size), mask);
  }],
  [0xdb, MODRM, groupDb],
  [0xf4, 0, (core) => {
    privileged(core);
    throw new Halted();
  }],
  [0xf5, 0, (core) => core.put(FLAG.CF, !core.has(FLAG.CF))],
  [0xf8, 0, flag(FLAG.CF, false)],
  [0xf9, 0, flag(FLAG.CF, true)],
  [0xfa, 0, interruptFlag(false)],
  [0xfb, 0, interruptFlag(true)],
  [0xfc, 0, flag(FLAG.DF, false)],
  [0xfd, 0, flag(FLAG.DF, true)],
  [0x0f00, MODRM, group0f00],
  [0x0f01, MODRM, group0f01],
  [0x0f06, 0, (core) => {
    privileged(core);
    changeControl(core, 0, core.cr0 & ~CR0_TS);
  }],
  [0x0f08, 0, privileged],
  [0x0f09, 0, privileged],
  [0x0f0b, 0, () => {
    throw undefinedOpcode();
  }],
  [0x0f0d, MODRM, nothing],
  ...span(0x0f18, 8, MODRM, nothing),
  [0x0f20, MODRM | REGISTER, moveControl],
  [0x0f21, MODRM | REGISTER, moveDebug],
  [0x0f22, MODRM | REGISTER, moveControl],
  [0x0f23, MODRM | REGISTER, moveDebug],
  [0x0f30, 0, wrmsr],
  [0x0f31, 0, (core) => setPair(core, core.tsc)],
  [0x0f32, 0, rdmsr],
  [0x0fa2, 0, (core) => {
    const leaf = Number(core.register(RAX, 4));
    const [a, b, c, d] = cpuid(leaf, core);
    core.reports.cpuid(leaf, [a, b, c, d]);
    core.setRegister(RAX, 4, BigInt(a));
    core.setRegister(RBX, 4, BigInt(b));
    core.setRegister(RCX, 4, BigInt(c));
    core.setRegister(RDX, 4, BigInt(d));
  }],
  [0x0fae, MODRM, (_core, { mod, reg }) => {
    // Fences and CLFLUSH need nothing done; the rest of the group is FPU state and unknown.
    const known = mod === 3 ? (reg & 7) >= 5 : (reg & 7) === 7;
    if (!known) throw new Undecodable("FPU state instructions are not known to the interpreter");
  }],
  [0x0fb9, MODRM | BYTE, () => {
    throw undefinedOpcode();
  }],
  [0x0fc7, MODRM, compareExchangePair],
];
