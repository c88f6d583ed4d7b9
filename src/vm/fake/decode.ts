import type { Core } from "./core.ts";
import { FORM, type Instruction } from "./instruction.ts";
import { generalProtection, Undecodable, undefinedOpcode } from "./signals.ts";
import { CS, DS, ES, FS, GS, MASK, RBP, RSP, SS } from "./state.ts";
import { type Row, rowOf } from "./table.ts";

/** The longest an instruction can be (SDM vol. 2A, 2.3.11). */
const MAX_LENGTH = 15;
const PAGE = 0x1000;
const NOTHING = new Uint8Array(0);

/** Fetches and decodes instructions of one vCPU. */
export class Decoder {
  /** The bytes of the instruction in hand, `length` of them fetched so far. */
  readonly bytes = new Uint8Array(MAX_LENGTH);
  length = 0;
  readonly #core: Core;
  #position = 0;
  /** Memory that the bytes come from, the next one's place in it, and the end of its page there. */
  #memory: Uint8Array = NOTHING;
  #at = 0;
  #end = 0;
  /** Segment override, if there was one. */
  #override: number | undefined;
  /** Whether the address is relative to the next instruction, which is known once the immediates are. */
  #relative = false;
  #displacement = 0n;

  constructor(core: Core) {
    this.#core = core;
  }

  /**
   * Decodes the instruction at RIP into `core.insn` and gives its row.
   *
   * @param again Whether the bytes fetched last are to be used: an instruction that is executed again after
   * an access was answered is the one that began, even if memory changed.
   * @throws {GuestFault} If the fetch faults or the instruction is not one.
   * @throws {Undecodable} If the interpreter does not know it.
   */
  decode(again: boolean): Row {
    const core = this.#core;
    this.#position = 0;
    if (!again) this.length = 0;
    this.#at = this.#end = 0;
    const insn = core.insn;
    let opcode = this.#prefixes(insn);
    if (opcode === 0x0f) opcode = 0x0f00 | this.#byte();
    insn.opcode = opcode;
    const row = rowOf(opcode);
    if (row === undefined || isVex(core, opcode, this.#peek())) {
      throw new Undecodable(`opcode 0x${opcode.toString(16)} is not known to the interpreter`);
    }
    const { form } = row;
    if ((form & FORM.NO64) !== 0 && core.code === 8) throw undefinedOpcode();
    this.#sizes(insn, form);
    if ((form & FORM.MODRM) !== 0) this.#modrm(insn, form);
    this.#immediates(insn, form);
    insn.length = this.#position;
    if (core.code !== 8 && Number(core.rip) + insn.length - 1 > core.seg[CS].limit) throw generalProtection();
    return row;
  }

  /** The instruction's bytes and what follows them in its page, 15 at most: for an error message. */
  window(): Uint8Array {
    const rest = this.#memory.subarray(this.#at, Math.min(this.#end, this.#at + MAX_LENGTH - this.length));
    const out = new Uint8Array(this.length + rest.length);
    out.set(this.bytes.subarray(0, this.length));
    out.set(rest, this.length);
    return out;
  }

  #prefixes(insn: Instruction): number {
    const code = this.#core.code;
    insn.rex = 0;
    insn.repeat = 0;
    insn.lock = false;
    let override: number | undefined;
    let operand = false;
    let address = false;
    for (;;) {
      const byte = this.#byte();
      if (code === 8 && (byte & 0xf0) === 0x40) {
        insn.rex = byte;
        continue;
      }
      const segment = SEGMENT_PREFIX[byte];
      if (segment !== undefined) override = segment;
      else if (byte === 0x66) operand = true;
      else if (byte === 0x67) address = true;
      else if (byte === 0xf0) insn.lock = true;
      else if (byte === 0xf2 || byte === 0xf3) insn.repeat = byte;
      else {
        insn.operandSize = (insn.rex & 8) !== 0 ? 8 : (code === 2) === operand ? 4 : 2;
        insn.addressSize = code === 8 ? (address ? 4 : 8) : (code === 2) === address ? 4 : 2;
        // In 64-bit code ES, CS, SS and DS overrides are ignored (SDM vol. 2A, 2.1.1).
        if (code === 8 && override !== undefined && override < FS) override = undefined;
        insn.dataSegment = override ?? DS;
        insn.segment = insn.dataSegment;
        this.#override = override;
        return byte;
      }
      // A REX prefix counts only right before the opcode.
      insn.rex = 0;
    }
  }

  #sizes(insn: Instruction, form: number): void {
    if (this.#core.code === 8) {
      if ((form & FORM.BRANCH) !== 0) insn.operandSize = 8;
      else if ((form & FORM.STACK) !== 0 && insn.operandSize === 4) insn.operandSize = 8;
    }
    insn.size = (form & FORM.BYTE) !== 0 ? 1 : insn.operandSize;
  }

  #modrm(insn: Instruction, form: number): void {
    const byte = this.#byte();
    insn.mod = (form & FORM.REGISTER) !== 0 ? 3 : byte >> 6;
    insn.reg = ((byte >> 3) & 7) | ((insn.rex & 4) << 1);
    insn.rm = byte & 7;
    if (insn.mod === 3) insn.rm |= (insn.rex & 1) << 3;
    else if (insn.addressSize === 2) this.#address16(insn);
    else this.#address(insn);
  }

  /** SDM vol. 2A, table 2-1. */
  #address16(insn: Instruction): void {
    const regs = this.#core.regs;
    let offset = 0n;
    let stack = false;
    if (insn.mod === 0 && insn.rm === 6) offset = this.#signed(2);
    else {
      const [base, index] = ADDRESS_16[insn.rm];
      offset = regs[base] + (index === undefined ? 0n : regs[index]);
      stack = base === RBP;
      if (insn.mod === 1) offset += this.#signed(1);
      else if (insn.mod === 2) offset += this.#signed(2);
    }
    insn.offset = offset & MASK[2];
    insn.segment = this.#override ?? (stack ? SS : DS);
  }

  /** SDM vol. 2A, tables 2-2 and 2-3; RIP-relative: 2.2.1.6. */
  #address(insn: Instruction): void {
    const { regs, code } = this.#core;
    let offset = 0n;
    let stack = false;
    let relative = false;
    insn.stackBased = false;
    if (insn.rm === 4) {
      const sib = this.#byte();
      const base = (sib & 7) | ((insn.rex & 1) << 3);
      const index = ((sib >> 3) & 7) | ((insn.rex & 2) << 2);
      if ((sib & 7) === 5 && insn.mod === 0) offset = this.#signed(4);
      else {
        offset = regs[base];
        insn.stackBased = base === RSP;
        stack = base === RSP || base === RBP;
      }
      if (index !== 4) offset += regs[index] << BigInt(sib >> 6);
    } else if (insn.rm === 5 && insn.mod === 0) {
      offset = this.#signed(4);
      relative = code === 8;
    } else {
      const base = insn.rm | ((insn.rex & 1) << 3);
      offset = regs[base];
      stack = base === RBP;
    }
    if (insn.mod === 1) offset += this.#signed(1);
    else if (insn.mod === 2) offset += this.#signed(4);
    insn.segment = this.#override ?? (stack ? SS : DS);
    this.#relative = relative;
    insn.offset = offset & MASK[insn.addressSize];
    this.#displacement = offset;
  }

  #immediates(insn: Instruction, form: number): void {
    const size = insn.operandSize;
    if ((form & FORM.TEST) !== 0 && (insn.reg & 7) > 1) form &= ~(FORM.IMM8 | FORM.IMMZ);
    if ((form & FORM.IMM16) !== 0) insn.immediate = this.#signed(2) & MASK[2];
    if ((form & FORM.IMM8) !== 0) {
      const value = this.#signed(1);
      if ((form & FORM.IMM16) !== 0) insn.immediate2 = Number(value & 0xffn);
      else insn.immediate = BigInt.asUintN(64, value);
    }
    if ((form & FORM.IMMZ) !== 0) insn.immediate = BigInt.asUintN(64, this.#signed(size === 2 ? 2 : 4));
    if ((form & FORM.IMMV) !== 0) insn.immediate = BigInt.asUintN(64, this.#signed(size));
    if ((form & FORM.OFFSET) !== 0) insn.offset = this.#signed(insn.addressSize) & MASK[insn.addressSize];
    if ((form & FORM.FAR) !== 0) {
      insn.immediate = this.#signed(size === 2 ? 2 : 4) & MASK[size];
      insn.immediate2 = Number(this.#signed(2) & MASK[2]);
    }
    if (this.#relative) {
      this.#relative = false;
      const next = this.#core.rip + BigInt(this.#position);
      insn.offset = (this.#displacement + next) & MASK[insn.addressSize];
    }
  }

  /** The next `size` bytes as a signed number. */
  #signed(size: number): bigint {
    let value = 0;
    const low = Math.min(size, 4);
    for (let i = 0; i < low; i++) value |= this.#byte() << (8 * i);
    if (size <= 4) return BigInt(value << (32 - 8 * size) >> (32 - 8 * size));
    return BigInt.asIntN(64, BigInt(value >>> 0) | this.#signed(4) << 32n);
  }

  #byte(): number {
    if (this.#position >= MAX_LENGTH) throw generalProtection();
    if (this.#position < this.length) return this.bytes[this.#position++];
    if (this.#at === this.#end) this.#fetch();
    const byte = this.#memory[this.#at++];
    this.bytes[this.length++] = byte;
    return this.bytes[this.#position++] = byte;
  }

  /** Finds the page of the next byte. */
  #fetch(): void {
    const { mmu, memory, pc } = this.#core;
    const place = mmu.code(pc + BigInt(this.length));
    const area = memory.area(place);
    if (area === undefined) throw new Undecodable("the code is not in memory");
    this.#memory = area.bytes;
    this.#at = place - area.from;
    this.#end = this.#at + PAGE - place % PAGE;
  }

  /** The byte behind the opcode if it was fetched or lies in the same page; for telling VEX from LES and LDS. */
  #peek(): number {
    return this.#position < this.length
      ? this.bytes[this.#position]
      : this.#at < this.#end
      ? this.#memory[this.#at]
      : 0;
  }
}

const SEGMENT_PREFIX: Readonly<Record<number, number>> = {
  0x26: ES,
  0x2e: CS,
  0x36: SS,
  0x3e: DS,
  0x64: FS,
  0x65: GS,
};

/** Base and index registers of 16-bit addressing: BX 3, BP 5, SI 6, DI 7. */
const ADDRESS_16: readonly (readonly [number, number?])[] = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], [5], [
  3,
]];

/** C4 and C5 are VEX prefixes in 64-bit code, and before a ModRM with mod 3 (SDM vol. 2A, 2.3.5). */
function isVex(core: Core, opcode: number, next: number): boolean {
  return (opcode === 0xc4 || opcode === 0xc5) && (core.code === 8 || next >= 0xc0);
}
