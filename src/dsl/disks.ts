/** Disks at the host, for the drives of a guest and for virtio: loaded when there is one. */
export {
  type Disk,
  type DiskMode,
  type DiskOptions,
  type DiskOverlay,
  openDisk,
} from "../backing/open_disk.ts";
