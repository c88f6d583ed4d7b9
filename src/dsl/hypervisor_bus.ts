/** The PCI bus of a hypervisor's device model, as a device of ours: functions of ours stand among its own. */
import { PciHost } from "../devices/pci/pci_host.ts";
import type { PciFunction } from "../devices/pci/pci_function.ts";
import type { BackendPci } from "../vm/backend.ts";

/** The bus, on which nobody has joined yet. */
export function busOf(pci: BackendPci): PciHost {
  const router = { route: (slot: number, pin: number) => pci.line(slot, pin), irq: () => undefined };
  return new PciHost({ configured: pci.configured, claims: pci, router });
}

/**
 * Finds out which slots are free.
 *
 * @throws {HvshError} If that can't be found out, unless the function names its slot: then its user knows.
 */
export async function reserveTaken(bus: PciHost, pci: BackendPci, { slot }: PciFunction): Promise<void> {
  try {
    bus.reserve(await pci.taken());
  } catch (error) {
    if (slot === undefined) throw error;
  }
}
