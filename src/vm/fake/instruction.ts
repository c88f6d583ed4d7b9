import { DS, type Size } from "./state.ts";

/** What follows an opcode and how wide its operands are. Combined with `|`. */
export const FORM = {
  /** A ModRM byte. */
  MODRM: 1 << 0,
  /** Operands of 8 bits. */
  BYTE: 1 << 1,
  /** An immediate of 8 bits, sign-extended. */
  IMM8: 1 << 2,
  /** An immediate of the operand size, at most 32 bits, sign-extended. */
  IMMZ: 1 << 3,
  /** An immediate of the operand size. */
  IMMV: 1 << 4,
  /** An immediate of 16 bits, not extended. Comes before IMM8. */
  IMM16: 1 << 5,
  /** An absolute offset of the address size. */
  OFFSET: 1 << 6,
  /** A far pointer: offset of the operand size, then a selector. */
  FAR: 1 << 7,
  /** 64-bit operands by default in 64-bit code (stack instructions). */
  STACK: 1 << 8,
  /** 64-bit operands always in 64-bit code (near branches; SDM vol. 2A, 2.2.1.7). */
  BRANCH: 1 << 9,
  /** #UD in 64-bit code. */
  NO64: 1 << 10,
  /** The immediate is there for ModRM.reg 0 and 1 alone (opcodes F6 and F7). */
  TEST: 1 << 11,
  /** ModRM names registers whatever its mod field says (MOV to and from control registers). */
  REGISTER: 1 << 12,
} as const;

/** A decoded instruction. One object serves a vCPU for ever. */
export class Instruction {
  /** 0x00..0xff, or 0x0f00 and up for two-byte opcodes. */
  opcode = 0;
  /** Bytes. */
  length = 0;
  /** Bytes of the operand: 1 for byte forms. */
  size: Size = 4;
  /** Bytes of the operand as prefixes and mode give it, 2, 4 or 8. */
  operandSize: 2 | 4 | 8 = 4;
  addressSize: 2 | 4 | 8 = 4;
  /** REX prefix, 0 if none. */
  rex = 0;
  /** 0, 0xf2 or 0xf3. */
  repeat = 0;
  lock = false;
  mod = 0;
  reg = 0;
  rm = 0;
  /** Segment register of the memory operand, overrides respected. */
  segment: number = DS;
  /** Segment override, or DS. */
  dataSegment: number = DS;
  /** Offset of the memory operand in its segment. */
  offset = 0n;
  /** Whether RSP is the base of the memory operand: POP takes it after its increment. */
  stackBased = false;
  immediate = 0n;
  /** The second immediate: selector of a far pointer, nesting level of ENTER. */
  immediate2 = 0;
}
