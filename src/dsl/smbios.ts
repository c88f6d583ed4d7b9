/** The SMBIOS tables of a guest that is booted without firmware, which would have put them into memory. */
import { checksum } from "../x86/acpi/tables.ts";
import { type BootWrite, ramSpans, spanOf } from "../x86/boot/image.ts";
import { smbiosTables } from "../x86/smbios.ts";

/** Behind the ACPI tables, in what the memory map says is not the kernel's. */
const AT = 0xff000n;
const END = 0x100000n;
/** The entry point goes first; structures are not aligned (DSP0134 2.8.0, 5.2.1). */
const STRUCTURES = 32;
/** Offsets in the entry point: two checksums, of all of it and of its second half, and the structures' address. */
const CHECKSUM = 4;
const HALF = 16;
const HALF_CHECKSUM = 21;
const ADDRESS = 24;

/**
 * Entry point and structures for such a guest, or undefined where the boot image lies there already.
 *
 * @param writes What the boot image puts into memory.
 */
export function smbiosWrite(
  machine: { readonly cpus: number; readonly memory: number },
  writes: readonly BootWrite[],
): BootWrite | undefined {
  if (writes.map(spanOf).some(({ at, size }) => at < END && AT < at + size)) return undefined;
  const ram = ramSpans(machine.memory).map(({ at, size }) => ({ start: at, length: size }));
  const { anchor, structures } = smbiosTables({ cpus: machine.cpus, ram });
  new DataView(anchor.buffer).setUint32(ADDRESS, Number(AT) + STRUCTURES, true);
  anchor[HALF_CHECKSUM] = checksum(anchor.subarray(HALF));
  anchor[CHECKSUM] = checksum(anchor);
  const bytes = new Uint8Array(STRUCTURES + structures.length);
  bytes.set(anchor);
  bytes.set(structures, STRUCTURES);
  return { at: AT, bytes, name: "SMBIOS tables" };
}
