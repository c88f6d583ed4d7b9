/** The names of the registers every backend shows, by group. Values are unsigned `bigint`s. */

/** General registers, 64 bits each (the upper half is zero outside long mode). */
// deno-fmt-ignore: rows of eight are easier to check than a column
export const GENERAL = [
  "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
] as const;

/** Segment registers. Each has a selector, and a cached descriptor in `_base`, `_limit`, `_attributes`. */
export const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr"] as const;

/** Control registers, EFER, XCR0 and the descriptor-table registers. */
// deno-fmt-ignore: rows of eight are easier to check than a column
export const CONTROL = [
  "cr0", "cr2", "cr3", "cr4", "cr8", "efer", "xcr0", "apic_base",
  "gdtr_base", "gdtr_limit", "idtr_base", "idtr_limit",
] as const;

/** Debug registers as the guest sees them. */
export const DEBUG = ["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"] as const;

/** x87 state: `st0`..`st7` are 80-bit values, `ftw` is the full 16-bit tag word. */
// deno-fmt-ignore: rows of eight are easier to check than a column
export const FPU = [
  "st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7",
  "fcw", "fsw", "ftw", "fop", "fip", "fdp",
] as const;

/** SSE (128-bit) and AVX (256-bit) registers; `ymmN` has `xmmN` as its low half. */
// deno-fmt-ignore: rows of eight are easier to check than a column
export const VECTOR = [
  "mxcsr",
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7",
  "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15",
] as const;

/** A segment register's name. */
export type SegmentName = typeof SEGMENTS[number];

/** Every register name that `registers()` answers and `setRegisters()` takes. */
export type RegisterName =
  | typeof GENERAL[number]
  | SegmentName
  | `${SegmentName}_base`
  | `${SegmentName}_limit`
  | `${SegmentName}_attributes`
  | typeof CONTROL[number]
  | typeof DEBUG[number]
  | typeof FPU[number]
  | typeof VECTOR[number];

/** The groups in which registers are shown. */
export type RegisterGroup = "general" | "segment" | "control" | "debug" | "fpu" | "vector";

/**
 * One vCPU's registers as they were when asked for: a snapshot, read lazily.
 *
 * General, segment and control registers stay valid for ever. The debug, fpu and vector groups (and on KVM xcr0;
 * behind a GDB stub what it does not show: descriptor caches and tables) are fetched when first read; reading one of them for the first time after the guest went on
 * throws a StateError. So are, on KVM, the segment and control registers of what a step's `each` is given.
 *
 * `_attributes` has the layout of bits 8..15 and 20..23 of a descriptor's second doubleword, shifted right by
 * 8, as VMX access rights (SDM vol. 3C, 25.4.1): type 3..0, S 4, DPL 6..5, P 7, AVL 12, L 13, D/B 14, G 15,
 * unusable 16. `_limit` is in bytes, already scaled by G.
 */
export type Registers = { readonly [name in RegisterName]: bigint };

/**
 * What the registers of a paravirtual vCPU say beside their values: its CR3 and page tables hold machine addresses,
 * and this tells the guest-physical one of each.
 */
export interface MachinePaging {
  /** Page-aligned machine address to guest-physical address. Left out where the tables hold guest-physical ones. */
  readonly physicalOf?: (machine: bigint) => bigint;
  /** Guest-physical address of the top table, where that is known and CR3's value is not. */
  readonly root?: bigint;
}

/** Some registers and the values they shall have. */
export type RegisterValues = { readonly [name in RegisterName]?: bigint };

/** Names of every group, in the order in which they are shown. */
export const REGISTER_GROUPS: Readonly<Record<RegisterGroup, readonly RegisterName[]>> = {
  general: GENERAL,
  segment: SEGMENTS.flatMap((s) => [s, `${s}_base`, `${s}_limit`, `${s}_attributes`] as const),
  control: CONTROL,
  debug: DEBUG,
  fpu: FPU,
  vector: VECTOR,
};

/** Every register name, in the order of the groups. */
export const REGISTER_NAMES: readonly RegisterName[] = Object.values(REGISTER_GROUPS).flat();

/** Width of a register in bits: the most that `setRegisters` takes for it. */
export function registerBits(name: RegisterName): number {
  if (name.startsWith("ymm")) return 256;
  if (name.startsWith("xmm")) return 128;
  if (/^st\d$/.test(name)) return 80;
  if (name === "mxcsr" || name.endsWith("_attributes") || /^(cs|ds|es|fs|gs|ss|tr|ldtr)_limit$/.test(name)) {
    return 32;
  }
  if (name === "fcw" || name === "fsw" || name === "ftw" || name === "fop") return 16;
  if (name === "gdtr_limit" || name === "idtr_limit") return 16;
  if ((SEGMENTS as readonly string[]).includes(name)) return 16;
  return 64;
}
