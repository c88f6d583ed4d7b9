/** Accesses to devices as the guest would make them, from outside. */
import { guarded, isRunaway } from "../debug/guard.ts";
import { littleEndian } from "../debug/hit.ts";
import { type Capabilities, need } from "../vm/capabilities.ts";
import { accessed, thrownText } from "../vm/answers.ts";
import { type Buses, dispatch } from "../vm/dispatch.ts";
import { HvshError, InputError, UnsupportedError } from "../vm/errors.ts";
import type { MmioExit, PortExit } from "../vm/exit.ts";

/** A chip that a hypervisor may have, with the addresses of the first and the last byte of its ranges. */
interface Chip {
  readonly name: string;
  readonly ranges: readonly (readonly [number, number])[];
}

/** KVM api.rst, KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2: both 8259s with their ELCR, and the 8254 with port 0x61. */
const CHIP_PORTS: readonly Chip[] = [
  { name: "8259", ranges: [[0x20, 0x21], [0xa0, 0xa1], [0x4d0, 0x4d1]] },
  { name: "8254", ranges: [[0x40, 0x43], [0x61, 0x61]] },
];

/** Where a PC has them. */
const CHIP_MMIO: readonly Chip[] = [
  { name: "IOAPIC", ranges: [[0xfec00000, 0xfec000ff]] },
  { name: "local APIC", ranges: [[0xfee00000, 0xfee00fff]] },
];

/** What accesses need of the machine. */
export interface BusAccessParts {
  readonly buses: Buses;
  readonly capabilities: Capabilities;
  /** Whether the hypervisor has the interrupt controllers, and answers the guest at their addresses. */
  readonly irqchip: boolean;
  /** Throws a StateError if the machine is closed. */
  readonly open: () => void;
}

/** Reads and writes of ports and MMIO, answered by the device that is there; by nobody, with all ones. */
export class BusAccess {
  readonly #parts: BusAccessParts;

  constructor(parts: BusAccessParts) {
    this.#parts = parts;
  }

  readPort(port: number, size: 1 | 2 | 4): Promise<bigint> {
    return this.#access(size, [1, 2, 4], (data) => {
      checkPort(port);
      this.#reachable("port", port, CHIP_PORTS);
      this.#dispatch({ kind: "io-in", port, size, count: 1, data });
      return littleEndian(data);
    });
  }

  writePort(port: number, size: 1 | 2 | 4, value: bigint | number): Promise<void> {
    return this.#access(size, [1, 2, 4], (data) => {
      checkPort(port);
      this.#reachable("port", port, CHIP_PORTS);
      put(data, value);
      this.#dispatch({ kind: "io-out", port, size, count: 1, data });
    });
  }

  readMmio(address: bigint, size: 1 | 2 | 4 | 8): Promise<bigint> {
    return this.#access(size, [1, 2, 4, 8], (data) => {
      this.#reachable("mmio", address, CHIP_MMIO);
      this.#dispatch({ kind: "mmio-read", address, data });
      return littleEndian(data);
    });
  }

  writeMmio(address: bigint, size: 1 | 2 | 4 | 8, value: bigint | number): Promise<void> {
    return this.#access(size, [1, 2, 4, 8], (data) => {
      this.#reachable("mmio", address, CHIP_MMIO);
      put(data, value);
      this.#dispatch({ kind: "mmio-write", address, data });
    });
  }

  /** @throws {UnsupportedError} If a chip in the hypervisor is there: accesses from outside do not come to it. */
  #reachable(space: "port" | "mmio", at: number | bigint, chips: readonly Chip[]): void {
    const { buses, irqchip } = this.#parts;
    if (!irqchip || buses[space].find(at)) return;
    const chip = chips.find(({ ranges }) => ranges.some(([first, last]) => at >= first && at <= last));
    if (chip === undefined) return;
    throw new UnsupportedError(
      `${space === "port" ? "port" : "address"} 0x${at.toString(16)}`,
      `it is the ${chip.name}'s, which is in the hypervisor and answers the guest alone`,
      { remedy: "open({ irqchip: false }), or --no-irqchip, has chips that can be reached" },
    );
  }

  /** @throws {HvshError} If the device throws, or does not return: it is named, and so is what was asked of it. */
  #dispatch(exit: PortExit | MmioExit): void {
    const { buses } = this.#parts;
    try {
      guarded(() => dispatch(exit, buses));
    } catch (cause) {
      const { who, what } = accessed(exit, buses);
      const message = isRunaway(cause)
        ? `${who} did not return from ${what} within 2 s and was ended`
        : `${who} threw on ${what}: ${thrownText(cause)}`;
      throw new HvshError(message, { cause, remedy: "mend the device" });
    }
  }

  #access<T>(size: number, sizes: readonly number[], body: (data: Uint8Array) => T): Promise<T> {
    return Promise.resolve().then(() => {
      this.#parts.open();
      need(this.#parts.capabilities, "devices");
      if (!sizes.includes(size)) {
        throw new InputError(`an access has ${sizes.join(", ")} bytes, not ${size}`, {
          remedy: "make several accesses of these sizes",
        });
      }
      return body(new Uint8Array(size));
    });
  }
}

function put(data: Uint8Array, value: bigint | number): void {
  for (let i = 0; i < data.length; i++) data[i] = Number(BigInt(value) >> BigInt(8 * i) & 0xffn);
}

function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= 0xffff) return;
  throw new InputError(`a port is a number from 0 to 0xffff, not ${port}`, { remedy: "take one of these" });
}
