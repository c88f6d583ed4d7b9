/** The IDE drives of a machine, from what `firmware()` was given. */
import type { CdRom } from "../devices/ide/cd_rom.ts";
import type { IdeDriveSpec } from "../devices/ide/ide_controller.ts";
import type { Piix3Ide } from "../devices/ide/piix3_ide.ts";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { bounded } from "./bounded.ts";
import type { Device } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";
import type { DriveOptions, DriveSource, FirmwareBoot } from "./boot.ts";
import { CdDrive, type OpenMedium } from "./cd_drive.ts";

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
  /** What it reads; undefined for an empty drive. */
  readonly medium?: BlockBacking | undefined;
  /** What the guest wrote, when that is kept beside the disk. */
  readonly changes?: DriveChanges;
  /**
   * Puts a CD into a CD-ROM drive, in place of the one there; the guest is told, and what it was reading fails.
   * Disks have no such method.
   *
   * @param options `force`: also if the guest has locked the tray.
   * @throws {InputError} If it can't be opened; the one there stays.
   * @throws {StateError} If the guest has locked the tray; it was asked to let go.
   */
  insert?(source: DriveSource, options?: { readonly force?: boolean }): void;
  /** Takes the CD out of a CD-ROM drive. @throws {StateError} As `insert`. */
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
  const { disk, cdrom } = boot;
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
  const medium = (name: DriveName, source: DriveSource, how: DriveOptions) => {
    const { notes: said, ...opened } = openMedium(source, name, how, openStore);
    notes.push(...said);
    return opened;
  };
  const drives: Drive[] = disks.flatMap((source, i) => {
    const name = DRIVE_NAMES[i];
    if (source === undefined) return [];
    const { store, ...rest } = medium(name, source, boot);
    if (store !== undefined) cleanup.use(store);
    return [{ name, kind: "disk", ...rest }];
  });
  if (cdrom !== undefined) {
    const open = (source: DriveSource) => medium("hdc", source, { readOnly: true });
    drives.push(cleanup.use(new CdDrive("hdc", cdrom, open)));
  }
  return { drives, notes, stores: cleanup.move() };
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
): OpenMedium & Pick<Drive, "changes"> & { readonly notes: readonly string[] } {
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
export function driveSpecs(drives: readonly Drive[]): Partial<Record<DriveName, IdeDriveSpec>> {
  return Object.fromEntries(drives.map(({ name, kind, medium }) => [
    name,
    kind === "cdrom" || medium === undefined ? { cdrom: medium ?? "empty" } : { disk: medium },
  ]));
}

/** Tells drives whose media change which device of the controller they are. */
export function connectDrives(drives: readonly Drive[], devices: readonly Device[]): void {
  const ide = devices.find((device): device is Piix3Ide => device.name === "ide0");
  const slots = ide?.channels.flatMap((channel) => [...channel.drives]) ?? [];
  for (const drive of drives) {
    const device = slots[DRIVE_NAMES.indexOf(drive.name)];
    // Not by instanceof: the devices are loaded only for machines with drives.
    if (drive instanceof CdDrive && device?.packet) drive.connect(device as CdRom);
  }
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
