import type { Bus } from "./bus.ts";
import type { Device } from "./device.ts";
import type { AccessExit, PortExit } from "./exit.ts";

/** The buses a machine has. */
export interface Buses {
  readonly port: Bus;
  readonly mmio: Bus;
}

/**
 * Lets the device at the exit's address answer it. Pure: touches nothing but `exit.data` and the device.
 * MSRs have no devices: they are left alone.
 *
 * @returns The device that answered, undefined if none did (reads are then all ones).
 * @throws Whatever the device throws.
 */
export function dispatch(exit: AccessExit, buses: Buses): Device | undefined {
  switch (exit.kind) {
    case "io-in":
      return exit.count === 1 ? buses.port.read(exit.port, exit.data) : eachUnit(exit, buses.port, "read");
    case "io-out":
      return exit.count === 1 ? buses.port.write(exit.port, exit.data) : eachUnit(exit, buses.port, "write");
    case "mmio-read":
      return buses.mmio.read(exit.address, exit.data);
    case "mmio-write":
      return buses.mmio.write(exit.address, exit.data);
    case "msr-read":
    case "msr-write":
      return undefined;
    default:
      return exit satisfies never;
  }
}

/**
 * INS and OUTS hand over several units at once. A device that takes them so gets them so, if a whole unit lies in
 * its range; any other sees them one by one.
 */
function eachUnit(exit: PortExit, bus: Bus, direction: "read" | "write"): Device | undefined {
  const found = bus.find(exit.port);
  const method = direction === "read" ? "readString" : "writeString";
  if (found?.device[method] !== undefined && BigInt(exit.port) + BigInt(exit.size) <= found.end) {
    if (direction === "read") exit.data.fill(0xff);
    found.device[method](Number(BigInt(exit.port) - found.start), exit.data, exit.size, found.range);
    return found.device;
  }
  let device: Device | undefined;
  for (let i = 0; i < exit.count; i++) {
    device = bus[direction](exit.port, exit.data.subarray(i * exit.size, (i + 1) * exit.size));
  }
  return device;
}
