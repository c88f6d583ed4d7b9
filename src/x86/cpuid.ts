/** CPUID leaves in words (SDM vol. 2A, CPUID; APM vol. 3, appendix E). */

/** One leaf's registers, 32 bits each; `index` is the subleaf (ECX). */
export interface CpuidLeaf {
  /** The leaf (EAX). */
  readonly function: number;
  /** Its number. */
  readonly index: number;
  /** Result in EAX. */
  readonly eax: number;
  /** Result in EBX. */
  readonly ebx: number;
  /** Result in ECX. */
  readonly ecx: number;
  /** Result in EDX. */
  readonly edx: number;
}

/** What the leaves say together. */
export interface CpuidSummary {
  /** "GenuineIntel", "AuthenticAMD", ... */
  readonly vendor: string;
  /** The brand string, if there is one. */
  readonly brand?: string;
  /** The hypervisor's signature, such as "KVMKVMKVM", if one shows itself. */
  readonly hypervisor?: string;
  /** Family, the extended one included. */
  readonly family: number;
  /** Model, the extended one included. */
  readonly model: number;
  /** Stepping. */
  readonly stepping: number;
  /** MAXPHYADDR, in bits. */
  readonly physicalBits: number;
  /** Linear address width, in bits. */
  readonly linearBits: number;
  /** Names of the features that are there, as /proc/cpuinfo spells them. */
  readonly features: readonly string[];
}

type Register = "eax" | "ebx" | "ecx" | "edx";

/** Names of bits from 0 up; "-" for what has no name here. */
const FEATURES: readonly (readonly [leaf: number, index: number, register: Register, names: string])[] = [
  [
    1,
    0,
    "edx",
    "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
  ],
  [
    1,
    0,
    "ecx",
    "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt " +
    "tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
  ],
  [6, 0, "eax", "dtherm ida arat"],
  [
    7,
    0,
    "ebx",
    "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - " +
    "clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
  ],
  [
    7,
    0,
    "ecx",
    "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - " +
    "la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks",
  ],
  [
    7,
    0,
    "edx",
    "- - avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - tsx_force_abort serialize hybrid " +
    "tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities ssbd",
  ],
  [
    7,
    1,
    "eax",
    "- - - - avx_vnni avx512_bf16 lass cmpccxadd - - fzrm fsrs fsrc - - - - fred lkgs wrmsrns - amx_fp16 - avx_ifma - - lam",
  ],
  [0xd, 1, "eax", "xsaveopt xsavec xgetbv1 xsaves xfd"],
  [
    0x8000_0001,
    0,
    "ecx",
    "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext " +
    "perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx",
  ],
  [
    0x8000_0001,
    0,
    "edx",
    "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
  ],
  [0x8000_0007, 0, "edx", "- - - - - - - - constant_tsc"],
  [
    0x8000_0008,
    0,
    "ebx",
    "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - amd_ibpb - amd_ibrs amd_stibp - - - - - - - - amd_ssbd virt_ssbd",
  ],
  [
    0x8000_000a,
    0,
    "edx",
    "npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists - - pausefilter - pfthreshold avic - v_vmsave_vmload vgif",
  ],
];

/** Where a feature stands: the bit `mask` of a register of a leaf. */
export interface FeatureBit {
  readonly leaf: number;
  readonly index: number;
  readonly register: Register;
  readonly mask: number;
}

/** Where the feature with this name stands; undefined for a name that is not known. */
export function featureBit(name: string): FeatureBit | undefined {
  if (name === "-") return undefined;
  for (const [leaf, index, register, names] of FEATURES) {
    const bit = names.split(" ").indexOf(name);
    if (bit >= 0) return { leaf, index, register, mask: 1 << bit };
  }
  return undefined;
}

/** The leaf's registers, if it is among them. */
export function cpuidLeaf(leaves: readonly CpuidLeaf[], number: number, index = 0): CpuidLeaf | undefined {
  return leaves.find((l) => l.function === number && l.index === index);
}

function textOf(...registers: number[]): string {
  const bytes = new Uint8Array(Uint32Array.from(registers).buffer);
  const end = bytes.indexOf(0);
  return new TextDecoder("latin1").decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** The features that the leaves show, as /proc/cpuinfo names them. */
export function cpuidFeatures(leaves: readonly CpuidLeaf[]): string[] {
  const found: string[] = [];
  for (const [number, index, register, names] of FEATURES) {
    const value = cpuidLeaf(leaves, number, index)?.[register] ?? 0;
    names.split(" ").forEach((name, bit) => {
      if (name !== "-" && (value >>> bit & 1) !== 0) found.push(name);
    });
  }
  return found;
}

/** Vendor, brand, signature, address widths and features. What the leaves do not say has the SDM's defaults. */
export function cpuidSummary(leaves: readonly CpuidLeaf[]): CpuidSummary {
  const zero = cpuidLeaf(leaves, 0);
  const signature = cpuidLeaf(leaves, 1)?.eax ?? 0;
  const base = signature >>> 8 & 15;
  const family = base === 15 ? 15 + (signature >>> 20 & 255) : base;
  const low = signature >>> 4 & 15;
  const model = base === 15 || base === 6 ? (signature >>> 16 & 15) << 4 | low : low;
  const brands = [0x8000_0002, 0x8000_0003, 0x8000_0004].map((n) => cpuidLeaf(leaves, n));
  const brand = brands.every((l) => l !== undefined)
    ? textOf(...brands.flatMap((l) => [l.eax, l.ebx, l.ecx, l.edx])).trim()
    : "";
  const features = cpuidFeatures(leaves);
  const hypervisor = features.includes("hypervisor") ? cpuidLeaf(leaves, 0x4000_0000) : undefined;
  const widths = cpuidLeaf(leaves, 0x8000_0008)?.eax;
  return {
    vendor: zero === undefined ? "" : textOf(zero.ebx, zero.edx, zero.ecx),
    ...(brand !== "" && { brand }),
    ...(hypervisor && { hypervisor: textOf(hypervisor.ebx, hypervisor.ecx, hypervisor.edx) }),
    family,
    model,
    stepping: signature & 15,
    // Without leaf 80000008H: 36 bits with PAE, 32 without (SDM vol. 3A, 4.1.4).
    physicalBits: widths === undefined ? features.includes("pae") ? 36 : 32 : widths & 255,
    linearBits: widths === undefined ? 32 : widths >>> 8 & 255,
    features,
  };
}
