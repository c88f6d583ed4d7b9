/** What the CPU makes of its registers: operating mode, code size, privilege, linear addresses, paging mode. */
import type { Registers, SegmentName } from "../vm/registers.ts";

/** Operating modes (SDM vol. 3A, 2.2), with the default code size where the mode leaves it to CS.D. */
export type CpuMode =
  | "real"
  | "virtual-8086"
  | "protected16"
  | "protected32"
  | "compat16"
  | "compat32"
  | "long";

/** Default operand and address size of the code that runs. */
export type Bitness = 16 | 32 | 64;

/** How linear addresses are translated (SDM vol. 3A, 4.1.1). */
export type PagingMode = "none" | "32-bit" | "pae" | "4-level" | "5-level";

const CR0_PE_BIT = 1n << 0n;
const CR0_PG_BIT = 1n << 31n;
const CR4_PAE_BIT = 1n << 5n;
const CR4_LA57_BIT = 1n << 12n;
/** Long mode is active (SDM vol. 3A, 2.2.1). */
export const EFER_LMA_BIT: bigint = 1n << 10n;
const RFLAGS_VM_BIT = 1n << 17n;
const ATTRIBUTES_L_BIT = 1n << 13n;
const ATTRIBUTES_DB_BIT = 1n << 14n;

const MASK_16 = 0xffffn;
const MASK_32 = 0xffff_ffffn;
const MASK_64 = 0xffff_ffff_ffff_ffffn;

/** The registers that decide about the operating mode. */
export type ModeRegisters = Pick<Registers, "cr0" | "efer" | "rflags" | "cs_attributes">;

/** The mode the CPU is in. */
export function cpuMode(registers: ModeRegisters): CpuMode {
  if ((registers.cr0 & CR0_PE_BIT) === 0n) return "real";
  const cs = registers.cs_attributes;
  if ((registers.efer & EFER_LMA_BIT) !== 0n) {
    if ((cs & ATTRIBUTES_L_BIT) !== 0n) return "long";
    return (cs & ATTRIBUTES_DB_BIT) !== 0n ? "compat32" : "compat16";
  }
  if ((registers.rflags & RFLAGS_VM_BIT) !== 0n) return "virtual-8086";
  return (cs & ATTRIBUTES_DB_BIT) !== 0n ? "protected32" : "protected16";
}

/**
 * The size in which code at CS:RIP is decoded. Real mode follows CS.D too: code that left protected mode with a
 * 32-bit CS still loaded is decoded in 32 bit until the far jump.
 */
export function bitness(registers: ModeRegisters): Bitness {
  const mode = cpuMode(registers);
  if (mode === "long") return 64;
  if (mode === "virtual-8086") return 16;
  return (registers.cs_attributes & ATTRIBUTES_DB_BIT) !== 0n ? 32 : 16;
}

/** Current privilege level, 0 to 3: 0 in real, 3 in virtual-8086 mode, else SS.DPL (SDM vol. 3C, 25.4.1). */
export function cpl(registers: ModeRegisters & Pick<Registers, "cs" | "ss_attributes">): number {
  const mode = cpuMode(registers);
  if (mode === "real") return 0;
  if (mode === "virtual-8086") return 3;
  // A backend that knows selectors only gives attributes 0; CS.RPL is CPL but for the moments of a mode switch.
  if (registers.ss_attributes === 0n) return Number(registers.cs & 3n);
  return Number(registers.ss_attributes >> 5n & 3n);
}

/** The bases and the mode: what `linear` needs. */
export type LinearRegisters = ModeRegisters & Pick<Registers, `${SegmentName}_base`>;

/**
 * The linear address of an offset in a segment whose descriptor is loaded: base + offset, wrapping at 4 GiB
 * outside long mode; in long mode the bases of CS, DS, ES and SS count as 0 (SDM vol. 3A, 3.4.4).
 *
 * @param offset Bytes.
 */
export function linear(registers: LinearRegisters, segment: SegmentName, offset: bigint): bigint {
  if (cpuMode(registers) !== "long") return registers[`${segment}_base`] + offset & MASK_32;
  const flat = segment === "cs" || segment === "ds" || segment === "es" || segment === "ss";
  return (flat ? 0n : registers[`${segment}_base`]) + offset & MASK_64;
}

/** The linear address of the instruction at CS:RIP. */
export function linearRip(registers: ModeRegisters & Pick<Registers, "cs_base" | "rip">): bigint {
  if (cpuMode(registers) === "long") return registers.rip;
  return registers.cs_base + registers.rip & MASK_32;
}

/** The offset of the stack's top in SS: RSP, ESP or SP, as SS.B has it (SDM vol. 1, 6.2.3). */
export function stackOffset(registers: ModeRegisters & Pick<Registers, "ss_attributes" | "rsp">): bigint {
  return registers.rsp & stackMask(registers);
}

/** Which bits of RSP count when the stack is used. */
export function stackMask(registers: ModeRegisters & Pick<Registers, "ss_attributes">): bigint {
  if (cpuMode(registers) === "long") return MASK_64;
  return (registers.ss_attributes & ATTRIBUTES_DB_BIT) !== 0n ? MASK_32 : MASK_16;
}

/** The linear address of the stack's top. */
export function linearStack(
  registers: ModeRegisters & Pick<Registers, "ss_attributes" | "ss_base" | "rsp">,
): bigint {
  if (cpuMode(registers) === "long") return registers.rsp;
  return registers.ss_base + stackOffset(registers) & MASK_32;
}

/** The registers that decide about paging. */
export type PagingRegisters = Pick<Registers, "cr0" | "cr4" | "efer">;

/** The paging mode in force. */
export function pagingMode(registers: PagingRegisters): PagingMode {
  if ((registers.cr0 & CR0_PG_BIT) === 0n) return "none";
  if ((registers.cr4 & CR4_PAE_BIT) === 0n) return "32-bit";
  if ((registers.efer & EFER_LMA_BIT) === 0n) return "pae";
  return (registers.cr4 & CR4_LA57_BIT) !== 0n ? "5-level" : "4-level";
}

/** Width of a linear address in bits: 32, 48 or 57. */
export function linearAddressBits(mode: PagingMode): 32 | 48 | 57 {
  return mode === "4-level" ? 48 : mode === "5-level" ? 57 : 32;
}

/** The mask a linear address is cut with before it is translated: 32 bits, or all 64 where it must be canonical. */
export function linearAddressMask(mode: PagingMode): bigint {
  return linearAddressBits(mode) === 32 ? MASK_32 : MASK_64;
}

/** Whether the bits above a linear address's width repeat its top bit (SDM vol. 1, 3.3.7.1). */
export function isCanonical(address: bigint, bits: number): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(bits, address)) === address;
}
