/** Addresses behind which a device has memory, as a screen does: for debuggers, and for other devices' DMA. */
import type { BackendMemory, MaybePromise } from "../vm/backend.ts";
import type { Bus } from "../vm/bus.ts";
import type { PlacedRange } from "../vm/device.ts";
import { FaultError } from "../vm/errors.ts";
import { guarded } from "./guard.ts";

/** A stretch of what is asked for: memory, or a device's. */
interface Piece {
  readonly at: bigint;
  /** Which of the bytes that are asked for it has. */
  readonly from: number;
  readonly to: number;
  readonly device?: PlacedRange;
}

/** Reads and writes that begin or end where there is no RAM. */
export class DeviceMemory {
  readonly #memory: BackendMemory;
  readonly #bus: Bus;

  constructor(memory: BackendMemory, bus: Bus) {
    this.#memory = memory;
    this.#bus = bus;
  }

  /**
   * Fills `into`, from RAM and from devices that are like memory.
   *
   * @throws {FaultError} `fault`, if a byte is neither.
   */
  read(at: bigint, into: Uint8Array, fault: FaultError): void {
    for (const { at: start, from, to, device } of this.#pieces(at, into.length, fault)) {
      const part = into.subarray(from, to);
      if (device === undefined) atOnce(this.#memory.read(start, part), fault);
      else ask(fault, () => device.device.readMemory?.(Number(start - device.start), part, device.range));
    }
  }

  /**
   * Writes `bytes`, to RAM by `store` and to devices that are like memory.
   *
   * @throws {FaultError} `fault`, if a byte is neither.
   */
  write(
    at: bigint,
    bytes: Uint8Array,
    fault: FaultError,
    store: (at: bigint, bytes: Uint8Array) => MaybePromise<void>,
  ): void {
    for (const { at: start, from, to, device } of this.#pieces(at, bytes.length, fault)) {
      const part = bytes.subarray(from, to);
      if (device === undefined) atOnce(store(start, part), fault);
      else ask(fault, () => device.device.writeMemory?.(Number(start - device.start), part, device.range));
    }
  }

  #pieces(at: bigint, length: number, fault: FaultError): Piece[] {
    const pieces: Piece[] = [];
    const { regions } = this.#memory;
    for (let from = 0; from < length;) {
      const start = at + BigInt(from);
      const region = regions.find((r) => r.start <= start && start < r.start + r.size);
      const device = region === undefined ? this.#bus.find(start) : undefined;
      if (region === undefined && (device?.device.readMemory === undefined)) throw fault;
      const end = region === undefined ? device!.end : region.start + region.size;
      const to = Math.min(length, from + Number(end - start));
      pieces.push({ at: start, from, to, ...(device && { device }) });
      from = to;
    }
    return pieces;
  }
}

/** @throws {FaultError} `fault`, if the device says that the range is not like memory. */
function ask(fault: FaultError, access: () => boolean | undefined): void {
  if (guarded(access) !== true) throw fault;
}

/** Where memory is far away there are no devices of ours. */
function atOnce(done: MaybePromise<void>, fault: FaultError): void {
  if (done instanceof Promise) throw fault;
}
