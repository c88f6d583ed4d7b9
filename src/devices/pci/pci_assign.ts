/** What firmware does for a PCI function: gives it addresses, and tells its driver which interrupt its pin leads to. */
import { InputError } from "../../vm/errors.ts";
import { BASE_ADDRESS, COMMAND, COMMAND_CONFIGURED, INTERRUPT_LINE } from "./config_space.ts";
import type { PciFunction } from "./pci_function.ts";

/** Where functions' memory is, clear of what the default devices have. */
export const PCI_MEMORY_START = 0xe000_0000n;
const PCI_MEMORY_END = 0xfb00_0000n;
const PAGE_BYTES = 4096n;

/**
 * Gives a function's base address registers for memory the first free places, so that a kernel that is booted without
 * firmware finds them there; a reset keeps them. I/O registers stay as they are.
 *
 * @param irq The ISA interrupt that its pin leads to, if to any.
 * @param free Whether a range of guest-physical addresses has neither memory nor a device.
 * @throws {InputError} If there is no place left.
 */
export function assignResources(
  { config, name }: PciFunction,
  irq: number | undefined,
  free: (start: bigint, length: bigint) => boolean,
): void {
  let next = PCI_MEMORY_START;
  for (const [i, bar] of config.bars.entries()) {
    if (bar === undefined || bar.kind === "io") continue;
    const size = BigInt(bar.size) > PAGE_BYTES ? BigInt(bar.size) : PAGE_BYTES;
    let at = (next + size - 1n) / size * size;
    while (at + size <= PCI_MEMORY_END && !free(at, size)) at += size;
    if (at + size > PCI_MEMORY_END) {
      throw new InputError(`there is no room left for ${name} among the PCI functions' addresses`, {
        remedy: 'remove a device, or take transport: "mmio"',
      });
    }
    const offset = BASE_ADDRESS + 4 * i;
    config.initial(offset, Number(at) | config.get(offset, 1) & 0x0f, 4);
    next = at + size;
  }
  config.initial(COMMAND, COMMAND_CONFIGURED, 2);
  if (irq !== undefined) config.initial(INTERRUPT_LINE, irq, 1);
}
