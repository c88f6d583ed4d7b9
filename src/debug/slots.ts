import type { HardwareTrap } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";

/** The four debug registers, and which breakpoint has which. The same on every vCPU. */
export class Slots {
  readonly #slots: (HardwareTrap | undefined)[] = [undefined, undefined, undefined, undefined];

  /** Slot by slot, DR0..DR3. */
  get traps(): readonly (HardwareTrap | undefined)[] {
    return this.#slots;
  }

  get free(): number {
    return this.#slots.filter((slot) => slot === undefined).length;
  }

  /** Takes a slot. @throws {UnsupportedError} If all four are taken. */
  take(trap: HardwareTrap): number {
    const index = this.#slots.indexOf(undefined);
    if (index < 0) {
      throw new UnsupportedError("another hardware breakpoint", "all four debug registers are in use", {
        remedy: 'remove or disable one, or take kind: "software"',
      });
    }
    this.#slots[index] = trap;
    return index;
  }

  release(index: number): void {
    this.#slots[index] = undefined;
  }
}
