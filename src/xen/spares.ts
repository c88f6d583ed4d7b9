/** A domain whose machine was closed, kept for the next guest of its size: Xen's toolstack takes a second to make one. */

import type { DomainKind } from "./domain.ts";
import { closeAtEnd } from "./leaving.ts";

/** A domain of ours that is paused, with a count of one, as `xl create -p` leaves it. */
export interface Spare {
  readonly name: string;
  readonly kind: DomainKind;
  readonly memory: number;
  readonly cpus: number;
  /** Its state before its first instruction. */
  readonly pristine: Uint8Array<ArrayBuffer>;
}

/** The one spare there is; the program's end, or one of another size, destroys it. */
export class Spares {
  readonly #destroy: (name: string) => void;
  #spare: Spare | undefined;
  #cancel: (() => void) | undefined;

  constructor(destroy: (name: string) => void) {
    this.#destroy = destroy;
  }

  /** Keeps a domain. */
  put(spare: Spare): void {
    this.clear();
    this.#spare = spare;
    this.#cancel = closeAtEnd(() => this.clear());
  }

  /** Gives the spare away if it is of that size. */
  take(kind: DomainKind, memory: number, cpus: number): Spare | undefined {
    const spare = this.#spare;
    if (spare?.kind !== kind || spare.memory !== memory || spare.cpus !== cpus) return undefined;
    this.#forget();
    return spare;
  }

  /** Destroys it. */
  clear(): void {
    const spare = this.#spare;
    if (spare === undefined) return;
    this.#forget();
    this.#destroy(spare.name);
  }

  #forget(): void {
    this.#spare = undefined;
    this.#cancel?.();
  }
}
