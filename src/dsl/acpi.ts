/** The ACPI tables of a guest that is booted without firmware, which would have made them. */
import { PCI_MEMORY_START } from "../devices/pci/pci_assign.ts";
import { ECAM_BYTES, ECAM_START, PciHost } from "../devices/pci/pci_host.ts";
import { Pvpanic } from "../devices/pvpanic.ts";
import { VirtioMmio } from "../devices/virtio/virtio_mmio.ts";
import type { Device } from "../vm/device.ts";
import { acpiTables } from "../x86/acpi/pc.ts";
import { type BootWrite, spanOf } from "../x86/boot/image.ts";

/** Where kernels search for the root pointer, and what the memory map says is not theirs. */
const AT = 0xf0000n;
const END = 0x100000n;

const PCI = {
  // Up to the I/O APIC, but for configuration space: the VGA's framebuffer is in the second one.
  memory: [
    { first: PCI_MEMORY_START, last: ECAM_START - 1n },
    { first: ECAM_START + ECAM_BYTES, last: 0xfebf_ffffn },
  ],
  ecam: { at: ECAM_START, length: ECAM_BYTES },
};

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
  // A bus with nothing but the chipset's functions has nothing that such a guest needs, and takes time to look at.
  const bus = machine.devices.find((d) => d instanceof PciHost);
  const pci = bus !== undefined && bus.crowded && bus.mmio.length > 0;
  const { at, bytes } = acpiTables({
    cpus: machine.cpus,
    pm: { port: 0x600, sci: 9 },
    ...(panic && { panicPort: panic.ports.start }),
    ...(pci && { pci: PCI }),
    virtio,
  }, AT);
  return { at, bytes, name: "ACPI tables" };
}
