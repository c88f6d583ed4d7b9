import type { BlockBacking } from "../vm/block.ts";
import { checkChoice, checkOptions, show } from "../vm/check.ts";
import { InputError } from "../vm/errors.ts";
import type { BootModule, ElfProtocol } from "../x86/boot/elf_image.ts";
import type { BootImage } from "../x86/boot/image.ts";
import { unreadable } from "./file_error.ts";

// Each boot protocol is loaded when a guest boots by it.
const elfProtocols = () => import("../x86/boot/elf_image.ts");
const linuxProtocol = () => import("../x86/boot/linux.ts");
const rawImages = () => import("../x86/boot/raw.ts");

/** A file's path (from the working folder) or URL, or its contents. Files are read when the guest is opened. */
export type FileOrBytes = string | URL | Uint8Array;

/** What a guest boots: made by `firmware`, `bootSector`, `flat`, `elf` or `linux`. */
export interface BootSpec {
  /** Which of them made it. */
  readonly kind: "firmware" | "boot-sector" | "flat" | "elf" | "linux";
  /** The file's path, or "(bytes)". */
  readonly source: string;
  /** What firmware is told beside it, and the drives it finds. */
  readonly firmware?: FirmwareBoot;
  /**
   * Reads what it needs and lays it out for a guest with `memory` bytes of RAM.
   *
   * @throws {InputError} If a file can't be read or makes no sense.
   */
  resolve(memory: number): Promise<BootImage>;
  /**
   * The kernel and what goes with it as they are, for a hypervisor whose toolstack loads them; `elf` and `linux` have it.
   *
   * @throws {InputError} If a file can't be read.
   */
  handOver?(): Promise<HandedKernel>;
}

/** A kernel for somebody else to load. */
export interface HandedKernel {
  /** The file's contents; unpacked, where gzip had made it. */
  readonly image: Uint8Array;
  /** Initial RAM disk, or modules. */
  readonly modules: readonly Uint8Array[];
  /** Its command line. */
  readonly cmdline: string;
  /** Which protocol was asked for. */
  readonly protocol?: ElfProtocol;
}

/** The drives of a guest. */
export interface DriveOptions {
  /** The first hard disk, or up to four by place: hda (the IDE primary master), hdb, hdc, hdd. */
  disk?: DriveSource | readonly (DriveSource | undefined)[];
  /** The medium in a CD-ROM drive at the IDE secondary master (hdc), read-only; "empty" for none. */
  cdrom?: DriveSource | "empty";
  /**
   * The floppy disk in drive A, or those in A and B; "empty" for none. Images of the usual sizes; another one of less
   * than 1.44M is a disk of that size that stops early.
   */
  floppy?: DriveSource | "empty" | readonly (DriveSource | "empty" | undefined)[];
  /** Whether what the guest writes is kept in memory only, and the disks' files stay as they are. */
  snapshot?: boolean;
  /** Whether the disks can't be written. */
  readOnly?: boolean;
}

/** What firmware is told, and the drives it finds. */
export interface FirmwareBoot extends DriveOptions {
  /**
   * Whether it offers its boot menu and waits for a key (SeaBIOS: 2.5 s). If left out, it does where there is no
   * drive to boot.
   */
  menu?: boolean;
  /** What is booted from first; disk, then floppy, then cdrom, if left out. */
  order?: readonly ("disk" | "cdrom" | "floppy")[];
  /** Whether the BIOS's screen and keyboard are on the serial console too (SeaBIOS); true if left out. */
  serial?: boolean;
  /**
   * A flash chip below the image, where UEFI firmware keeps its variables: a copy of `OVMF_VARS_4M.fd` beside
   * `OVMF_CODE_4M.fd`. Written as the disks are: `snapshot` and `readOnly` hold for it too.
   */
  variables?: DriveSource;
  /**
   * The BIOS of the VGA, an option ROM of at most 127.5 KiB; "none" for none. SeaBIOS's `vgabios-stdvga.bin`, beside
   * the image or where Debian puts it, if left out.
   */
  vgabios?: string | URL | Uint8Array;
}

/** A disk or CD: a file's path, bytes (used, not copied), or a store that is open already and stays open. */
export type DriveSource = string | URL | Uint8Array | BlockBacking;

/**
 * Boots a firmware image, such as SeaBIOS, from the reset vector, on a PC with the drives that are given.
 *
 * @param image A ROM of a multiple of 4 KiB, at most 16 MiB; it ends at 4 GiB, and its last 128 KiB at 1 MiB.
 * @example
 * ```ts ignore
 * import { firmware, gva, open } from "hvsh";
 *
 * const boot = firmware("/usr/share/seabios/bios.bin", { disk: "disk.img", snapshot: true });
 * await using vm = await open({ boot });
 * await vm.breakpoints.add(gva(0x7c00n), { once: true }); // the disk's boot sector
 * await vm.continue({ timeoutMs: 30_000 });
 * ```
 */
export function firmware(image: FileOrBytes, options: FirmwareBoot = {}): BootSpec {
  return {
    ...spec("firmware", image, async (bytes, memory) => (await rawImages()).firmwareImage(bytes, memory)),
    firmware: options,
  };
}

/**
 * Boots a boot sector at 0000:7c00 in real mode, with DL = 0x80 and no BIOS behind it: its services (INT 10H
 * to 1AH) say that they have no such function.
 *
 * @param image The sector, and as much behind it as fits below the end of conventional memory (608 KiB).
 * Without 55 aa at offset 510 it is started too; `vm.boot.notes` says so.
 */
export function bootSector(image: FileOrBytes): BootSpec {
  return spec(
    "boot-sector",
    image,
    async (bytes, memory) => (await rawImages()).bootSectorImage(bytes, memory),
  );
}

/** How a flat binary is started. */
export interface FlatBoot {
  /** Guest-physical address of its first byte, which is also the entry; 0x1000 in real mode, else 0x100000. */
  at?: bigint | number;
  /** "real" by default. "protected" has flat 4 GiB segments, "long" also maps the first 4 GiB to themselves. */
  mode?: "real" | "protected" | "long";
}

/**
 * Boots a binary without headers at its first byte.
 *
 * @example
 * ```ts
 * import { flat, open } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const code = Uint8Array.of(0x48, 0xff, 0xc0, 0xf4); // inc rax; hlt
 * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x20_0000, mode: "long" }) });
 * const stop = await vm.step();
 * assert.deepEqual([stop.rip, stop.registers.rax], [0x20_0003n, 1n]);
 * ```
 */
export function flat(image: FileOrBytes, options: FlatBoot = {}): BootSpec {
  return spec("flat", image, async (bytes, memory) => {
    checkOptions("flat()", options, ["at", "mode"]);
    checkChoice("mode", options.mode, ["real", "protected", "long"]);
    if (options.at !== undefined && !(typeof options.at === "bigint" || Number.isSafeInteger(options.at))) {
      throw new InputError(`at is a guest-physical address, not ${show(options.at)}`, {
        remedy: "for example { at: 0x1000 }, or leave it out",
      });
    }
    return (await rawImages()).flatImage(bytes, { ...options, memory });
  });
}

/** How a kernel in an ELF file is started. */
export interface ElfBoot {
  /** The kernel's command line. */
  cmdline?: string;
  /** Files handed to it as modules (multiboot, PVH). */
  modules?: readonly { image: FileOrBytes; cmdline?: string }[];
  /** Which protocol; by default multiboot if its header is there, else PVH if its note is, else the plain entry. */
  protocol?: ElfProtocol;
}

/**
 * Boots a kernel in an ELF file (or a flat multiboot kernel): by multiboot 1, by PVH, or plainly at its entry,
 * in protected mode or for ELF64 in long mode. A file that gzip made is unpacked first. `vm.boot` says which protocol was taken; the file's symbols are in
 * `vm.symbols`.
 */
export function elf(image: FileOrBytes, options: ElfBoot = {}): BootSpec {
  const made = spec("elf", image, async (bytes, memory) => {
    const modules: BootModule[] = [];
    checkOptions("elf()", options, ["cmdline", "modules", "protocol"]);
    for (const module of options.modules ?? []) {
      modules.push({ bytes: await load(module.image), cmdline: module.cmdline ?? nameOf(module.image) });
    }
    return (await elfProtocols()).elfImage(await unpacked(bytes), {
      memory,
      modules,
      name: nameOf(image),
      ...(options.cmdline !== undefined && { cmdline: options.cmdline }),
      ...(options.protocol !== undefined && { protocol: options.protocol }),
    });
  });
  const handOver = async (): Promise<HandedKernel> => ({
    image: await unpacked(await load(image)),
    modules: await Promise.all((options.modules ?? []).map((module) => load(module.image))),
    cmdline: options.cmdline ?? "",
    ...(options.protocol !== undefined && { protocol: options.protocol }),
  });
  return { ...made, handOver };
}

/** How a Linux kernel is started. */
export interface LinuxBoot {
  /** A bzImage of protocol 2.12 or later. */
  kernel: FileOrBytes;
  /** The initial RAM disk, a cpio archive as the kernel wants it; none by default. */
  initrd?: FileOrBytes;
  /** The kernel's command line; empty by default. */
  cmdline?: string;
}

/** Boots a bzImage by Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst, section 1.15). */
export function linux(options: LinuxBoot): BootSpec {
  const made = spec("linux", options.kernel, async (bytes, memory) => {
    checkOptions("linux()", options, ["kernel", "initrd", "cmdline"]);
    return (await linuxProtocol()).linuxImage(bytes, {
      memory,
      cmdline: options.cmdline ?? "",
      ...(options.initrd !== undefined && { initrd: await load(options.initrd) }),
    });
  });
  const handOver = async (): Promise<HandedKernel> => {
    checkOptions("linux()", options, ["kernel", "initrd", "cmdline"]);
    return {
      image: await load(options.kernel),
      modules: options.initrd === undefined ? [] : [await load(options.initrd)],
      cmdline: options.cmdline ?? "",
    };
  };
  return { ...made, handOver };
}

function spec(
  kind: BootSpec["kind"],
  source: FileOrBytes,
  lay: (bytes: Uint8Array, memory: number) => BootImage | Promise<BootImage>,
): BootSpec {
  checkFile(kind, source);
  return { kind, source: nameOf(source), resolve: async (memory) => await lay(await load(source), memory) };
}

/** An array of numbers, say, would be taken for a path. @throws {InputError} */
function checkFile(what: string, source: unknown): void {
  if (typeof source === "string" || source instanceof URL || source instanceof Uint8Array) return;
  throw new InputError(
    `what is to boot (${what}) is a file's path or URL, or a Uint8Array of its contents, not ${show(source)}`,
    { remedy: Array.isArray(source) ? "Uint8Array.of(0xf4), or Uint8Array.from(array)" : "give a path" },
  );
}

function nameOf(source: FileOrBytes): string {
  return source instanceof Uint8Array ? "(bytes)" : String(source);
}

/** What a gzip file holds, as boot loaders have it: Debian's Xen and GNU Mach come so. Anything else as it is. */
async function unpacked(bytes: Uint8Array): Promise<Uint8Array> {
  // RFC 1952, 2.3.1: ID1, ID2, and the method "deflate".
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8) return bytes;
  const stream = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of stream) {
      length += part.length;
      if (length > FILE_LIMIT) {
        throw new InputError(`the compressed kernel holds more than ${FILE_LIMIT} bytes`, {
          remedy: "give a kernel",
        });
      }
      parts.push(part);
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError("the kernel is a gzip file that is damaged", {
      cause,
      remedy: "check it with gzip -t",
    });
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Larger than any kernel or ROM; keeps a mistaken path to a disk from filling memory. */
const FILE_LIMIT = 1 << 30;

async function load(source: FileOrBytes): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  try {
    const { size, isDirectory, isFile } = await Deno.stat(source);
    if (!isFile && !isDirectory) {
      throw new InputError(`${source} is no regular file`, { remedy: "copy what it gives into a file" });
    }
    if (isDirectory) throw new InputError(`${source} is a folder`, { remedy: "give the file in it" });
    if (size > FILE_LIMIT) {
      throw new InputError(`${source} has ${size} bytes; an image to boot has at most ${FILE_LIMIT}`, {
        remedy: "give a kernel, a ROM or a boot sector",
      });
    }
    return await Deno.readFile(source);
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw unreadable(String(source), cause);
  }
}
