import { withTopology } from "../x86/topology.ts";
import { FLAG, kvm_cpuid2, kvm_cpuid_entry2 } from "./abi.ts";
import type { CpuidEntry } from "./system.ts";

/** CPUID.1:ECX: "not used, reads as zero" on processors, and one under a hypervisor (APM vol. 3, E.3.2). */
const HYPERVISOR_BIT = 1 << 31;

/**
 * The leaves with the bit that says there is a hypervisor. KVM does not report it, though it has leaves of its own: a
 * guest that does not see the bit does not look at those, and does without KVM's clock.
 */
export function underHypervisor(supported: readonly CpuidEntry[]): CpuidEntry[] {
  return supported.map((leaf) =>
    leaf.function === 1 ? { ...leaf, ecx: (leaf.ecx | HYPERVISOR_BIT) >>> 0 } : leaf
  );
}

/**
 * The CPUID leaves of one vCPU: what KVM can give, with the fields that name the processor's own place among the others.
 * LAPIC ids count from 0 like vCPUs; the hypervisor's leaves stay.
 */
export function cpuidFor(supported: readonly CpuidEntry[], index: number, cpus: number): CpuidEntry[] {
  return withTopology(supported, index, cpus, (leaf) => ({
    ...leaf,
    flags: FLAG.CPUID_FLAG_SIGNIFCANT_INDEX,
    padding: [0, 0, 0],
  }));
}

/** The leaves as KVM_SET_CPUID2 takes them. */
export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(kvm_cpuid2.size + entries.length * kvm_cpuid_entry2.size);
  const view = new DataView(buffer.buffer);
  kvm_cpuid2.write(view, { nent: entries.length });
  entries.forEach((entry, i) =>
    kvm_cpuid_entry2.write(view, entry, kvm_cpuid2.size + i * kvm_cpuid_entry2.size)
  );
  return buffer;
}

/** The leaves in what `encodeCpuid` made. */
export function decodeCpuid(buffer: Uint8Array): CpuidEntry[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const { nent } = kvm_cpuid2.read(view);
  return Array.from(
    { length: nent },
    (_, i) => kvm_cpuid_entry2.read(view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size),
  );
}
