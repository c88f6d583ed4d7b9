/** Domains whose machines were closed, kept for the next guests of their size: Xen's toolstack takes a second to make one. */

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

/** So many are kept: who has more guests at a time waits for the toolstack. */
const MOST = 3;

/** The spares there are, the one that was kept last in front; the program's end destroys them. */
export class Spares {
  readonly #destroy: (name: string) => void;
  #spares: Spare[] = [];
  #cancel: (() => void) | undefined;

  constructor(destroy: (name: string) => void) {
    this.#destroy = destroy;
  }

  /** Keeps a domain; the oldest makes room for it. */
  put(spare: Spare): void {
    this.#cancel ??= closeAtEnd(() => this.clear());
    this.#spares.unshift(spare);
    for (const { name } of this.#spares.splice(MOST)) this.#destroy(name);
  }

  /** Gives a spare of that size away, if there is one. */
  take(kind: DomainKind, memory: number, cpus: number): Spare | undefined {
    const at = this.#spares.findIndex((spare) =>
      spare.kind === kind && spare.memory === memory && spare.cpus === cpus
    );
    return at < 0 ? undefined : this.#spares.splice(at, 1)[0];
  }

  /** Destroys them, each even if another can't be. @throws {HvshError} What the first failure said. */
  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    using each = new DisposableStack();
    for (const { name } of this.#spares.splice(0)) each.defer(() => this.#destroy(name));
  }
}
