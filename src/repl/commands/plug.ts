/** Devices by the names that QEMU has for them: `device_add`, `-device`, `-nic` and `-drive if=virtio`. */
import type { DeviceHandle, GuestMachine, HypervisorMonitor } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import { cardOf } from "../network_words.ts";

/**
 * Plugs in what is named: a device of hvsh's, or in QEMU one of QEMU's.
 *
 * @returns Its handle, in QEMU its name in the monitor; undefined if `text` names no such device.
 * @throws {InputError} If what follows the name makes no sense. @throws {HvshError} If it can't be had.
 */
export async function plugByName(vm: GuestMachine, text: string): Promise<DeviceHandle | string | undefined> {
  if (text === "pc-testdev") return await vm.devices.add(new (await import("../../dsl/mod.ts")).PcTestdev());
  if (!text.startsWith("virtio-")) return undefined;
  const { virtioByName } = await import("./virtio_add.ts");
  if (vm.monitor !== undefined) {
    const id = await plugInMonitor(vm.monitor, text);
    if (id !== undefined) return id;
  }
  const device = virtioByName(vm, text);
  return device && await vm.devices.add(device);
}

/** QEMU's own virtio devices: disks and cards, and those of which nothing more is said. */
async function plugInMonitor(monitor: HypervisorMonitor, text: string): Promise<string | undefined> {
  const [, bare] = /^(virtio-(?:rng|balloon))(?:-pci)?$/.exec(text) ?? [];
  if (bare !== undefined) {
    await monitor.execute("device_add", { driver: `${bare}-pci` });
    return bare;
  }
  const [, kind, words = ""] = /^(virtio-blk|virtio-net)(?:-pci)?(?:[\s,]+([^]*))?$/.exec(text) ?? [];
  if (kind === "virtio-net") {
    const { network, ...rest } = cardOf(words);
    if ("tap" in network) return await monitor.addNetwork({ tap: network.tap, ...rest });
    const { restricted = false, forwards = [] } = network;
    return await monitor.addNetwork({ open: !restricted, forwards, ...rest });
  }
  if (kind === undefined) return undefined;
  const { diskOf } = await import("./virtio_add.ts");
  const { file, mode, serial } = diskOf(words);
  if (mode === "overlay" || serial !== undefined) {
    throw new InputError(
      `A disk that is plugged into QEMU has no ${serial === undefined ? "snapshot" : "serial"} here`,
      {
        remedy: serial === undefined ? "give it a copy of the image, or readonly=on" : "leave it out",
      },
    );
  }
  return await monitor.addDisk(file, { readOnly: mode === "read-only" });
}
