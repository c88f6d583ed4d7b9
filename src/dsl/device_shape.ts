/** What a device has to look like. */
import type { Device } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";

/** What a device may have, and is called when the guest or the machine wants it. */
const METHODS = [
  ...["read", "write", "readString", "writeString", "readMemory", "writeMemory"],
  ...["place", "attach", "detach", "reset", "save", "restore", "inspect", "summary"],
] as const;

/** @throws {InputError} If it is no object, or a method of it is no function: the guest would find out otherwise. */
export function checkShape(device: Device): void {
  if (typeof device !== "object" || device === null) {
    throw new InputError(`a device is an object, not ${device === null ? "null" : typeof device}`, {
      remedy: 'for example { name: "mine", ports: { start: 0x777, length: 1 }, read(offset, data) {} }',
    });
  }
  for (const method of METHODS) {
    const given: unknown = device[method as keyof Device];
    if (given === undefined || typeof given === "function") continue;
    throw new InputError(
      `${device.name}: ${method} is a function, not ${given === null ? "null" : typeof given}`,
      {
        remedy: "give a function, or leave it out",
      },
    );
  }
}
