/** Model-specific registers by name (SDM vol. 4, table 2-2; APM vol. 2, appendix A; KVM's and Hyper-V's own). */

/** Names by number. SDM names without their IA32_ where Linux and the APM leave it out. */
const NAMES: ReadonlyMap<number, string> = new Map<number, string>([
  [0x0, "IA32_P5_MC_ADDR"],
  [0x1, "IA32_P5_MC_TYPE"],
  [0x6, "IA32_MONITOR_FILTER_SIZE"],
  [0x10, "IA32_TIME_STAMP_COUNTER"],
  [0x17, "IA32_PLATFORM_ID"],
  [0x1b, "IA32_APIC_BASE"],
  [0x34, "MSR_SMI_COUNT"],
  [0x3a, "IA32_FEATURE_CONTROL"],
  [0x3b, "IA32_TSC_ADJUST"],
  [0x48, "IA32_SPEC_CTRL"],
  [0x49, "IA32_PRED_CMD"],
  [0x79, "IA32_BIOS_UPDT_TRIG"],
  [0x8b, "IA32_BIOS_SIGN_ID"],
  [0x9b, "IA32_SMM_MONITOR_CTL"],
  [0x9e, "IA32_SMBASE"],
  [0xc1, "IA32_PMC0"],
  [0xc2, "IA32_PMC1"],
  [0xc3, "IA32_PMC2"],
  [0xc4, "IA32_PMC3"],
  [0xce, "MSR_PLATFORM_INFO"],
  [0xcf, "IA32_CORE_CAPABILITIES"],
  [0xe1, "IA32_UMWAIT_CONTROL"],
  [0xe7, "IA32_MPERF"],
  [0xe8, "IA32_APERF"],
  [0xfe, "IA32_MTRRCAP"],
  [0x10a, "IA32_ARCH_CAPABILITIES"],
  [0x10b, "IA32_FLUSH_CMD"],
  [0x122, "IA32_TSX_CTRL"],
  [0x140, "MSR_MISC_FEATURE_ENABLES"],
  [0x174, "IA32_SYSENTER_CS"],
  [0x175, "IA32_SYSENTER_ESP"],
  [0x176, "IA32_SYSENTER_EIP"],
  [0x179, "IA32_MCG_CAP"],
  [0x17a, "IA32_MCG_STATUS"],
  [0x17b, "IA32_MCG_CTL"],
  [0x186, "IA32_PERFEVTSEL0"],
  [0x187, "IA32_PERFEVTSEL1"],
  [0x188, "IA32_PERFEVTSEL2"],
  [0x189, "IA32_PERFEVTSEL3"],
  [0x198, "IA32_PERF_STATUS"],
  [0x199, "IA32_PERF_CTL"],
  [0x19a, "IA32_CLOCK_MODULATION"],
  [0x19b, "IA32_THERM_INTERRUPT"],
  [0x19c, "IA32_THERM_STATUS"],
  [0x1a0, "IA32_MISC_ENABLE"],
  [0x1b0, "IA32_ENERGY_PERF_BIAS"],
  [0x1c4, "IA32_XFD"],
  [0x1c5, "IA32_XFD_ERR"],
  [0x1d9, "IA32_DEBUGCTL"],
  [0x1db, "MSR_LASTBRANCHFROMIP"],
  [0x1dc, "MSR_LASTBRANCHTOIP"],
  [0x1dd, "MSR_LASTINTFROMIP"],
  [0x1de, "MSR_LASTINTTOIP"],
  [0x1f2, "IA32_SMRR_PHYSBASE"],
  [0x1f3, "IA32_SMRR_PHYSMASK"],
  [0x250, "IA32_MTRR_FIX64K_00000"],
  [0x258, "IA32_MTRR_FIX16K_80000"],
  [0x259, "IA32_MTRR_FIX16K_A0000"],
  [0x277, "IA32_PAT"],
  [0x2ff, "IA32_MTRR_DEF_TYPE"],
  [0x309, "IA32_FIXED_CTR0"],
  [0x30a, "IA32_FIXED_CTR1"],
  [0x30b, "IA32_FIXED_CTR2"],
  [0x345, "IA32_PERF_CAPABILITIES"],
  [0x38d, "IA32_FIXED_CTR_CTRL"],
  [0x38e, "IA32_PERF_GLOBAL_STATUS"],
  [0x38f, "IA32_PERF_GLOBAL_CTRL"],
  [0x390, "IA32_PERF_GLOBAL_OVF_CTRL"],
  [0x3f1, "IA32_PEBS_ENABLE"],
  [0x480, "IA32_VMX_BASIC"],
  [0x481, "IA32_VMX_PINBASED_CTLS"],
  [0x482, "IA32_VMX_PROCBASED_CTLS"],
  [0x483, "IA32_VMX_EXIT_CTLS"],
  [0x484, "IA32_VMX_ENTRY_CTLS"],
  [0x485, "IA32_VMX_MISC"],
  [0x486, "IA32_VMX_CR0_FIXED0"],
  [0x487, "IA32_VMX_CR0_FIXED1"],
  [0x488, "IA32_VMX_CR4_FIXED0"],
  [0x489, "IA32_VMX_CR4_FIXED1"],
  [0x48a, "IA32_VMX_VMCS_ENUM"],
  [0x48b, "IA32_VMX_PROCBASED_CTLS2"],
  [0x48c, "IA32_VMX_EPT_VPID_CAP"],
  [0x48d, "IA32_VMX_TRUE_PINBASED_CTLS"],
  [0x48e, "IA32_VMX_TRUE_PROCBASED_CTLS"],
  [0x48f, "IA32_VMX_TRUE_EXIT_CTLS"],
  [0x490, "IA32_VMX_TRUE_ENTRY_CTLS"],
  [0x491, "IA32_VMX_VMFUNC"],
  [0x570, "IA32_RTIT_CTL"],
  [0x571, "IA32_RTIT_STATUS"],
  [0x600, "IA32_DS_AREA"],
  [0x6a0, "IA32_U_CET"],
  [0x6a2, "IA32_S_CET"],
  [0x6a4, "IA32_PL0_SSP"],
  [0x6a5, "IA32_PL1_SSP"],
  [0x6a6, "IA32_PL2_SSP"],
  [0x6a7, "IA32_PL3_SSP"],
  [0x6a8, "IA32_INTERRUPT_SSP_TABLE_ADDR"],
  [0x6e0, "IA32_TSC_DEADLINE"],
  [0x6e1, "IA32_PKRS"],
  [0xda0, "IA32_XSS"],
  [0xc000_0080, "EFER"],
  [0xc000_0081, "STAR"],
  [0xc000_0082, "LSTAR"],
  [0xc000_0083, "CSTAR"],
  [0xc000_0084, "FMASK"],
  [0xc000_0100, "FS_BASE"],
  [0xc000_0101, "GS_BASE"],
  [0xc000_0102, "KERNEL_GS_BASE"],
  [0xc000_0103, "TSC_AUX"],
  [0xc000_0104, "TSC_RATIO"],
  [0xc001_0010, "SYSCFG"],
  [0xc001_0015, "HWCR"],
  [0xc001_001a, "TOP_MEM"],
  [0xc001_001d, "TOP_MEM2"],
  [0xc001_001f, "NB_CFG"],
  [0xc001_0055, "INT_PENDING"],
  [0xc001_0058, "MMIO_CFG_BASE"],
  [0xc001_0062, "PSTATE_CTL"],
  [0xc001_0111, "SMM_BASE"],
  [0xc001_0112, "SMM_ADDR"],
  [0xc001_0113, "SMM_MASK"],
  [0xc001_0114, "VM_CR"],
  [0xc001_0117, "VM_HSAVE_PA"],
  [0xc001_011f, "VIRT_SPEC_CTRL"],
  [0xc001_0130, "GHCB"],
  [0xc001_0131, "SEV_STATUS"],
  [0xc001_0140, "OSVW_ID_LENGTH"],
  [0xc001_0141, "OSVW_STATUS"],
  [0xc001_1022, "DC_CFG"],
  [0xc001_1023, "BU_CFG"],
  [0xc001_1029, "DE_CFG"],
  [0xc001_102a, "BU_CFG2"],
  // Linux, Documentation/virt/kvm/x86/msr.rst
  [0x11, "KVM_WALL_CLOCK"],
  [0x12, "KVM_SYSTEM_TIME"],
  [0x4b56_4d00, "KVM_WALL_CLOCK_NEW"],
  [0x4b56_4d01, "KVM_SYSTEM_TIME_NEW"],
  [0x4b56_4d02, "KVM_ASYNC_PF_EN"],
  [0x4b56_4d03, "KVM_STEAL_TIME"],
  [0x4b56_4d04, "KVM_PV_EOI_EN"],
  [0x4b56_4d05, "KVM_POLL_CONTROL"],
  [0x4b56_4d06, "KVM_ASYNC_PF_INT"],
  [0x4b56_4d07, "KVM_ASYNC_PF_ACK"],
  [0x4b56_4d08, "KVM_MIGRATION_CONTROL"],
  // Hyper-V TLFS, appendix C
  [0x4000_0000, "HV_X64_MSR_GUEST_OS_ID"],
  [0x4000_0001, "HV_X64_MSR_HYPERCALL"],
  [0x4000_0002, "HV_X64_MSR_VP_INDEX"],
  [0x4000_0020, "HV_X64_MSR_TIME_REF_COUNT"],
  [0x4000_0021, "HV_X64_MSR_REFERENCE_TSC"],
  [0x4000_0073, "HV_X64_MSR_VP_ASSIST_PAGE"],
]);

/** Runs of MSRs that differ by a number: first, how many, the step, the name of the nth. */
const RUNS: readonly (readonly [first: number, count: number, step: number, name: (n: number) => string])[] =
  [
    [0x200, 10, 2, (n) => `IA32_MTRR_PHYSBASE${n}`],
    [0x201, 10, 2, (n) => `IA32_MTRR_PHYSMASK${n}`],
    [0x268, 8, 1, (n) => `IA32_MTRR_FIX4K_${(0xc0000 + n * 0x8000).toString(16).toUpperCase()}`],
    [0x280, 32, 1, (n) => `IA32_MC${n}_CTL2`],
    [0x400, 32, 4, (n) => `IA32_MC${n}_CTL`],
    [0x401, 32, 4, (n) => `IA32_MC${n}_STATUS`],
    [0x402, 32, 4, (n) => `IA32_MC${n}_ADDR`],
    [0x403, 32, 4, (n) => `IA32_MC${n}_MISC`],
    // x2APIC: the register at offset 16 * n of the xAPIC's page (SDM vol. 3A, table 11-6)
    [0x800, 64, 1, (n) => `X2APIC_${n.toString(16).toUpperCase().padStart(2, "0")}0`],
    [0xc001_0000, 4, 1, (n) => `AMD_PERFEVTSEL${n}`],
    [0xc001_0004, 4, 1, (n) => `AMD_PERFCTR${n}`],
  ];

/** What MSR `index` is called, if it has a name. */
export function msrName(index: number): string | undefined {
  const name = NAMES.get(index);
  if (name !== undefined) return name;
  for (const [first, count, step, named] of RUNS) {
    const n = (index - first) / step;
    if (Number.isInteger(n) && n >= 0 && n < count) return named(n);
  }
  return undefined;
}

/** Names that are in use beside those of the table. */
const ALIASES: Readonly<Record<string, string>> = {
  TSC: "TIME_STAMP_COUNTER",
  APICBASE: "APIC_BASE",
  SYSCALL_MASK: "FMASK",
  SFMASK: "FMASK",
  KERNELGSBASE: "KERNEL_GS_BASE",
  KERNEL_GSBASE: "KERNEL_GS_BASE",
  CR_PAT: "PAT",
  MTRRDEFTYPE: "MTRR_DEF_TYPE",
};

function bare(name: string): string {
  return name.toUpperCase().replace(/^(MSR_|IA32_|AMD64_|K[678]_)+/, "");
}

let numbers: Map<string, number> | undefined;

/** The number of an MSR's name: in any case, with or without IA32_ or MSR_, such as "efer" or "IA32_LSTAR". */
export function msrNumber(name: string): number | undefined {
  if (numbers === undefined) {
    numbers = new Map();
    for (const [first, count, step, named] of RUNS) {
      for (let n = 0; n < count; n++) numbers.set(bare(named(n)), first + n * step);
    }
    for (const [index, known] of NAMES) numbers.set(bare(known), index);
  }
  const key = bare(name);
  return numbers.get(ALIASES[key] ?? key);
}

/** Every name, for completion. */
export function msrNames(): string[] {
  return [
    ...NAMES.values(),
    ...RUNS.flatMap(([, count, , named]) => Array.from({ length: count }, (_, n) => named(n))),
  ];
}
