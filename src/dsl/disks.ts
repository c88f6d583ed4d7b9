/** Disks at the host, for the drives of a guest and for virtio: loaded when there is one. */
import { type Disk, type DiskOptions, openDisk as open, readByProgram } from "../backing/open_disk.ts";
import { PATIENCE_MS } from "../backing/nbd.ts";
import { allowWaiting } from "./guard.ts";
export type { Disk, DiskMode, DiskOptions, DiskOverlay } from "../backing/open_disk.ts";

/**
 * Opens a disk.
 *
 * @param source A path of an image file or block device, or bytes (used, not copied). A qcow2 image is read by Debian's
 * qemu-storage-daemon or qemu-nbd; `nbd+unix:///EXPORT?socket=PATH` is what an NBD server has.
 * @throws {InputError} If it can't be opened, or is no disk.
 */
export function openDisk(source: string | Uint8Array, options: DiskOptions = {}): Disk {
  expectWaiting(source, options);
  return open(source, options);
}

/** A disk that another program reads may take its time, in `attach` and in a guest's request: it is no endless loop. */
export function expectWaiting(source: string | Uint8Array, options: DiskOptions): void {
  if (typeof source === "string" && readByProgram(source, options)) allowWaiting(2 * PATIENCE_MS);
}
