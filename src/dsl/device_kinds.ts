/** Tells devices of hvsh's own from others by their shape, without loading them: many guests have none of them. */
import type { I8042 } from "../devices/i8042.ts";
import type { PciFunction } from "../devices/pci/pci_function.ts";
import type { PciHost } from "../devices/pci/pci_host.ts";
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

/** Whether a device is a function on the PCI bus. */
export function isPciFunction(device: Device): device is PciFunction {
  return "configRead" in device && "configWrite" in device;
}

/** Whether a device is the PCI bus itself. */
export function isPciHost(device: Device): device is PciHost {
  return "functions" in device && "join" in device && "leave" in device;
}

/** Whether a device is the controller of PS/2 keyboard and mouse. */
export function isI8042(device: Device): device is I8042 {
  return "keyboard" in device && "mouse" in device;
}

/** Device ID of the traditional memory balloon (virtio 1.2, 5). */
const BALLOON = 5;
