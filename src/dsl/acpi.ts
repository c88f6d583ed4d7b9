/** The ACPI tables of a guest that is booted without firmware, which would have made them. */
import { Pvpanic } from "../devices/pvpanic.ts";
import { VirtioMmio } from "../devices/virtio/virtio_mmio.ts";
import type { Device } from "../vm/device.ts";
import { acpiTables } from "../x86/acpi/pc.ts";
import { type BootWrite, spanOf } from "../x86/boot/image.ts";

/** Where kernels search for the root pointer, and what the memory map says is not theirs. */
const AT = 0xf0000n;
const END = 0x100000n;

/**
 * Tables for a guest with these devices, or undefined where the boot image lies there already.
 *
 * @param writes What the boot image puts into memory.
 */
export function acpiWrite(
  machine: { readonly cpus: number; readonly devices: readonly Device[] },
  writes: readonly BootWrite[],
): BootWrite | undefined {
  const taken = writes.map(spanOf).some(({ at, size }) => at < END && AT < at + size);
  if (taken) return undefined;
  const virtio = machine.devices.filter((d) => d instanceof VirtioMmio).map((d) => ({
    at: d.mmio.start,
    length: BigInt(d.mmio.length),
    gsi: d.irq,
  }));
  const panic = machine.devices.find((d) => d instanceof Pvpanic);
  const { at, bytes } = acpiTables({
    cpus: machine.cpus,
    pm: { port: 0x600, sci: 9 },
    ...(panic && { panicPort: panic.ports.start }),
    virtio,
  }, AT);
  return { at, bytes, name: "ACPI tables" };
}
