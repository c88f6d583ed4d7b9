/** Accesses to devices as the guest would make them, from outside. */
import { guarded, isRunaway } from "../debug/guard.ts";
import { littleEndian } from "../debug/hit.ts";
import { type Capabilities, need } from "../vm/capabilities.ts";
import { accessed, thrownText } from "../vm/answers.ts";
import { type Buses, dispatch } from "../vm/dispatch.ts";
import { HvshError, InputError } from "../vm/errors.ts";
import type { MmioExit, PortExit } from "../vm/exit.ts";

/** What accesses need of the machine. */
export interface BusAccessParts {
  readonly buses: Buses;
  readonly capabilities: Capabilities;
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
      this.#dispatch({ kind: "io-in", port, size, count: 1, data });
      return littleEndian(data);
    });
  }

  writePort(port: number, size: 1 | 2 | 4, value: bigint | number): Promise<void> {
    return this.#access(size, [1, 2, 4], (data) => {
      checkPort(port);
      put(data, value);
      this.#dispatch({ kind: "io-out", port, size, count: 1, data });
    });
  }

  readMmio(address: bigint, size: 1 | 2 | 4 | 8): Promise<bigint> {
    return this.#access(size, [1, 2, 4, 8], (data) => {
      this.#dispatch({ kind: "mmio-read", address, data });
      return littleEndian(data);
    });
  }

  writeMmio(address: bigint, size: 1 | 2 | 4 | 8, value: bigint | number): Promise<void> {
    return this.#access(size, [1, 2, 4, 8], (data) => {
      put(data, value);
      this.#dispatch({ kind: "mmio-write", address, data });
    });
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
