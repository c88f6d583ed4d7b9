/** A guest of our own as xl is told of it (xl.cfg(5)). */

import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { DomainKind } from "./domain.ts";
import type { ConfigFile } from "./xl.ts";

/** What the toolstack loads. */
export interface ToolstackKernel {
  /** A bzImage, or an ELF file with Xen's notes. */
  readonly image: Uint8Array;
  readonly ramdisk?: Uint8Array;
  readonly cmdline?: string;
}

/** An IDE drive of an HVM guest; its device model opens the file. */
export interface XenDrive {
  /** 0 to 3 are hda to hdd. */
  readonly index: number;
  readonly kind: "disk" | "cdrom";
  /** Its image; undefined for an empty drive. */
  readonly path?: string;
  readonly readOnly: boolean;
  readonly snapshot: boolean;
}

/** A guest to be created. */
export interface XenGuest {
  readonly kind: DomainKind;
  /** RAM in bytes. Xen's toolstack counts MiB: it is rounded up. */
  readonly memory: number;
  readonly cpus: number;
  readonly kernel?: ToolstackKernel;
  /** An ELF file that an HVM guest starts with in place of Xen's firmware loader. */
  readonly loader?: Uint8Array;
  /** SeaBIOS, in place of Xen's own. */
  readonly firmware?: Uint8Array;
  readonly drives?: readonly XenDrive[];
  /** Letters: c is the first disk, d the CD-ROM drive. */
  readonly bootOrder?: string;
}

const MIB = 1 << 20;
/** The loader of a guest of a few instructions lies at 1 MiB. */
export const LEAST_MIB = 2;
/** MiB of memory that a guest of a kind can't be made with less of. */
const LEAST: Readonly<Record<DomainKind, number>> = {
  pvh: LEAST_MIB,
  // The toolstack maps memory for the kernel's start in pieces of 4 MiB.
  pv: 4,
  // libxl takes 8 MiB of it for the display, and something is loaded at 1 MiB.
  hvm: 10,
};

/** Lines of the configuration but for its name and files. @throws {InputError} If a value can't be told to xl. */
export function configLines(guest: XenGuest): string[] {
  const { kind, memory, cpus, kernel, drives = [], bootOrder } = guest;
  const mib = Math.max(Math.ceil(memory / MIB), LEAST[kind]);
  return [
    `type="${kind}"`,
    `memory=${mib}`,
    `vcpus=${cpus}`,
    // Or xl makes another domain in its place, or takes away what is to be looked at.
    ...["poweroff", "reboot", "crash", "watchdog", "soft_reset"].map((event) => `on_${event}="preserve"`),
    ...(kernel?.cmdline ? [`cmdline=${quoted("The command line", kernel.cmdline)}`] : []),
    ...(kind === "hvm" ? ['serial="pty"', "vnc=0", "usb=0"] : []),
    ...(drives.length > 0 ? [`disk=[${drives.map(disk).join(", ")}]`] : []),
    ...(bootOrder ? [`boot="${bootOrder}"`] : []),
    ...(guest.firmware ? ['bios="seabios"'] : []),
  ];
}

/** The files that the configuration names. */
export function configFiles({ kernel, loader, firmware }: XenGuest): ConfigFile[] {
  const files = {
    kernel: kernel?.image,
    ramdisk: kernel?.ramdisk,
    firmware_override: loader,
    bios_path_override: firmware,
  };
  return Object.entries(files).flatMap(([key, bytes]) => bytes === undefined ? [] : [{ key, bytes }]);
}

function disk({ index, kind, path, readOnly, snapshot }: XenDrive): string {
  if (snapshot) {
    throw new UnsupportedError("snapshot", "Xen's device model writes to the disk's file itself", {
      remedy: "give a copy of the disk",
    });
  }
  const vdev = `hd${"abcd"[index]}`;
  const access = readOnly || kind === "cdrom" ? "ro" : "rw";
  const type = kind === "cdrom" ? "devtype=cdrom, " : "";
  const target = path === undefined ? "" : `, target=${path}`;
  // The target is the rest of the text, whatever is in it (xl-disk-configuration(5)).
  return quoted(
    "The disk's path",
    `${type}format=raw, backendtype=qdisk, vdev=${vdev}, access=${access}${target}`,
  );
}

/** A string of xl's configuration has no escapes. */
function quoted(what: string, text: string): string {
  if (/[\n\0]/.test(text) || (text.includes('"') && text.includes("'"))) {
    throw new InputError(
      `${what} can't be told to xl: it has a line break, or both kinds of quotation marks`,
      {
        remedy: "write it without",
      },
    );
  }
  return text.includes('"') ? `'${text}'` : `"${text}"`;
}
