/** Tells virtio devices from others without loading them: most guests have none. */
import type { VirtioBalloon } from "../devices/virtio/balloon.ts";
import type { VirtioDevice } from "../devices/virtio/virtio_device.ts";
import type { VirtioType } from "../devices/virtio/virtio_type.ts";
import type { Device } from "../vm/device.ts";

/** Whether a device is a virtio device, over whichever transport. */
export function isVirtio(device: Device): device is Device & { readonly virtio: VirtioDevice } {
  return "virtio" in device;
}

/** Whether a virtio device is hvsh's own balloon. */
export function isBalloon(type: VirtioType): type is VirtioBalloon {
  return type.id === BALLOON && "statistics" in type;
}

/** Device ID of the traditional memory balloon (virtio 1.2, 5). */
const BALLOON = 5;
