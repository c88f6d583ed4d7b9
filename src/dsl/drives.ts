/** The drives of a machine, from what `firmware()` was given. */
import type { Fdc } from "../devices/floppy/fdc.ts";
import { floppyFormat, LARGEST_FLOPPY } from "../devices/floppy/formats.ts";
import type { CdRom } from "../devices/ide/cd_rom.ts";
import type { IdeDriveSpec } from "../devices/ide/ide_controller.ts";
import type { Piix3Ide } from "../devices/ide/piix3_ide.ts";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { bounded } from "./bounded.ts";
import type { Device } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";
import type { DriveOptions, DriveSource, FirmwareBoot } from "./boot.ts";
import { type OpenMedium, RemovableDrive } from "./removable_drive.ts";

/** Where an IDE drive is, by the name QEMU and Linux have for it: primary master and slave, secondary ones. */
export type IdeName = "hda" | "hdb" | "hdc" | "hdd";

/** Where a floppy drive is: A and B. */
export type FloppyName = "fda" | "fdb";

/** Where a drive is. */
export type DriveName = IdeName | FloppyName;

/** Every place of an IDE drive, in order. */
export const IDE_NAMES: readonly IdeName[] = ["hda", "hdb", "hdc", "hdd"];

/** Every place of a floppy drive, in order. */
export const FLOPPY_NAMES: readonly FloppyName[] = ["fda", "fdb"];

/** A drive of the machine. */
export interface Drive {
  /** Where it is. */
  readonly name: DriveName;
  /** What it is. */
  readonly kind: "disk" | "cdrom" | "floppy";
  /** What it reads; undefined for an empty drive. */
  readonly medium?: BlockBacking | undefined;
  /** What the guest wrote, when that is kept beside the disk. */
  readonly changes?: DriveChanges | undefined;
  /**
   * Puts a CD or a floppy disk into its drive, in place of the one there; the guest is told, and what it was reading
   * fails. Hard disks have no such method.
   *
   * @param options `force`: also if the guest has locked the tray.
   * @throws {InputError} If it can't be opened; the one there stays.
   * @throws {StateError} If the guest has locked the tray; it was asked to let go.
   */
  insert?(source: DriveSource, options?: { readonly force?: boolean }): void;
  /** Takes the medium out of the drive. @throws {StateError} As `insert`. */
  eject?(options?: { readonly force?: boolean }): void;
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
export function openDrives(boot: DriveOptions, openStore: OpenStore): OpenDrives {
  const { disk, cdrom, floppy } = boot;
  const disks = Array.isArray(disk)
    ? disk as readonly (DriveSource | undefined)[]
    : [disk as DriveSource | undefined];
  if (disks.length > IDE_NAMES.length) {
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
  const medium = (name: DriveName, source: DriveSource, how: DriveOptions) => {
    const { notes: said, ...opened } = openMedium(source, name, how, openStore);
    notes.push(...said);
    return opened;
  };
  const drives: Drive[] = disks.flatMap((source, i) => {
    const name = IDE_NAMES[i];
    if (source === undefined) return [];
    const { store, ...rest } = medium(name, source, boot);
    if (store !== undefined) cleanup.use(store);
    return [{ name, kind: "disk", ...rest }];
  });
  if (cdrom !== undefined) {
    const open = (source: DriveSource) => medium("hdc", source, { readOnly: true });
    drives.push(cleanup.use(new RemovableDrive("cdrom", "hdc", cdrom, open)));
  }
  floppiesOf(floppy).forEach((source, i) => {
    const name = FLOPPY_NAMES[i];
    if (source === undefined) return;
    const open = (of: DriveSource) => floppyMedium(medium(name, of, boot));
    drives.push(cleanup.use(new RemovableDrive("floppy", name, source, open)));
  });
  return { drives, notes, stores: cleanup.move() };
}

/** What lies in the drives A and B. @throws {InputError} If there are more. */
export function floppiesOf(floppy: FirmwareBoot["floppy"]): readonly (DriveSource | "empty" | undefined)[] {
  const floppies = Array.isArray(floppy)
    ? floppy as readonly (DriveSource | "empty" | undefined)[]
    : [floppy as DriveSource | "empty" | undefined];
  if (floppies.length > FLOPPY_NAMES.length) {
    throw new InputError(`a PC has places for two floppy drives, not for ${floppies.length}`, {
      remedy: "leave some out; `change` puts another disk into a drive",
    });
  }
  return floppies;
}

/** A medium that fits a floppy drive. @throws {InputError} If it is too large. */
function floppyMedium(opened: OpenMedium): OpenMedium {
  const { medium, store } = opened;
  if (floppyFormat(medium.size) !== undefined) return opened;
  store?.[Symbol.dispose]();
  throw new InputError(
    `${medium.name} has ${medium.size} bytes, which is no floppy disk's size`,
    { remedy: `give an image of 1474560 bytes or less, or of ${LARGEST_FLOPPY}; a hard disk is a disk` },
  );
}

/**
 * Opens what a user names as a medium, with `snapshot` and `readOnly` of `boot`.
 *
 * @throws {InputError} If it can't be opened.
 */
export function openMedium(
  source: DriveSource,
  name: string,
  { snapshot = false, readOnly = false }: DriveOptions,
  openStore: OpenStore,
): OpenMedium & { readonly notes: readonly string[] } {
  if (typeof source === "object" && "size" in source) return { medium: source, notes: [] };
  const store = openStore(source instanceof URL ? pathOf(source) : source, {
    mode: snapshot ? "overlay" : readOnly ? "read-only" : "read-write",
    name: `${name} (bytes)`,
  });
  return {
    medium: bounded(store),
    store,
    notes: store.notes,
    ...(store.overlay && { changes: store.overlay }),
  };
}

/** What the IDE controller takes. */
export function driveSpecs(drives: readonly Drive[]): Partial<Record<IdeName, IdeDriveSpec>> {
  const ide = drives.filter(({ kind }) => kind !== "floppy");
  return Object.fromEntries(ide.map(({ name, kind, medium }) => [
    name,
    kind === "cdrom" || medium === undefined ? { cdrom: medium ?? "empty" } : { disk: medium },
  ]));
}

/** What the floppy disk controller takes. */
export function floppySpecs(drives: readonly Drive[]): (BlockBacking | "empty" | undefined)[] {
  return FLOPPY_NAMES.map((name) => {
    const drive = drives.find((drive) => drive.name === name);
    return drive && (drive.medium ?? "empty");
  });
}

/** Tells drives whose media change which device of the controller they are. */
export function connectDrives(drives: readonly Drive[], devices: readonly Device[]): void {
  const ide = devices.find((device): device is Piix3Ide => device.name === "ide0");
  const slots = ide?.channels.flatMap((channel) => [...channel.drives]) ?? [];
  const fdc = devices.find((device): device is Fdc => device.name === "fdc0");
  for (const drive of drives) {
    if (!(drive instanceof RemovableDrive)) continue;
    // Not by instanceof: the devices are loaded only for machines with drives.
    const device = slots[IDE_NAMES.indexOf(drive.name as IdeName)];
    if (device?.packet) drive.connect(device as CdRom);
    const floppy = fdc?.drives[FLOPPY_NAMES.indexOf(drive.name as FloppyName)];
    if (floppy !== undefined) drive.connect(floppy);
  }
}

/** The drives in the order in which firmware tries them. */
export function bootDrives(
  drives: readonly Drive[],
  order: FirmwareBoot["order"] = ["disk", "floppy", "cdrom"],
): DriveName[] {
  return order.flatMap((kind) => drives.filter((drive) => drive.kind === kind).map(({ name }) => name));
}

function pathOf(url: URL): string {
  if (url.protocol === "file:") return decodeURIComponent(url.pathname);
  throw new InputError(`${url} is no file of this host`, { remedy: "give a path or a file: URL" });
}
