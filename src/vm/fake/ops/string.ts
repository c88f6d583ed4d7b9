import { sub } from "../alu.ts";
import type { Core, Handler } from "../core.ts";
import { FORM, type Instruction } from "../instruction.ts";
import type { OpcodeRow } from "../row.ts";
import { ES, FLAG, RAX, RCX, RDI, RDX, RSI, type Size } from "../state.ts";
import { checkPort } from "./ports.ts";

const { BYTE } = FORM;

/** Moves RSI or RDI on by one element, in the direction that DF says. */
function advance(core: Core, index: number, { addressSize, size }: Instruction): void {
  const step = core.has(FLAG.DF) ? -BigInt(size) : BigInt(size);
  core.setRegister(
    index,
    addressSize,
    BigInt.asUintN(8 * addressSize, core.register(index, addressSize) + step),
  );
}

function source(core: Core, insn: Instruction): bigint {
  return core.mmu.load(insn.dataSegment, core.register(RSI, insn.addressSize), insn.size);
}

function destination(core: Core, insn: Instruction): bigint {
  return core.mmu.load(ES, core.register(RDI, insn.addressSize), insn.size);
}

function setDestination(core: Core, insn: Instruction, value: bigint): void {
  core.mmu.store(ES, core.register(RDI, insn.addressSize), insn.size, value);
}

function movs(core: Core, insn: Instruction): void {
  setDestination(core, insn, source(core, insn));
  advance(core, RSI, insn);
  advance(core, RDI, insn);
}

function cmps(core: Core, insn: Instruction): void {
  core.flags = sub(source(core, insn), destination(core, insn), insn.size, core.flags).flags;
  advance(core, RSI, insn);
  advance(core, RDI, insn);
}

function stos(core: Core, insn: Instruction): void {
  setDestination(core, insn, core.register(RAX, insn.size));
  advance(core, RDI, insn);
}

function lods(core: Core, insn: Instruction): void {
  core.setRegister(RAX, insn.size, source(core, insn));
  advance(core, RSI, insn);
}

function scas(core: Core, insn: Instruction): void {
  core.flags = sub(core.register(RAX, insn.size), destination(core, insn), insn.size, core.flags).flags;
  advance(core, RDI, insn);
}

/** Port I/O has no 64-bit form. */
function portSize(insn: Instruction): Size {
  if (insn.size === 8) insn.size = 4;
  return insn.size;
}

function ins(core: Core, insn: Instruction): void {
  const size = portSize(insn);
  const port = Number(core.regs[RDX] & 0xffffn);
  checkPort(core, port, size);
  setDestination(core, insn, core.log.portIn(port, size));
  advance(core, RDI, insn);
}

function outs(core: Core, insn: Instruction): void {
  const size = portSize(insn);
  const port = Number(core.regs[RDX] & 0xffffn);
  checkPort(core, port, size);
  core.log.portOut(port, size, source(core, insn));
  advance(core, RSI, insn);
}

/**
 * REP, REPE and REPNE (SDM vol. 2B, REP). Every iteration is complete in itself: a fault or an exit in one
 * leaves RCX, RSI and RDI as after the one before, and RIP at the instruction.
 */
function repeated(once: Handler, compares: boolean): Handler {
  return (core, insn) => {
    if (insn.repeat === 0) return once(core, insn);
    const next = core.rip;
    for (;;) {
      const count = core.register(RCX, insn.addressSize);
      if (count === 0n) break;
      once(core, insn);
      core.setRegister(RCX, insn.addressSize, count - 1n);
      if (count === 1n || (compares && core.has(FLAG.ZF) !== (insn.repeat === 0xf3))) break;
      if (!core.iterated()) return;
    }
    core.rip = next;
  };
}

function pair(opcode: number, once: Handler, compares = false): OpcodeRow[] {
  const run = repeated(once, compares);
  return [[opcode, BYTE, run], [opcode + 1, 0, run]];
}

/** String instructions. */
export const STRING_ROWS: readonly OpcodeRow[] = [
  ...pair(0x6c, ins),
  ...pair(0x6e, outs),
  ...pair(0xa4, movs),
  ...pair(0xa6, cmps, true),
  ...pair(0xaa, stos),
  ...pair(0xac, lods),
  ...pair(0xae, scas, true),
];
