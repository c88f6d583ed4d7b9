/** The capabilities that tell a driver where the parts of a virtio device over PCI are (virtio 1.2, 4.1.4). */
import { MSIX_CAPABILITY, MSIX_ENABLE_BIT, MSIX_FUNCTION_MASK_BIT } from "../pci/msix.ts";
import {
  CAPABILITIES_POINTER,
  type ConfigSpace,
  STATUS,
  STATUS_CAPABILITIES_BIT,
} from "../pci/config_space.ts";
import { COMMON_BYTES } from "./common_config.ts";

/** Vendor-specific (PCI 3.0, appendix H). */
const VENDOR_CAPABILITY = 0x09;
/** Types (4.1.4). */
const TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

/** The base address registers: everything of virtio's own, and MSI-X. */
export const REGISTERS_BAR = 0;
export const MSIX_BAR = 1;
/** Where the parts begin in the first one. */
export const PART = { common: 0x0000, isr: 0x1000, device: 0x2000, notify: 0x3000 } as const;
/** Bytes of a part, and of them all. */
export const PART_BYTES = 0x1000;
export const REGISTERS_BYTES = 0x4000;
/** notify_off_multiplier: bytes from a queue's place for notifications to the next one's. */
export const NOTIFY_BYTES = 4;

/** Where in configuration space they are. */
export const MSIX_AT = 0x40;
export const MSIX_CONTROL = MSIX_AT + 2;
const COMMON_AT = 0x50;
const ISR_AT = 0x60;
const DEVICE_AT = 0x70;
const NOTIFY_AT = 0x80;
const WINDOW_AT = 0x98;
/** The window's fields, which the driver writes (4.1.4.9). */
export const WINDOW = {
  bar: WINDOW_AT + 4,
  offset: WINDOW_AT + 8,
  length: WINDOW_AT + 12,
  data: WINDOW_AT + 16,
} as const;

/** What there is to tell. */
export interface Parts {
  readonly vectors: number;
  /** Where MSI-X has its pending bits. */
  readonly pendingOffset: number;
  readonly queues: number;
}

/** Puts the list of capabilities into configuration space. */
export function addCapabilities(config: ConfigSpace, parts: Parts): void {
  config.initial(STATUS, STATUS_CAPABILITIES_BIT, 2);
  config.initial(CAPABILITIES_POINTER, MSIX_AT, 1);
  config.initial(MSIX_AT, MSIX_CAPABILITY | COMMON_AT << 8 | (parts.vectors - 1) << 16, 4);
  config.initial(MSIX_AT + 4, MSIX_BAR, 4); // the table
  config.initial(MSIX_AT + 8, parts.pendingOffset | MSIX_BAR, 4);
  config.allow(MSIX_CONTROL, MSIX_ENABLE_BIT | MSIX_FUNCTION_MASK_BIT, 2);
  part(config, COMMON_AT, ISR_AT, TYPE.COMMON, PART.common, COMMON_BYTES);
  part(config, ISR_AT, DEVICE_AT, TYPE.ISR, PART.isr, 1);
  // The whole part, though most of it reads as zeros: iPXE takes no card whose part ends before the fields it knows.
  part(config, DEVICE_AT, NOTIFY_AT, TYPE.DEVICE, PART.device, PART_BYTES);
  part(config, NOTIFY_AT, WINDOW_AT, TYPE.NOTIFY, PART.notify, parts.queues * NOTIFY_BYTES, 20);
  config.initial(NOTIFY_AT + 16, NOTIFY_BYTES, 4);
  part(config, WINDOW_AT, 0, TYPE.PCI, 0, 0, 20);
  config.allow(WINDOW.bar, 0xff, 1);
  for (const field of [WINDOW.offset, WINDOW.length, WINDOW.data]) config.allow(field, 0xffff_ffff, 4);
}

/** `struct virtio_pci_cap` (4.1.4). */
function part(
  config: ConfigSpace,
  at: number,
  next: number,
  type: number,
  offset: number,
  length: number,
  bytes = 16,
): void {
  config.initial(at, VENDOR_CAPABILITY | next << 8 | bytes << 16 | type << 24, 4);
  config.initial(at + 4, REGISTERS_BAR, 4);
  config.initial(at + 8, offset, 4);
  config.initial(at + 12, length, 4);
}
