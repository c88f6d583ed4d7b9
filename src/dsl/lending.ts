/** RAM that devices put behind their addresses, so that the guest's accesses there stay in the guest. */
import type { MaybePromise, MemoryRegion, Shadow } from "../vm/backend.ts";
import type { Device, LentMemory } from "../vm/device.ts";

/** What lending works with. */
export interface LendingParts {
  /** Memory as the guest has it. */
  readonly memory: {
    readonly regions: readonly MemoryRegion[];
    readonly shadow: (at: bigint, length: number, how: Shadow) => MaybePromise<void>;
    readonly view?: (at: bigint, length: number) => Uint8Array;
  };
  /** Whether somebody wants to see accesses in [start, end). */
  readonly watched: (start: bigint, end: bigint) => boolean;
}

interface Loan {
  readonly device: Device;
  readonly start: bigint;
  readonly end: bigint;
  readonly taken: () => void;
}

/** Every loan of a machine. */
export class Lending {
  readonly #parts: LendingParts;
  readonly #loans = new Set<Loan>();

  constructor(parts: LendingParts) {
    this.#parts = parts;
  }

  /** @returns undefined if there is no RAM under it, or its accesses are to be seen. */
  lend(
    device: Device,
    start: bigint,
    length: number,
    taken: () => void,
    what?: "reads",
  ): LentMemory | undefined {
    const { memory, watched } = this.#parts;
    const end = start + BigInt(length);
    if (memory.view === undefined || watched(start, end)) return undefined;
    const loan = { device, start, end, taken };
    if (memory.shadow(start, length, what === "reads" ? "read-only" : "ram") instanceof Promise) {
      return undefined;
    }
    const whole = memory.regions.some((r) =>
      r.readOnly === (what === "reads") && r.start <= start && end <= r.start + r.size
    );
    if (!whole) {
      void memory.shadow(start, length, "rom");
      return undefined;
    }
    this.#loans.add(loan);
    return { bytes: memory.view(start, length), end: () => this.#end(loan) };
  }

  /** Takes back what `device` has, or what lies in [start, end): the device knows of it first. */
  reclaim(wanted: { readonly device: Device } | { readonly start: bigint; readonly end: bigint }): void {
    for (const loan of [...this.#loans]) {
      const meant = "device" in wanted
        ? loan.device === wanted.device
        : loan.start < wanted.end && wanted.start < loan.end;
      if (!meant) continue;
      loan.taken();
      this.#end(loan);
    }
  }

  #end(loan: Loan): void {
    if (!this.#loans.delete(loan)) return;
    // Where there is RAM it is there at once.
    void this.#parts.memory.shadow(loan.start, Number(loan.end - loan.start), "rom");
  }
}
