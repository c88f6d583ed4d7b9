/** Accesses of a vCPU one behind the other, where the limit on user code takes longer to set than an access takes. */

import type { AccessRow, BackendVcpu } from "./backend.ts";
import { deviceFault } from "./answers.ts";
import type { Device } from "./device.ts";
import { type Buses, dispatch } from "./dispatch.ts";
import { isAccess, type MmioExit, type PortExit, type VmExit } from "./exit.ts";
import type { StopCause } from "./stop.ts";

/** How long a row lasts: a device's timers wait meanwhile, and pauses. */
const ROW_MS = 20;

/** What the run loop lends to it. */
export interface AccessRowParts {
  readonly buses: Buses;
  /** Runs `body` so that user code in it which never returns is ended. */
  guarded<T>(body: () => T): T;
  /** Told of each access once it is answered, with the device that did. */
  answered(vcpu: BackendVcpu, exit: PortExit | MmioExit, device: Device | undefined): void;
  /** Whether an access is for devices alone: nobody but them wants to know of it. */
  forDevices(exit: PortExit | MmioExit): boolean;
  /** Whether the machine is to stop. */
  stopping(): boolean;
}

/** Has devices answer accesses, many under one limit. */
export class AccessRows {
  readonly #parts: AccessRowParts;
  /** The access that a device is answering. */
  #answering: PortExit | MmioExit | undefined;
  /** What came and no device was given yet. */
  #met: VmExit | undefined;

  constructor(parts: AccessRowParts) {
    this.#parts = parts;
  }

  /**
   * Answers `first`, if it is for devices, and what follows.
   *
   * @returns A stop, if a device is to blame for one; an exit that the caller has to judge; else undefined.
   */
  answer(
    vcpu: BackendVcpu,
    row: AccessRow,
    first: VmExit,
  ): { readonly cause: StopCause } | { readonly exit: VmExit } | undefined {
    if (!this.#isForDevices(first)) return { exit: first };
    this.#met = first;
    this.#answering = undefined;
    try {
      this.#parts.guarded(() => this.#answer(vcpu, row, first));
    } catch (error) {
      const exit = this.#answering;
      row.mend();
      // No device is to blame where the host itself stood still for as long as the limit.
      if (exit === undefined) return this.#met && { exit: this.#met };
      this.#answering = undefined;
      this.#parts.answered(vcpu, exit, undefined);
      return { cause: deviceFault(vcpu, exit, this.#parts.buses, error) };
    }
    return this.#met && { exit: this.#met };
  }

  #answer(vcpu: BackendVcpu, row: AccessRow, first: PortExit | MmioExit): void {
    const { buses, answered, stopping } = this.#parts;
    const end = performance.now() + ROW_MS;
    for (let exit = first;;) {
      this.#answering = exit;
      this.#met = undefined;
      const device = dispatch(exit, buses);
      this.#answering = undefined;
      answered(vcpu, exit, device);
      if (stopping() || performance.now() >= end) return;
      const next = row.next();
      if (next === undefined) return;
      this.#met = next;
      if (!this.#isForDevices(next)) return;
      exit = next;
    }
  }

  #isForDevices(exit: VmExit): exit is PortExit | MmioExit {
    return isAccess(exit) && !("index" in exit) && this.#parts.forDevices(exit);
  }
}
