/** Drives of `firmware()` for a guest whose drives are QEMU's: files, which QEMU opens itself. */
import type { QemuDrive } from "../remote/qemu/command_line.ts";
import { InputError } from "../vm/errors.ts";
import type { DriveSource, FirmwareBoot } from "./boot.ts";
import { floppiesOf } from "./drives.ts";
import { fileURLToPath } from "node:url";

const LETTERS = { disk: "c", cdrom: "d", floppy: "a" } as const;
const PLACES = 4;

/** What QEMU is told. @throws {InputError} If a drive is no file, or there are too many. */
export function qemuDrives(boot: FirmwareBoot): { drives: QemuDrive[]; bootOrder: string } {
  const { disk, cdrom, snapshot = false, readOnly = false, floppy, order } = boot;
  const disks = Array.isArray(disk)
    ? disk as readonly (DriveSource | undefined)[]
    : [disk as DriveSource | undefined];
  if (disks.length > PLACES || (cdrom !== undefined && disks[2] !== undefined)) {
    throw new InputError("a PC has places for four IDE drives, and the CD-ROM drive takes the third", {
      remedy: "leave some out",
    });
  }
  const drives: QemuDrive[] = disks.flatMap((source, index) =>
    source === undefined ? [] : [{ index, kind: "disk", path: pathOf(source), readOnly, snapshot }]
  );
  if (cdrom !== undefined) {
    const path = cdrom === "empty" ? {} : { path: pathOf(cdrom) };
    drives.push({ index: 2, kind: "cdrom", ...path, readOnly: true, snapshot: false });
  }
  floppiesOf(floppy).forEach((source, index) => {
    if (source === undefined) return;
    const path = source === "empty" ? {} : { path: pathOf(source) };
    drives.push({ index, kind: "floppy", ...path, readOnly, snapshot });
  });
  const kinds = order ?? (["disk", "floppy", "cdrom"] as const);
  return { drives, bootOrder: kinds.map((kind) => LETTERS[kind]).join("") };
}

function pathOf(source: DriveSource): string {
  if (source instanceof URL && source.protocol === "file:") return fileURLToPath(source);
  if (typeof source === "string") return source;
  throw new InputError("QEMU opens its disks itself: they have to be files", {
    remedy: "write the bytes to a file, or use the kvm backend",
  });
}
