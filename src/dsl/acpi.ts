/**
 * The ACPI tables of a machine: put into the memory of a guest that is booted without firmware, or handed to the
 * firmware, which knows where to.
 */
import type { FwCfg } from "../devices/fw_cfg.ts";
import { Piix3Ide } from "../devices/ide/piix3_ide.ts";
import { PCI_MEMORY_START } from "../devices/pci/pci_assign.ts";
import { ECAM_BYTES, ECAM_START, PciHost } from "../devices/pci/pci_host.ts";
import { CONFIGURED_ROUTES } from "../devices/pci/piix3.ts";
import { Pvpanic } from "../devices/pvpanic.ts";
import { VirtioMmio } from "../devices/virtio/virtio_mmio.ts";
import type { Device } from "../vm/device.ts";
import { acpiFiles } from "../x86/acpi/loader.ts";
import { type AcpiPc, type AcpiPci, acpiTables } from "../x86/acpi/pc.ts";
import { lay } from "../x86/acpi/tables.ts";
import { type BootWrite, ramSpans, spanOf } from "../x86/boot/image.ts";

/** A machine, as far as its tables tell of it. */
interface Described {
  readonly cpus: number;
  readonly devices: readonly Device[];
}

/** Where kernels search for the root pointer, and what the memory map says is not theirs. */
const AT = 0xf0000n;
const END = 0x100000n;

/** The last byte below the I/O APIC. */
const PCI_MEMORY_LAST = 0xfebf_ffffn;
const CONFIGURED_PCI: AcpiPci = {
  // All but configuration space: the VGA's framebuffer is in the second one.
  memory: [
    { first: PCI_MEMORY_START, last: ECAM_START - 1n },
    { first: ECAM_START + ECAM_BYTES, last: PCI_MEMORY_LAST },
  ],
  ecam: { at: ECAM_START, length: ECAM_BYTES },
  pirqs: CONFIGURED_ROUTES,
};
/** How SeaBIOS routes them (src/fw/pciinit.c, pci_irqs); other firmware reads what it wants from these tables. */
const SEABIOS_ROUTES: AcpiPci["pirqs"] = [10, 10, 11, 11];

/**
 * Tables for a guest with these devices, or undefined where the boot image lies there already.
 *
 * @param writes What the boot image puts into memory.
 */
export function acpiWrite(machine: Described, writes: readonly BootWrite[]): BootWrite | undefined {
  const taken = writes.map(spanOf).some(({ at, size }) => at < END && AT < at + size);
  if (taken) return undefined;
  // A bus with nothing but the chipset's functions has nothing that such a guest needs, and takes time to look at.
  const bus = machine.devices.find((d) => d instanceof PciHost);
  const disks = machine.devices.some((d) => d instanceof Piix3Ide && d.driven);
  const pci = bus !== undefined && (bus.crowded || disks) && bus.mmio.length > 0;
  const { at, bytes } = acpiTables(described(machine, pci ? CONFIGURED_PCI : undefined), AT);
  return { at, bytes, name: "ACPI tables" };
}

/** Tells the kernel by its boot protocol where the root pointer is. @param at Where it looks for that, 8 bytes. */
export function pointerWrite(at: bigint, root: bigint): BootWrite {
  return { at, bytes: lay([[root, 8]]), name: "address of the ACPI root pointer" };
}

/** Hands the firmware tables that tell of these devices. */
export function acpiForFirmware(fwCfg: FwCfg, machine: Described & { readonly memory: number }): void {
  const low = ramSpans(machine.memory).map(({ at, size }) => at + size).filter((end) =>
    end <= PCI_MEMORY_LAST
  );
  const first = low.reduce((most, end) => end > most ? end : most, 0n);
  const pci = { memory: [{ first, last: PCI_MEMORY_LAST }], pirqs: SEABIOS_ROUTES };
  for (const [name, bytes] of Object.entries(acpiFiles(described(machine, pci)))) {
    fwCfg.items.addFile(name, bytes);
  }
}

function described({ cpus, devices }: Described, pci: AcpiPci | undefined): AcpiPc {
  const virtio = devices.filter((d) => d instanceof VirtioMmio).map((d) => ({
    at: d.mmio.start,
    length: BigInt(d.mmio.length),
    gsi: d.irq,
  }));
  const panic = devices.find((d) => d instanceof Pvpanic);
  return {
    cpus,
    pm: { port: 0x600, sci: 9 },
    ...(panic && { panicPort: panic.ports.start }),
    ...(pci && { pci }),
    virtio,
  };
}
