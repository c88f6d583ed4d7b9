/** The drives of a guest: those that `firmware()` was given, or those that `open()` was. */
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { DriveOptions, FirmwareBoot } from "./boot.ts";

/** Names of the options. */
export const DRIVE_OPTIONS = [
  "disk",
  "cdrom",
  "floppy",
  "snapshot",
  "readOnly",
] as const satisfies (keyof DriveOptions)[];

/**
 * What firmware is told, with the drives of `open()`.
 *
 * @throws {InputError} If one is told at both places.
 */
export function withDrives(told: FirmwareBoot, options: DriveOptions): FirmwareBoot {
  const given: DriveOptions = {};
  for (const name of DRIVE_OPTIONS) {
    if (options[name] === undefined) continue;
    if (told[name] !== undefined) {
      throw new InputError(`${name} is given to open() and to firmware()`, {
        remedy: "give it to one of them",
      });
    }
    Object.assign(given, { [name]: options[name] });
  }
  return { ...told, ...given };
}

/** Whether there are drives. */
export function hasDrives({ disk, cdrom, floppy }: DriveOptions): boolean {
  return (disk ?? cdrom ?? floppy) !== undefined;
}

/** @throws {UnsupportedError} If the guest has drives and no PC's devices to plug them into. */
export function checkController(told: DriveOptions, controller: boolean): void {
  if (!hasDrives(told) || controller) return;
  throw new UnsupportedError("drives", "the guest is opened without a PC's devices", {
    remedy:
      "leave them out, or leave defaultDevices out on a backend that has them; device_add virtio-blk has disks",
  });
}
