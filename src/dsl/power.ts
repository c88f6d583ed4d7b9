/** The power button of a machine. */
import type { Piix4Pm } from "../devices/pci/piix4_pm.ts";
import type { Device } from "../vm/device.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { HypervisorMonitor } from "../vm/hypervisor.ts";

/**
 * Presses the power button, at the chipset of ours or at QEMU's.
 *
 * @returns Whether the guest has asked to be told of it; undefined where that can't be seen.
 * @throws {UnsupportedError} If there is no power button.
 */
export function pressPower(
  devices: readonly Device[],
  monitor: HypervisorMonitor | undefined,
): boolean | undefined {
  const chipset = devices.find(hasPowerButton);
  if (chipset !== undefined) return chipset.pressPower();
  if (monitor === undefined) {
    throw new UnsupportedError("power button", "this guest has no power button", {
      remedy: "open it with the default devices, or close it",
    });
  }
  monitor.execute("system_powerdown");
  return undefined;
}

/** Tells the chipset from others without loading it. */
function hasPowerButton(device: Device): device is Piix4Pm {
  return "pressPower" in device;
}
