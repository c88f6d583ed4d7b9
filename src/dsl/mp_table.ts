/** The MultiProcessor tables of a guest that is booted without firmware, which would have put them into memory. */
import { PIC_LEFT_BY_BIOS } from "../x86/bios_pic.ts";
import { type BootWrite, spanOf } from "../x86/boot/image.ts";
import { type CpuidLeaf, cpuidLeaf } from "../x86/cpuid.ts";
import { MP_MOST_CPUS, mpTable } from "../x86/mp_table.ts";

/** Between ACPI's tables and SMBIOS's, where kernels search for them (4.0): 0xf0000 to 0xfffff. */
const AT = 0xfd000n;
const END = 0xff000n;
/** ACPI's own interrupt. */
const SCI = 9;

/**
 * The tables for such a guest, or undefined where something lies there already, or for more vCPUs than they can tell of.
 *
 * @param leaves What CPUID says.
 * @param writes What is put into memory besides.
 */
export function mpTableWrite(
  cpus: number,
  leaves: readonly CpuidLeaf[],
  writes: readonly BootWrite[],
): BootWrite | undefined {
  if (cpus > MP_MOST_CPUS) return undefined;
  if (writes.map(spanOf).some(({ at, size }) => at < END && AT < at + size)) return undefined;
  const { eax: signature = 0, edx: features = 0 } = cpuidLeaf(leaves, 1) ?? {};
  const [first, second] = PIC_LEFT_BY_BIOS.level;
  const level = Array.from({ length: 16 }, (_, irq) => irq).filter((irq) =>
    irq === SCI || (first | second << 8) >> irq & 1
  );
  return { at: AT, bytes: mpTable({ cpus, signature, features, level }, AT), name: "MP tables" };
}
