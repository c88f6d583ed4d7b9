/** Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst, 1.15; zero-page.rst). */
import { InputError } from "../../vm/errors.ts";
import {
  arrange,
  type BootImage,
  type BootWrite,
  cString,
  findRoom,
  hex,
  memoryMap,
  spanOf,
  usableEnd,
} from "./image.ts";
import { PageTables } from "./page_tables.ts";
import { linuxGdt, linuxMode } from "./state.ts";

// The setup header, offsets in the file and in boot_params alike (boot.rst, 1.3).
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const VID_MODE = 0x1fa;
const BOOT_FLAG = 0x1fe;
const JUMP_LENGTH = 0x201;
const HEADER = 0x202;
const VERSION = 0x206;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const INITRD_ADDR_MAX = 0x22c;
const KERNEL_ALIGNMENT = 0x230;
const RELOCATABLE_KERNEL = 0x234;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;
const SETUP_HEADER_END = 0x290;

// boot_params beside the header (zero-page.rst).
const BOOT_PARAMS_SIZE = 4096;
const ORIG_VIDEO_MODE = 0x06;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_ENTRY_SIZE = 20;

/** Version 2.12 brought xloadflags, and with it the 64-bit entry. */
const VERSION_64 = 0x20c;
const XLF_KERNEL_64_BIT = 1;
const LOADED_HIGH_BIT = 1;
/** The 64-bit entry, from the start of the protected-mode kernel. */
const ENTRY_64 = 0x200n;
const FOUR_GIB = 1n << 32n;

/** How Linux is started. */
export interface LinuxOptions {
  /** Bytes of RAM. */
  readonly memory: number;
  /** The initial RAM disk. */
  readonly initrd?: Uint8Array;
  /** The kernel's command line. */
  readonly cmdline?: string;
}

/** Whether `bytes` are a bzImage: the boot sector's signature and "HdrS". */
export function isLinux(bytes: Uint8Array): boolean {
  if (bytes.length < SETUP_HEADER_END) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getUint16(BOOT_FLAG, true) === 0xaa55 && view.getUint32(HEADER, true) === 0x53726448;
}

/**
 * A bzImage, entered in 64-bit mode: the kernel at its preferred address, or as low as it lets itself be moved
 * where that is not RAM; the initrd as high as the kernel allows; boot_params, command line, GDT and page tables
 * (the first 4 GiB mapped to themselves) in low memory.
 *
 * @throws {InputError} If it is no bzImage, has no 64-bit entry, is truncated, or anything does not fit.
 */
export function linuxImage(kernel: Uint8Array, options: LinuxOptions): BootImage {
  const { memory, cmdline = "", initrd } = options;
  if (!isLinux(kernel)) {
    throw new InputError("The kernel is no bzImage: it has no boot sector with 55 aa and HdrS", {
      remedy: "give arch/x86/boot/bzImage (/boot/vmlinuz-*); use elf() for a vmlinux",
    });
  }
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const version = view.getUint16(VERSION, true);
  if (version < VERSION_64 || (view.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64_BIT) === 0) {
    throw new InputError(
      `The kernel has no 64-bit entry (boot protocol ${version >> 8}.${
        String(version & 0xff).padStart(2, "0")
      })`,
      { remedy: "give an x86-64 kernel of Linux 3.8 or newer" },
    );
  }
  const start = ((kernel[SETUP_SECTS] || 4) + 1) * 512;
  const size = view.getUint32(SYSSIZE, true) * 16;
  const file = kernel.length - start;
  // syssize is rounded up to 16 bytes; the file may have a signature behind it.
  if (file <= Number(ENTRY_64) || file < size - 15) {
    throw new InputError(
      `The kernel is truncated: its header asks for ${start + size} bytes, it has ${kernel.length}`,
      {
        remedy: "copy the kernel again",
      },
    );
  }
  const body = kernel.subarray(start);
  const initSize = Math.max(view.getUint32(INIT_SIZE, true), body.length);
  const at = loadAddress(view, BigInt(initSize), memory);
  const writes: BootWrite[] = [{ at, bytes: body, zeros: initSize - body.length, name: "Linux kernel" }];

  const params = new Uint8Array(BOOT_PARAMS_SIZE);
  const zero = new DataView(params.buffer);
  const headerEnd = Math.min(HEADER + kernel[JUMP_LENGTH], SETUP_HEADER_END);
  params.set(kernel.subarray(SETUP_SECTS, headerEnd), SETUP_SECTS);
  zero.setUint8(TYPE_OF_LOADER, 0xff); // no number assigned
  zero.setUint8(LOADFLAGS, zero.getUint8(LOADFLAGS) | LOADED_HIGH_BIT);
  zero.setUint16(VID_MODE, 0xffff, true); // "normal"
  // Text mode 3, 80 by 25, VGA, 16 lines a character (struct screen_info).
  params.set([3, 80], ORIG_VIDEO_MODE);
  params.set([25, 1, 16], 0x0e);
  memoryMap(memory).forEach((row, i) => {
    const entry = E820_TABLE + E820_ENTRY_SIZE * i;
    zero.setBigUint64(entry, row.at, true);
    zero.setBigUint64(entry + 8, row.size, true);
    zero.setUint32(entry + 16, row.type, true);
    zero.setUint8(E820_ENTRIES, i + 1);
  });
  if (initrd !== undefined && initrd.length > 0) {
    const place = initrdAddress(view, initrd.length, at + BigInt(initSize), memory);
    writes.push({ at: place, bytes: initrd, name: "initrd" });
    zero.setUint32(RAMDISK_IMAGE, Number(place), true);
    zero.setUint32(RAMDISK_SIZE, initrd.length, true);
  }
  const command = cString("command line", cmdline, view.getUint32(CMDLINE_SIZE, true) + 1);
  const tables = new PageTables();
  tables.map(0n, 0n, FOUR_GIB);
  const room = 0x3000n + tables.size + BigInt(command.length);
  const base = findRoom("boot parameters", room, writes.map(spanOf), memory, { preferred: [0x10000n] });
  const gdtAt = base + 0x1000n;
  const cr3 = base + 0x3000n;
  const commandAt = cr3 + tables.size;
  zero.setUint32(CMD_LINE_PTR, Number(commandAt), true);
  writes.push(
    { at: base, bytes: params, name: "boot parameters" },
    { at: gdtAt, bytes: linuxGdt(), name: "GDT" },
    { at: cr3, bytes: tables.bytes(cr3), name: "page tables" },
    { at: commandAt, bytes: command, name: "command line" },
  );
  return {
    protocol: "linux",
    writes: arrange(writes, memory),
    // A stack of one page, between GDT and page tables, until the kernel has its own.
    registers: { ...linuxMode(at + ENTRY_64, cr3, gdtAt, cr3), rsi: base },
    notes: [],
  };
}

/** Where the kernel goes: pref_address, else the first aligned address from 1 MiB on, if it is relocatable. */
function loadAddress(view: DataView, size: bigint, memory: number): bigint {
  const low = usableEnd(memory);
  const preferred = view.getBigUint64(PREF_ADDRESS, true);
  const fits = (at: bigint) => at >= 0x100000n && at + size <= low;
  if (fits(preferred)) return preferred;
  const align = BigInt(Math.max(view.getUint32(KERNEL_ALIGNMENT, true), 4096));
  const least = (0x100000n + align - 1n) / align * align;
  if (view.getUint8(RELOCATABLE_KERNEL) !== 0 && fits(least)) return least;
  throw new InputError(
    `The kernel needs ${size} bytes at ${hex(preferred)}; the guest's RAM ends at ${hex(low)}`,
    {
      remedy: "give the guest more memory (-m)",
    },
  );
}

/** As high as the kernel allows (initrd_addr_max is the last byte's address), behind the kernel. */
function initrdAddress(view: DataView, size: number, kernelEnd: bigint, memory: number): bigint {
  const low = usableEnd(memory);
  const most = BigInt(view.getUint32(INITRD_ADDR_MAX, true)) + 1n;
  const end = low < most ? low : most;
  const at = (end - BigInt(size)) / 4096n * 4096n;
  if (at < kernelEnd) {
    throw new InputError(
      `There is no room for an initrd of ${size} bytes between ${hex(kernelEnd)} and ${hex(end)}`,
      {
        remedy: "give the guest more memory (-m), or a smaller initrd",
      },
    );
  }
  return at;
}
