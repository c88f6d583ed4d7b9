import type { State } from "./state.ts";

type Leaf = readonly [eax: number, ebx: number, ecx: number, edx: number];

/** Twelve letters in EBX, EDX, ECX. */
function vendor(name: string): [ebx: number, ecx: number, edx: number] {
  const word = (at: number) => {
    let value = 0;
    for (let i = 3; i >= 0; i--) value = value * 256 + name.charCodeAt(at + i);
    return value;
  };
  return [word(0), word(8), word(4)];
}

/** PSE, TSC, MSR, PAE, CX8, SEP no, PGE, CMOV, PAT, CLFLUSH; what the interpreter can do and no more. */
const FEATURES_EDX = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 15 | 1 << 16 | 1 << 19;
/** CMPXCHG16B, and "running under a hypervisor". */
const FEATURES_ECX = (1 << 13) + 2 ** 31;
/** NX, RDTSCP, long mode. */
const EXTENDED_EDX = 1 << 20 | 1 << 27 | 1 << 29;

/** The leaves that have something to say. */
export const CPUID_LEAVES: readonly number[] = [0, 1, 7, 0x8000_0000, 0x8000_0001, 0x8000_0008];

/** CPUID (SDM vol. 2A): the same on every host. */
export function cpuid(leaf: number, state: State): Leaf {
  switch (leaf) {
    case 0:
      return [7, ...vendor("hvsh  fake  ")];
    case 1:
      // Family 6, model 0; the APIC id is the vCPU's number; CLFLUSH lines of 64 bytes.
      return [0x600, (state.index << 24 | 8 << 8) >>> 0, FEATURES_ECX, FEATURES_EDX];
    case 7:
      // LA57.
      return [0, 0, 1 << 16, 0];
    case 0x80000000:
      return [0x80000008, 0, 0, 0];
    case 0x80000001:
      return [0, 0, 1, EXTENDED_EDX];
    case 0x80000008:
      return [57 << 8 | 52, 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}
