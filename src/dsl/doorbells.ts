/** What leaves the guest running that else would be accesses: doorbells of devices, and why they interrupt. */
import type { Doorbells, SharedCauses } from "../vm/backend.ts";
import type { CausePlace, Device, DoorbellPlace, InterruptCauses } from "../vm/device.ts";
import { isBounded } from "./bounded.ts";

/** What the board works with. */
export interface DoorbellParts {
  /** Undefined where the hypervisor has none. */
  readonly doorbells: Doorbells | undefined;
  /** Whether somebody wants to see accesses in [start, end). */
  readonly watched: (start: bigint, end: bigint) => boolean;
  /** Told when a device threw. */
  readonly failed: (device: Device, error: unknown) => void;
}

interface Hung {
  readonly device: Device;
  readonly start: bigint;
  readonly end: bigint;
  readonly bell: Disposable;
}

/** All of a machine's. */
export class DoorbellBoard {
  readonly #parts: DoorbellParts;
  readonly #hung = new Set<Hung>();

  constructor(parts: DoorbellParts) {
    this.#parts = parts;
  }

  /** A device threw when it was told of something. */
  failed(device: Device, error: unknown): void {
    this.#parts.failed(device, error);
  }

  /**
   * @returns What takes it down; undefined if there can be none, if somebody wants to see such writes, or if the device
   * is none of hvsh's own: no access is there to blame, and to end, if its code fails or never returns.
   */
  hang(device: Device, place: DoorbellPlace, rung: () => void): Disposable | undefined {
    const { doorbells, watched, failed } = this.#parts;
    const end = place.at + BigInt(place.length);
    if (doorbells === undefined || !isBounded(device) || watched(place.at, end)) return undefined;
    const bell = doorbells.hang(place, () => {
      try {
        rung();
      } catch (error) {
        failed(device, error);
      }
    });
    if (bell === undefined) return undefined;
    return this.#note({ device, start: place.at, end, bell });
  }

  /** Registers of `device` that can be answered beside it; undefined where none can. */
  causes(device: Device, place: CausePlace): InterruptCauses | undefined {
    const shared = this.#parts.doorbells?.causes?.(place);
    return shared && {
      get bits() {
        return shared.bits;
      },
      raise: (bits) => shared.raise(bits),
      acknowledge: (bits) => shared.acknowledge(bits),
      aside: () => this.#aside(device, place, shared),
      [Symbol.dispose]: () => shared[Symbol.dispose](),
    };
  }

  #aside(device: Device, { status, acknowledge }: CausePlace, shared: SharedCauses): Disposable | undefined {
    const start = status < acknowledge ? status : acknowledge;
    const end = (status < acknowledge ? acknowledge : status) + 4n;
    if (!isBounded(device) || this.#parts.watched(start, end)) return undefined;
    shared.answered = true;
    return this.#note({
      device,
      start,
      end,
      bell: { [Symbol.dispose]: () => void (shared.answered = false) },
    });
  }

  #note(hung: Hung): Disposable {
    this.#hung.add(hung);
    return { [Symbol.dispose]: () => this.#takeDown(hung) };
  }

  /** Takes down what `device` has, or what lies in [start, end): such accesses come to it again. */
  reclaim(wanted: { readonly device: Device } | { readonly start: bigint; readonly end: bigint }): void {
    for (const hung of [...this.#hung]) {
      const meant = "device" in wanted
        ? hung.device === wanted.device
        : hung.start < wanted.end && wanted.start < hung.end;
      if (meant) this.#takeDown(hung);
    }
  }

  #takeDown(hung: Hung): void {
    if (this.#hung.delete(hung)) hung.bell[Symbol.dispose]();
  }
}
