/** What stands on the buses in a device's place while its accesses are wrapped. */
import type { Device, DeviceRange } from "../vm/device.ts";
import type { DeviceWrapper } from "../vm/machine.ts";

/** Passes accesses on to a device, through the wrappers around it: the newest is asked first. */
export class DeviceFront implements Device {
  readonly name: string;
  readonly readMemory?: NonNullable<Device["readMemory"]>;
  readonly writeMemory?: NonNullable<Device["writeMemory"]>;
  readonly #device: Device;
  readonly #wrappers: readonly DeviceWrapper[];

  /** @param wrappers The newest first. */
  constructor(device: Device, wrappers: readonly DeviceWrapper[]) {
    this.name = device.name;
    this.#device = device;
    this.#wrappers = wrappers;
    // A debugger's look at a device's memory is no access: wrappers do not see it.
    if (device.readMemory !== undefined) this.readMemory = device.readMemory.bind(device);
    if (device.writeMemory !== undefined) this.writeMemory = device.writeMemory.bind(device);
  }

  get ports(): Device["ports"] {
    return this.#device.ports;
  }

  get mmio(): Device["mmio"] {
    return this.#device.mmio;
  }

  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#pass("read", 0, offset, data, range);
  }

  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#pass("write", 0, offset, data, range);
  }

  #pass(way: "read" | "write", from: number, offset: number, data: Uint8Array, range: DeviceRange): void {
    for (let i = from; i < this.#wrappers.length; i++) {
      const wrapper = this.#wrappers[i];
      if (wrapper[way] === undefined) continue;
      wrapper[way](offset, data, () => this.#pass(way, i + 1, offset, data, range), range);
      return;
    }
    this.#device[way]?.(offset, data, range);
  }
}
