/** Which processor of how many CPUID says a vCPU is: one package, a core for each vCPU, one thread in each core. */
import type { CpuidLeaf } from "./cpuid.ts";

/** HTT: the package has more than one logical processor (SDM vol. 2A, CPUID, leaf 01H EDX bit 28). */
const HTT = 1 << 28;
/** CmpLegacy: those are cores, not threads (APM vol. 3, E.4.2, 8000_0001H ECX bit 1). */
const CMP_LEGACY = 1 << 1;
/** Level types of leaves 0BH and 1FH, in ECX bits 15..8. */
const LEVEL = { none: 0, thread: 1, core: 2 } as const;
/** The last level of cache, which all cores share. */
const SHARED_CACHE_LEVEL = 3;

/** Bits of an APIC id that tell `count` of something apart. */
export function idBits(count: number): number {
  return Math.ceil(Math.log2(Math.max(1, count)));
}

/**
 * The leaves of vCPU `index`, whose APIC id that is, of `cpus`: what names its place is set, the rest stays.
 *
 * @param leaf Makes a leaf that the host has not: for leaves 0BH and 1FH, which have as many subleaves as levels.
 */
export function withTopology<T extends CpuidLeaf>(
  leaves: readonly T[],
  index: number,
  cpus: number,
  leaf: (made: CpuidLeaf) => T,
): T[] {
  const highest = leaves.find((l) => l.function === 0)?.eax ?? 0;
  const levels = [0xb, 0x1f].filter((n) =>
    n <= highest && (n === 0xb || leaves.some((l) => l.function === n))
  );
  return [
    ...leaves.filter((l) => l.function !== 0xb && l.function !== 0x1f).map((l) => placed(l, index, cpus)),
    ...levels.flatMap((n) => levelLeaves(n, index, cpus)).map(leaf),
  ];
}

function placed<T extends CpuidLeaf>(leaf: T, index: number, cpus: number): T {
  const several = cpus > 1;
  switch (leaf.function) {
    case 1: {
      // EBX: bits 31..24 initial APIC id, 23..16 how many ids the package has.
      const ids = Math.min(1 << idBits(cpus), 255);
      const ebx = ((leaf.ebx & 0xffff) | (ids << 16) | ((index & 0xff) << 24)) >>> 0;
      return { ...leaf, ebx, edx: ((leaf.edx & ~HTT) | (several ? HTT : 0)) >>> 0 };
    }
    case 4:
      // EAX: bits 4..0 cache type (0: no more), 7..5 level, 25..14 ids that share it less 1, 31..26 cores less 1.
      if ((leaf.eax & 31) === 0) return leaf;
      return { ...leaf, eax: sharing(leaf.eax, cpus, Math.min((1 << idBits(cpus)) - 1, 63)) };
    case 0x8000_0001:
      return { ...leaf, ecx: ((leaf.ecx & ~CMP_LEGACY) | (several ? leaf.ecx & CMP_LEGACY : 0)) >>> 0 };
    case 0x8000_0008:
      // ECX: bits 7..0 cores less 1, 15..12 bits of the APIC id that tell them apart. Intel has nothing there.
      if ((leaf.ecx & 0xf0ff) === 0 && leaf.ebx === 0) return leaf;
      return {
        ...leaf,
        ecx: ((leaf.ecx & ~0xf0ff) | Math.min(cpus - 1, 255) | (idBits(cpus) << 12)) >>> 0,
      };
    case 0x8000_001d:
      if ((leaf.eax & 31) === 0) return leaf;
      return { ...leaf, eax: sharing(leaf.eax, cpus, 0) };
    case 0x8000_001e:
      // EAX the APIC id, EBX bits 15..8 threads of a core less 1 and 7..0 the core, ECX one node.
      return { ...leaf, eax: index, ebx: index & 0xff, ecx: 0 };
    default:
      return leaf;
  }
}

/** Who shares a cache: the last level is everybody's, those before it are each core's own. */
function sharing(eax: number, cpus: number, cores: number): number {
  const level = eax >>> 5 & 7;
  const ids = level >= SHARED_CACHE_LEVEL ? Math.min((1 << idBits(cpus)) - 1, 0xfff) : 0;
  return ((eax & 0x3fff) | (ids << 14) | (cores << 26)) >>> 0;
}

/** Leaves 0BH and 1FH: how far the APIC id is shifted for what comes above a level, and how many are in it. */
function levelLeaves(number: number, index: number, cpus: number): CpuidLeaf[] {
  const rows: readonly (readonly [shift: number, count: number, type: number])[] = [
    [0, 1, LEVEL.thread],
    [idBits(cpus), cpus, LEVEL.core],
    [0, 0, LEVEL.none],
  ];
  return rows.map(([eax, ebx, type], level) => ({
    function: number,
    index: level,
    eax,
    ebx,
    ecx: type << 8 | level,
    edx: index,
  }));
}
