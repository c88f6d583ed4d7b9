/**
 * What the firmware finds behind fw_cfg's selector keys: items by number, and named files with a directory.
 *
 * Specification: QEMU, docs/specs/fw_cfg.rst; keys: <linux/qemu_fw_cfg.h> and QEMU's include/standard-headers.
 */
import { InputError } from "../vm/errors.ts";
import { bits, list, record } from "./state.ts";

/** Selector keys of the items that have no name. */
export const KEY = {
  SIGNATURE: 0x00,
  ID: 0x01,
  UUID: 0x02,
  RAM_SIZE: 0x03,
  NOGRAPHIC: 0x04,
  NB_CPUS: 0x05,
  MACHINE_ID: 0x06,
  KERNEL_ADDR: 0x07,
  KERNEL_SIZE: 0x08,
  KERNEL_CMDLINE: 0x09,
  INITRD_ADDR: 0x0a,
  INITRD_SIZE: 0x0b,
  BOOT_DEVICE: 0x0c,
  NUMA: 0x0d,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_ENTRY: 0x10,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_ADDR: 0x13,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  SETUP_ADDR: 0x16,
  SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
  FILE_DIR: 0x19,
  FILE_FIRST: 0x20,
  ACPI_TABLES: 0x8000,
  SMBIOS_ENTRIES: 0x8001,
  IRQ0_OVERRIDE: 0x8002,
  E820_TABLE: 0x8003,
} as const;

/** Keys 0x4000..0x7fff and 0xc000.. mean the same items as those without this bit (specification, Ranges). */
const WRITE_CHANNEL_BIT = 0x4000;
/** Where RAM continues above 4 GiB. */
const BELOW_4G_LIMIT = 3n << 30n;
const NAME_BYTES = 56;
const ENTRY_BYTES = 64;
/** Files a directory holds; keys must stay below the write channel. */
const FILES_LIMIT = 1024;

/** One item: its bytes, and whether the guest may change them through the DMA interface. */
export interface FwCfgItem {
  readonly bytes: Uint8Array;
  readonly writable: boolean;
  /** Called after the guest changed it. */
  readonly written?: (bytes: Uint8Array) => void;
}

/** How a file is offered. */
export interface FwCfgFileOptions {
  /** Whether the guest may write it (its size never changes). Default: no. */
  readonly writable?: boolean;
  /** Called after the guest changed it. */
  readonly written?: (bytes: Uint8Array) => void;
}

const savedContents = list(
  record<{ key: number; bytes: number[] }>({
    key: bits(16),
    bytes: list(bits(8), 0, 1 << 20),
  }),
  0,
  FILES_LIMIT,
);

/** All items of a machine. */
export class FwCfgItems {
  readonly #items = new Map<number, FwCfgItem>();
  readonly #files = new Map<string, FwCfgItem>();
  /** Files sorted by name, as QEMU's are; made again when one comes or goes. */
  #sorted: [string, FwCfgItem][] | undefined;
  #directory = new Uint8Array(4);

  /** Names and sizes of the files, sorted, with the keys they have now. */
  get files(): readonly { readonly name: string; readonly key: number; readonly size: number }[] {
    return this.#list().map(([name, item], i) => ({
      name,
      key: KEY.FILE_FIRST + i,
      size: item.bytes.length,
    }));
  }

  /** Sets what is behind a numbered key. @throws {InputError} If the key is out of range or a file's. */
  set(key: number, bytes: Uint8Array): void {
    const generic = key & ~0x8000;
    if (!(key >= 0 && key <= 0xffff && Number.isInteger(key)) || generic >= WRITE_CHANNEL_BIT) {
      throw new InputError(`fw_cfg has no key ${key}`, { remedy: "use 0..0x3fff or 0x8000..0xbfff" });
    }
    if (key === KEY.FILE_DIR || (key >= KEY.FILE_FIRST && key < KEY.FILE_FIRST + FILES_LIMIT)) {
      throw new InputError(`fw_cfg key 0x${key.toString(16)} belongs to the files`, { remedy: "add a file" });
    }
    this.#items.set(key, { bytes: bytes.slice(), writable: false });
  }

  /**
   * Adds a file, or replaces the one of that name. The keys of files whose names come later change: do it
   * before the guest has read the directory.
   *
   * @throws {InputError} If the name is empty, not ASCII, longer than 55 characters, or there are too many.
   */
  addFile(name: string, bytes: Uint8Array, options: FwCfgFileOptions = {}): void {
    if (!/^[\x21-\x7e]+$/.test(name) || name.length >= NAME_BYTES) {
      throw new InputError(`"${name}" can't be a fw_cfg file name`, {
        remedy: `use 1 to ${NAME_BYTES - 1} printable ASCII characters`,
      });
    }
    if (this.#files.size >= FILES_LIMIT && !this.#files.has(name)) {
      throw new InputError(`fw_cfg holds no more than ${FILES_LIMIT} files`);
    }
    const { writable = false, written } = options;
    this.#files.set(name, { bytes: bytes.slice(), writable, written });
    this.#sorted = undefined;
  }

  /** Takes a file away; says whether there was one. */
  removeFile(name: string): boolean {
    this.#sorted = undefined;
    return this.#files.delete(name);
  }

  /** What is behind `key` as the guest writes it, undefined if nothing. */
  find(key: number): FwCfgItem | undefined {
    const item = key & ~WRITE_CHANNEL_BIT;
    if (item === KEY.FILE_DIR) {
      this.#list();
      return { bytes: this.#directory, writable: false };
    }
    return this.#items.get(item) ?? this.#list()[item - KEY.FILE_FIRST]?.[1];
  }

  /** Contents of the writable files, for a saved state. */
  save(): { key: number; bytes: number[] }[] {
    return this.#list().flatMap(([, { bytes, writable }], i) =>
      writable ? [{ key: KEY.FILE_FIRST + i, bytes: [...bytes] }] : []
    );
  }

  /** Takes what `save` gave. @throws {InputError} If the files here are others. Nothing changed then. */
  restore(saved: unknown): void {
    const contents = savedContents(saved, "fw_cfg.contents");
    for (const { key, bytes } of contents) {
      const item = this.find(key);
      if (item?.writable !== true || item.bytes.length !== bytes.length) {
        throw new InputError(`The saved fw_cfg state has another file behind key 0x${key.toString(16)}`, {
          remedy: "restore it on a machine with the same fw_cfg files",
        });
      }
    }
    for (const { key, bytes } of contents) this.find(key)?.bytes.set(bytes);
  }

  #list(): readonly [string, FwCfgItem][] {
    if (this.#sorted !== undefined) return this.#sorted;
    this.#sorted = [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1));
    // struct FWCfgFiles, big-endian: count, then {size, select, reserved, name[56]} each.
    this.#directory = new Uint8Array(4 + ENTRY_BYTES * this.#sorted.length);
    const view = new DataView(this.#directory.buffer);
    view.setUint32(0, this.#sorted.length);
    this.#sorted.forEach(([name, { bytes }], i) => {
      const at = 4 + ENTRY_BYTES * i;
      view.setUint32(at, bytes.length);
      view.setUint16(at + 4, KEY.FILE_FIRST + i);
      this.#directory.set(new TextEncoder().encode(name), at + 8);
    });
    return this.#sorted;
  }
}

/** `value` in `width` bytes, little-endian: how items hold numbers (x86). */
export function littleEndian(value: number | bigint, width: 1 | 2 | 4 | 8): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes.subarray(0, width);
}

/** One line of `etc/e820`. */
export interface E820Entry {
  /** Guest-physical address. */
  readonly start: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** 1 RAM, 2 reserved, 3 ACPI, 4 ACPI NVS. */
  readonly type: number;
}

/** The file `etc/e820`: {u64 address, u64 length, u32 type} each, packed, little-endian. */
export function e820Table(entries: readonly E820Entry[]): Uint8Array {
  const table = new Uint8Array(20 * entries.length);
  const view = new DataView(table.buffer);
  entries.forEach(({ start, length, type }, i) => {
    view.setBigUint64(20 * i, start, true);
    view.setBigUint64(20 * i + 8, length, true);
    view.setUint32(20 * i + 16, type, true);
  });
  return table;
}

/**
 * The memory map of a machine with `memory` bytes of RAM: what exceeds 3 GiB lies above 4 GiB, and the pages below
 * the firmware where KVM may keep its task state segment are reserved. SeaBIOS adds its own areas.
 */
export function machineMemoryMap(memory: number | bigint): E820Entry[] {
  const all = BigInt(memory);
  const below = all < BELOW_4G_LIMIT ? all : BELOW_4G_LIMIT;
  const map: E820Entry[] = [
    { start: 0n, length: below, type: 1 },
    { start: 0xfffb_c000n, length: 0x4000n, type: 2 },
  ];
  if (all > below) map.push({ start: 1n << 32n, length: all - below, type: 1 });
  return map;
}

/** The file `bootorder`: OpenFirmware-like device paths, the first choice first, a line each, ending in NUL. */
export function bootOrder(paths: readonly string[]): Uint8Array {
  return new TextEncoder().encode(`${paths.join("\n")}\0`);
}
