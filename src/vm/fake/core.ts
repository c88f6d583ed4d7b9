import { AccessLog } from "./accesses.ts";
import { Instruction } from "./instruction.ts";
import { Mmu } from "./mmu.ts";
import type { PhysicalMemory } from "./physical.ts";
import { ReportLog } from "./reports.ts";
import { generalProtection } from "./signals.ts";
import { CS, MASK, RSP, type Size, SS, State } from "./state.ts";

/** What executes an instruction once it is decoded. */
export type Handler = (core: Core, insn: Instruction) => void;

/** State of a vCPU with the means its instructions share: operands, stack, memory, ports. */
export class Core extends State {
  readonly log = new AccessLog();
  readonly mmu: Mmu;
  readonly insn = new Instruction();
  /** Whether INT3 goes to the debugger. */
  int3 = false;
  /** MSRs whose accesses go to the debugger. */
  trappedMsrs: ReadonlySet<number> = new Set();
  readonly reports = new ReportLog();
  /** Whether repeated string instructions may run many iterations at once. */
  bursts = true;
  /** Iterations done beyond one for each instruction, for the accounting of slices. */
  iterations = 0;

  constructor(index: number, readonly memory: PhysicalMemory) {
    super(index);
    this.mmu = new Mmu(this, memory, this.log);
  }

  /** A general register; 8-bit numbers 4..7 are AH, CH, DH, BH unless a REX prefix stands before. */
  register(index: number, size: Size): bigint {
    if (size === 8) return this.regs[index];
    if (size === 1 && index >= 4 && index < 8 && this.insn.rex === 0) {
      return this.regs[index - 4] >> 8n & 0xffn;
    }
    return this.regs[index] & MASK[size];
  }

  /** Sets a general register: 32-bit writes clear the upper half, 8- and 16-bit ones leave the rest. */
  setRegister(index: number, size: Size, value: bigint): void {
    const regs = this.regs;
    if (size === 8) regs[index] = value;
    else if (size === 4) regs[index] = value & MASK[4];
    else if (size === 2) regs[index] = regs[index] & ~MASK[2] | value & MASK[2];
    else if (index >= 4 && index < 8 && this.insn.rex === 0) {
      regs[index - 4] = regs[index - 4] & ~0xff00n | (value & 0xffn) << 8n;
    } else regs[index] = regs[index] & ~0xffn | value & 0xffn;
  }

  /** The operand that ModRM's reg field names. */
  reg(size: Size = this.insn.size): bigint {
    return this.register(this.insn.reg, size);
  }

  /** Sets the operand that ModRM's reg field names. */
  setReg(value: bigint, size: Size = this.insn.size): void {
    this.setRegister(this.insn.reg, size, value);
  }

  /** The operand that ModRM's mod and rm fields name: register or memory. */
  rm(size: Size = this.insn.size): bigint {
    const { mod, rm, segment, offset } = this.insn;
    return mod === 3 ? this.register(rm, size) : this.mmu.load(segment, offset, size);
  }

  /** Sets the operand that ModRM's mod and rm fields name. */
  setRm(value: bigint, size: Size = this.insn.size): void {
    const { mod, rm, segment, offset } = this.insn;
    if (mod === 3) this.setRegister(rm, size, value);
    else this.mmu.store(segment, offset, size, value);
  }

  /** SP, ESP or RSP, by the stack segment. */
  get sp(): bigint {
    return this.regs[RSP] & MASK[this.stack];
  }

  set sp(value: bigint) {
    this.setRegister(RSP, this.stack, value);
  }

  /** Pushes `size` bytes. */
  push(value: bigint, size: Size): void {
    const sp = (this.sp - BigInt(size)) & MASK[this.stack];
    this.mmu.store(SS, sp, size, value);
    this.sp = sp;
  }

  /** Pops `size` bytes. */
  pop(size: Size): bigint {
    const value = this.peek(0, size);
    this.sp = this.sp + BigInt(size);
    return value;
  }

  /** The value `bytes` above the top of the stack, which stays. */
  peek(bytes: number, size: Size): bigint {
    return this.mmu.load(SS, (this.sp + BigInt(bytes)) & MASK[this.stack], size);
  }

  /** Near jump: `target` cut to the operand size, checked against CS's limit. */
  jump(target: bigint, size: Size): void {
    const to = target & MASK[size];
    if (this.code === 8) this.mmu.linear(CS, to, 1, false);
    else if (Number(to) > this.seg[CS].limit) throw generalProtection();
    this.rip = to;
  }

  /** Whether an arithmetic flag is set. */
  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** Sets or clears a flag. */
  put(flag: number, on: boolean): void {
    this.flags = on ? this.flags | flag : this.flags & ~flag;
  }

  /**
   * An iteration of a repeated instruction is done and another follows: keeps its effect and counts it.
   * Returns whether the next one may follow at once.
   */
  iterated(): boolean {
    this.rip = this.savedRip;
    this.save();
    this.log.clear();
    this.iterations++;
    return this.bursts && this.iterations % 1024 !== 0;
  }
}
