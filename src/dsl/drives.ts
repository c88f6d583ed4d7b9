/** The IDE drives of a machine, from what `firmware()` was given. */
import type { IdeDriveSpec } from "../devices/ide/ide_controller.ts";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import type { DriveSource, FirmwareBoot } from "./boot.ts";

/** Where an IDE drive is, by the name QEMU and Linux have for it: primary master and slave, secondary ones. */
export type DriveName = "hda" | "hdb" | "hdc" | "hdd";

/** Every place, in order. */
export const DRIVE_NAMES: readonly DriveName[] = ["hda", "hdb", "hdc", "hdd"];

/** A drive of the machine. */
export interface Drive {
  /** Where it is. */
  readonly name: DriveName;
  /** What it is. */
  readonly kind: "disk" | "cdrom";
  /** What it reads; undefined for a drive that was empty when the machine was opened. */
  readonly medium?: BlockBacking;
  /** What the guest wrote, when that is kept beside the disk. */
  readonly changes?: DriveChanges;
}

/** Changes that lie beside a disk. */
export interface DriveChanges {
  /** Bytes that differ, or may differ, from the disk. */
  readonly changed: number;
  /** Writes the changes to the disk. Gives why it failed, if it did. */
  commit(): BlockFault | undefined;
  /** Forgets the changes. Gives why it failed, if it did. */
  drop(): BlockFault | undefined;
}

/** Opens a file or bytes as a disk. */
export type OpenStore = (
  source: string | Uint8Array,
  options: { readonly mode: "read-only" | "read-write" | "overlay"; readonly name?: string },
) => BlockBacking & Disposable & { readonly notes: readonly string[]; readonly overlay?: DriveChanges };

/** The drives, what is to be said about them, and what has to be closed after the machine. */
export interface OpenDrives {
  readonly drives: readonly Drive[];
  readonly notes: readonly string[];
  readonly stores: Disposable;
}

/** A machine without drives. */
export const NO_DRIVES: OpenDrives = { drives: [], notes: [], stores: { [Symbol.dispose]() {} } };

/**
 * Opens the media of `boot`.
 *
 * @throws {InputError} If a file can't be opened, or two drives are at one place.
 */
export function openDrives(boot: FirmwareBoot, openStore: OpenStore): OpenDrives {
  const { disk, cdrom, snapshot = false, readOnly = false } = boot;
  const disks = Array.isArray(disk)
    ? disk as readonly (DriveSource | undefined)[]
    : [disk as DriveSource | undefined];
  if (disks.length > DRIVE_NAMES.length) {
    throw new InputError(`a PC has places for four IDE drives, not for ${disks.length} disks`, {
      remedy: "leave some out",
    });
  }
  if (cdrom !== undefined && disks[2] !== undefined) {
    throw new InputError("hdc can't be a disk and the CD-ROM drive", {
      remedy: "put the disk elsewhere: disk: [first, second, undefined, third]",
    });
  }
  using cleanup = new DisposableStack();
  const notes: string[] = [];
  const medium = (name: DriveName, source: DriveSource, mode: Parameters<OpenStore>[1]["mode"]) => {
    if (typeof source === "object" && "size" in source) return { medium: source };
    const store = openStore(source instanceof URL ? pathOf(source) : source, {
      mode,
      name: `${name} (bytes)`,
    });
    cleanup.use(store);
    notes.push(...store.notes);
    return { medium: store, ...(store.overlay && { changes: store.overlay }) };
  };
  const mode = snapshot ? "overlay" : readOnly ? "read-only" : "read-write";
  const drives: Drive[] = disks.flatMap((source, i) => {
    const name = DRIVE_NAMES[i];
    return source === undefined ? [] : [{ name, kind: "disk", ...medium(name, source, mode) }];
  });
  if (cdrom !== undefined) {
    const inserted = cdrom === "empty" ? {} : medium("hdc", cdrom, "read-only");
    drives.push({ name: "hdc", kind: "cdrom", ...inserted });
  }
  return { drives, notes, stores: cleanup.move() };
}

/** What the IDE controller takes. */
export function driveSpecs(drives: readonly Drive[]): Partial<Record<DriveName, IdeDriveSpec>> {
  return Object.fromEntries(drives.map(({ name, kind, medium }) => [
    name,
    kind === "cdrom" || medium === undefined ? { cdrom: medium ?? "empty" } : { disk: medium },
  ]));
}

/** The drives in the order in which firmware tries them. */
export function bootDrives(
  drives: readonly Drive[],
  order: FirmwareBoot["order"] = ["disk", "cdrom"],
): DriveName[] {
  return order.flatMap((kind) => drives.filter((drive) => drive.kind === kind).map(({ name }) => name));
}

function pathOf(url: URL): string {
  if (url.protocol === "file:") return decodeURIComponent(url.pathname);
  throw new InputError(`${url} is no file of this host`, { remedy: "give a path or a file: URL" });
}
