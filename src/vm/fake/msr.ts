/** MSRs the fake has by number (SDM vol. 4, 2.1), apart from those that are kept elsewhere in the state. */
export const MSR = {
  TSC: 0x10,
  APIC_BASE: 0x1b,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MISC_ENABLE: 0x1a0,
  PAT: 0x277,
  EFER: 0xc0000080,
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  CSTAR: 0xc0000083,
  FMASK: 0xc0000084,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
} as const;

/** APIC_BASE: enabled, at its usual place; bit 8 says "bootstrap processor" (SDM vol. 3A, 10.4.4). */
function apicBase(index: number): bigint {
  return 0xfee00800n | (index === 0 ? 0x100n : 0n);
}

/** Values at power-on of the MSRs that are mere storage. */
export function powerOnMsrs(index: number): Map<number, bigint> {
  return new Map<number, bigint>([
    [MSR.APIC_BASE, apicBase(index)],
    [MSR.SYSENTER_CS, 0n],
    [MSR.SYSENTER_ESP, 0n],
    [MSR.SYSENTER_EIP, 0n],
    [MSR.MISC_ENABLE, 1n],
    [MSR.PAT, 0x0007040600070406n],
    [MSR.STAR, 0n],
    [MSR.LSTAR, 0n],
    [MSR.CSTAR, 0n],
    [MSR.FMASK, 0n],
    [MSR.KERNEL_GS_BASE, 0n],
    [MSR.TSC_AUX, 0n],
  ]);
}
