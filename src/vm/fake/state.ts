import { powerOnMsrs } from "./msr.ts";
import { emptyXsave } from "./xsave.ts";

/** Indices of segment registers, as instructions encode them; then the two system ones. */
export const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5, TR = 6, LDTR = 7;

/** Indices of general registers, as instructions encode them. */
export const RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7;

/** RFLAGS bits (SDM vol. 1, 3.4.3). */
export const FLAG = {
  CF: 1 << 0,
  FIXED: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  ID: 1 << 21,
} as const;

/** Bits of CR0, CR4 and EFER that change how code runs here (SDM vol. 3A, 2.5 and 2.2.1). */
export const CR0_PE = 1n, CR0_WP = 1n << 16n, CR0_PG = 1n << 31n;
export const CR4_PSE = 1n << 4n, CR4_PAE = 1n << 5n, CR4_LA57 = 1n << 12n;
export const EFER_SCE = 1n, EFER_LME = 1n << 8n, EFER_LMA = 1n << 10n, EFER_NXE = 1n << 11n;

/** Bits of a segment's attributes (see `Registers`). */
export const ATTRIBUTE = { S: 1 << 4, P: 1 << 7, L: 1 << 13, DB: 1 << 14, UNUSABLE: 1 << 16 } as const;

/** A segment register: what software sees, and the descriptor it was loaded from. */
export interface Segment {
  selector: number;
  base: bigint;
  /** In bytes, scaled. */
  limit: number;
  attributes: number;
}

/** GDTR or IDTR. */
export interface TableRegister {
  base: bigint;
  limit: number;
}

/** Bytes of an operand, an address or a stack slot. */
export type Size = 1 | 2 | 4 | 8;

/** `(1 << 8 * size) - 1` for operand sizes. */
export const MASK: Readonly<Record<Size, bigint>> = {
  1: 0xffn,
  2: 0xffffn,
  4: 0xffffffffn,
  8: (1n << 64n) - 1n,
};

/** The sign bit for operand sizes. */
export const SIGN: Readonly<Record<Size, bigint>> = { 1: 0x80n, 2: 0x8000n, 4: 0x80000000n, 8: 1n << 63n };

/** Everything a vCPU remembers. */
export class State {
  readonly regs = new BigUint64Array(16);
  rip = 0n;
  flags: number = FLAG.FIXED;
  readonly seg: Segment[] = Array.from({ length: 8 }, () => ({
    selector: 0,
    base: 0n,
    limit: 0xffff,
    attributes: 0,
  }));
  gdtr: TableRegister = { base: 0n, limit: 0xffff };
  idtr: TableRegister = { base: 0n, limit: 0xffff };
  cr0 = 0n;
  cr2 = 0n;
  cr3 = 0n;
  cr4 = 0n;
  cr8 = 0n;
  efer = 0n;
  xcr0 = 1n;
  readonly dr: bigint[] = [0n, 0n, 0n, 0n];
  dr6 = 0n;
  dr7 = 0n;
  msrs: Map<number, bigint> = new Map();
  xsave: Uint8Array = emptyXsave();
  /** Instructions executed since power-on: what RDTSC tells, plus `tscOffset`. */
  retired = 0;
  tscOffset = 0n;
  halted = false;
  /** After a triple fault. */
  dead = false;
  /** Interrupt shadow: bit 0 MOV SS, bit 1 STI. */
  shadow = 0;
  nmiPending = false;
  nmiMasked = false;
  /** To be delivered at the next entry. */
  exception: { vector: number; errorCode?: number } | undefined;
  /** An interrupt that is to be delivered at the next entry whatever IF says. */
  interrupt: { vector: number; soft: boolean } | undefined;

  // Derived by `update`.
  protectedMode = false;
  paging = false;
  longMode = false;
  /** Default operand and address width of code: 2, 4, or 8 in 64-bit code. */
  code: 2 | 4 | 8 = 2;
  /** Width of the stack pointer. */
  stack: 2 | 4 | 8 = 2;
  cpl = 0;

  #saved = new BigUint64Array(16);
  #savedRip = 0n;
  #savedFlags = 0;

  constructor(readonly index: number) {
    this.reset();
  }

  /** Power-on state (SDM vol. 3A, table 9-1). */
  reset(): void {
    this.regs.fill(0n);
    this.regs[RDX] = 0x600n;
    this.rip = 0xfff0n;
    this.flags = FLAG.FIXED;
    this.seg.forEach((s, i) => {
      const attributes = i === CS ? 0x9b : i === TR ? 0x8b : i === LDTR ? 0x82 : 0x93;
      Object.assign(s, { selector: 0, base: 0n, limit: 0xffff, attributes });
    });
    Object.assign(this.seg[CS], { selector: 0xf000, base: 0xffff0000n });
    this.gdtr = { base: 0n, limit: 0xffff };
    this.idtr = { base: 0n, limit: 0xffff };
    this.cr0 = 0x60000010n;
    this.cr2 =
      this.cr3 =
      this.cr4 =
      this.cr8 =
      this.efer =
        0n;
    this.xcr0 = 1n;
    this.dr.fill(0n);
    this.dr6 = 0xffff0ff0n;
    this.dr7 = 0x400n;
    this.msrs = powerOnMsrs(this.index);
    this.xsave = emptyXsave();
    this.retired = 0;
    this.tscOffset = 0n;
    this.halted =
      this.dead =
      this.nmiPending =
      this.nmiMasked =
        false;
    this.shadow = 0;
    this.exception = this.interrupt = undefined;
    this.update();
  }

  /** To be called when CR0, EFER, CS or SS changed. */
  update(): void {
    this.protectedMode = (this.cr0 & CR0_PE) !== 0n;
    this.paging = (this.cr0 & CR0_PG) !== 0n;
    this.longMode = (this.efer & EFER_LMA) !== 0n;
    const code = this.seg[CS].attributes;
    this.code = this.longMode && (code & ATTRIBUTE.L) !== 0 ? 8 : (code & ATTRIBUTE.DB) !== 0 ? 4 : 2;
    this.stack = this.code === 8 ? 8 : (this.seg[SS].attributes & ATTRIBUTE.DB) !== 0 ? 4 : 2;
    this.cpl = this.protectedMode ? (this.seg[SS].attributes >> 5) & 3 : 0;
  }

  /** Remembers what `rollback` goes back to. */
  save(): void {
    // By hand: for so few the compiler's moves are faster than a call of set().
    const { regs } = this;
    const saved = this.#saved;
    for (let i = 0; i < 16; i++) saved[i] = regs[i];
    this.#savedRip = this.rip;
    this.#savedFlags = this.flags;
  }

  /** Undoes what an unfinished instruction did to general registers, RIP and RFLAGS. */
  rollback(): void {
    this.regs.set(this.#saved);
    this.rip = this.#savedRip;
    this.flags = this.#savedFlags;
  }

  /** RIP as of the last `save`. */
  get savedRip(): bigint {
    return this.#savedRip;
  }

  /** Linear address of the next instruction. */
  get pc(): bigint {
    if (this.code === 8) return this.rip;
    return BigInt.asUintN(this.longMode ? 64 : 32, this.seg[CS].base + this.rip);
  }

  /** What RDTSC gives. */
  get tsc(): bigint {
    return BigInt.asUintN(64, BigInt(this.retired) + this.tscOffset);
  }
}
