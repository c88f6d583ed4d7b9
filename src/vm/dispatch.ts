import type { Bus } from "./bus.ts";
import type { Device } from "./device.ts";
import type { AccessExit, PortExit } from "./exit.ts";

/** The buses a machine has. */
export interface Buses {
  readonly port: Bus;
  readonly mmio: Bus;
}

/**
 * Lets the device at the exit's address answer it. Pure: touches nothing but `exit.data` and the device, which gets
 * bytes of its own: `exit.data` may be a view of what a hypervisor shares with us, and all of that can be reached
 * through a view. MSRs have no devices: they are left alone.
 *
 * @returns The device that answered, undefined if none did (reads are then all ones).
 * @throws Whatever the device throws.
 */
export function dispatch(exit: AccessExit, buses: Buses): Device | undefined {
  if ("before" in exit && exit.before !== undefined) buses.port.write(exit.before.port, exit.before.data);
  switch (exit.kind) {
    case "io-in":
      return exit.count === 1 ? read(buses.port, exit.port, exit.data) : eachUnit(exit, buses.port, "read");
    case "io-out":
      return exit.count === 1 ? write(buses.port, exit.port, exit.data) : eachUnit(exit, buses.port, "write");
    case "mmio-read":
      return read(buses.mmio, exit.address, exit.data);
    case "mmio-write":
      return write(buses.mmio, exit.address, exit.data);
    case "msr-read":
    case "msr-write":
      return undefined;
    default:
      return exit satisfies never;
  }
}

/**
 * Bytes that devices get, by length (1 to 8), each used again: a new array would cost as much as the whole rest of an access.
 * One that is out has no place here, so that a device which accesses another, throws or is ended costs a new array
 * and nothing else.
 */
const LENT: (Uint8Array | undefined)[] = [];

function lend(length: number): Uint8Array {
  const bytes = LENT[length] ?? new Uint8Array(length);
  LENT[length] = undefined;
  return bytes;
}

function read(bus: Bus, address: number | bigint, data: Uint8Array): Device | undefined {
  const { length } = data;
  const lent = lend(length);
  const device = bus.read(address, lent);
  if (length === 1) data[0] = lent[0];
  else data.set(lent);
  LENT[length] = lent;
  return device;
}

function write(bus: Bus, address: number | bigint, data: Uint8Array): Device | undefined {
  const { length } = data;
  const lent = lend(length);
  if (length === 1) lent[0] = data[0];
  else lent.set(data);
  const device = bus.write(address, lent);
  LENT[length] = lent;
  return device;
}

/**
 * INS and OUTS hand over several units at once. A device that takes them so gets them so, if a whole unit lies in
 * its range; any other sees them one by one.
 */
function eachUnit(exit: PortExit, bus: Bus, direction: "read" | "write"): Device | undefined {
  const found = bus.find(exit.port);
  const method = direction === "read" ? "readString" : "writeString";
  if (found?.device[method] !== undefined && BigInt(exit.port) + BigInt(exit.size) <= found.end) {
    const data = exit.data.slice();
    if (direction === "read") data.fill(0xff);
    found.device[method](Number(BigInt(exit.port) - found.start), data, exit.size, found.range);
    if (direction === "read") exit.data.set(data);
    return found.device;
  }
  let device: Device | undefined;
  for (let i = 0; i < exit.count; i++) {
    const unit = exit.data.subarray(i * exit.size, (i + 1) * exit.size);
    device = direction === "read" ? read(bus, exit.port, unit) : write(bus, exit.port, unit);
  }
  return device;
}
