import type { Core } from "./core.ts";
import { isCanonical } from "./mmu.ts";
import { MSR } from "./msr.ts";
import { generalProtection, undefinedOpcode } from "./signals.ts";
import { ATTRIBUTE, CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, CS, FS, GS } from "./state.ts";
import { EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE } from "./state.ts";

const CR0_NW = 1n << 29n, CR0_CD = 1n << 30n, CR0_ET = 1n << 4n;
/** PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG. */
const CR0_KNOWN = 0xe005003fn;
/** VME to UMIP without those that need hardware (VMXE, SMXE), LA57, FSGSBASE left out, OSXSAVE. */
const CR4_KNOWN = 0x41fffn;
const EFER_KNOWN = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

/** MOV from CRn. */
export function readControl(core: Core, index: number): bigint {
  switch (index) {
    case 0:
      return core.cr0;
    case 2:
      return core.cr2;
    case 3:
      return core.cr3;
    case 4:
      return core.cr4;
    case 8:
      return core.cr8;
    default:
      throw undefinedOpcode();
  }
}

/** MOV to CRn with its checks (SDM vol. 2B, MOV - Move to/from Control Registers). */
export function writeControl(core: Core, index: number, value: bigint): void {
  switch (index) {
    case 0:
      return writeCr0(core, value);
    case 2:
      core.cr2 = value;
      return;
    case 3:
      if (core.longMode && value >> 52n !== 0n) throw generalProtection();
      core.cr3 = value;
      return;
    case 4: {
      const paeGone = (value & CR4_PAE) === 0n && core.longMode;
      const levels = (value & CR4_LA57) !== (core.cr4 & CR4_LA57) && core.longMode;
      if ((value & ~CR4_KNOWN) !== 0n || paeGone || levels) throw generalProtection();
      core.cr4 = value;
      return;
    }
    case 8:
      if (value > 15n) throw generalProtection();
      core.cr8 = value;
      return;
    default:
      throw undefinedOpcode();
  }
}

/** Paging on with EFER.LME is the way into long mode (SDM vol. 3A, 9.8.5). */
function writeCr0(core: Core, given: bigint): void {
  if (given >> 32n !== 0n) throw generalProtection();
  const value = (given & CR0_KNOWN) | CR0_ET;
  const paging = (value & CR0_PG) !== 0n;
  const impossible = (paging && (value & CR0_PE) === 0n) ||
    ((value & CR0_NW) !== 0n && (value & CR0_CD) === 0n);
  if (impossible) throw generalProtection();
  if (paging && !core.paging && (core.efer & EFER_LME) !== 0n) {
    const code64 = (core.seg[CS].attributes & ATTRIBUTE.L) !== 0;
    if ((core.cr4 & CR4_PAE) === 0n || code64) throw generalProtection();
    core.efer |= EFER_LMA;
  } else if (!paging && core.paging && core.longMode) {
    if (core.code === 8) throw generalProtection();
    core.efer &= ~EFER_LMA;
  }
  core.cr0 = value;
  core.update();
}

/** MOV from DRn; 4 and 5 are old names of 6 and 7. */
export function readDebug(core: Core, index: number): bigint {
  const n = index === 4 || index === 5 ? index + 2 : index;
  if (n > 7) throw undefinedOpcode();
  return n === 6 ? core.dr6 : n === 7 ? core.dr7 : core.dr[n];
}

/** MOV to DRn. */
export function writeDebug(core: Core, index: number, value: bigint): void {
  const n = index === 4 || index === 5 ? index + 2 : index;
  if (n > 7) throw undefinedOpcode();
  if (n >= 6 && value >> 32n !== 0n) throw generalProtection();
  if (n === 6) core.dr6 = (value & 0xe00fn) | 0xffff0ff0n;
  else if (n === 7) core.dr7 = (value & 0xffff2bffn) | 0x400n;
  else core.dr[n] = value;
}

/** XSETBV: x87 always, AVX not without SSE (SDM vol. 1, 13.3). */
export function setXcr0(core: Core, index: number, value: bigint): void {
  if (index !== 0 || (value & ~7n) !== 0n || (value & 1n) === 0n || (value & 6n) === 4n) {
    throw generalProtection();
  }
  core.xcr0 = value;
}

/** Indices of the MSRs that can be read. */
export function msrIndices(core: Core): number[] {
  return [MSR.TSC, MSR.EFER, MSR.FS_BASE, MSR.GS_BASE, ...core.msrs.keys()].sort((a, b) => a - b);
}

/** An MSR's value, or undefined if there is none of this number. */
export function readMsr(core: Core, index: number): bigint | undefined {
  switch (index) {
    case MSR.TSC:
      return core.tsc;
    case MSR.EFER:
      return core.efer;
    case MSR.FS_BASE:
      return core.seg[FS].base;
    case MSR.GS_BASE:
      return core.seg[GS].base;
    default:
      return core.msrs.get(index);
  }
}

const ADDRESSES = new Set<number>([
  MSR.SYSENTER_ESP,
  MSR.SYSENTER_EIP,
  MSR.LSTAR,
  MSR.CSTAR,
  MSR.FS_BASE,
  MSR.GS_BASE,
  MSR.KERNEL_GS_BASE,
]);

/** Sets an MSR; false if there is none of this number, or it refuses the value. */
export function writeMsr(core: Core, index: number, value: bigint): boolean {
  if (ADDRESSES.has(index) && !isCanonical(core, value)) return false;
  switch (index) {
    case MSR.TSC:
      core.tscOffset = value - BigInt(core.retired);
      return true;
    case MSR.EFER: {
      const lme = (value & EFER_LME) !== (core.efer & EFER_LME);
      if ((value & ~EFER_KNOWN) !== 0n || (lme && core.paging)) return false;
      // LMA is the processor's own.
      core.efer = (value & ~EFER_LMA) | (core.efer & EFER_LMA);
      core.update();
      return true;
    }
    case MSR.FS_BASE:
      core.seg[FS].base = value;
      return true;
    case MSR.GS_BASE:
      core.seg[GS].base = value;
      return true;
    default:
      if (!core.msrs.has(index)) return false;
      core.msrs.set(index, value);
      return true;
  }
}
