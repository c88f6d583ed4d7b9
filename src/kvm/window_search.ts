/**
 * When to look for an instruction before which a guest takes interrupts, on a KVM that looks itself only as KVM_RUN
 * begins (capability "interrupt-windows"): a guest that lets interrupts in for a few instructions of each round of a
 * loop, as SeaBIOS does while it waits, may not get one for seconds there, and those of the timer before all others.
 *
 * It is looked for behind a slice that ended with interrupts off, by steps. Where none is found, as the guest has
 * interrupts off for long, it is looked for ever more seldom.
 */
export class WindowSearch {
  /** Steps of a search: a millisecond or two. */
  static readonly STEPS = 300;
  /** Milliseconds of the slice after one that found something: another interrupt may wait behind the one taken. */
  static readonly SOON_MS = 1;
  /** Slices between two searches, at most. */
  static readonly LONGEST_REST = 8;
  #left = 0;
  #rest = 0;
  #pause = 0;
  #soon = false;

  /** Steps that the search has left; 0 if there is none. */
  get left(): number {
    return this.#left;
  }

  /** Whether the next slice shall be a short one. */
  get soon(): boolean {
    return this.#soon;
  }

  /** At the end of a slice with interrupts off: whether it is time for a search, if one waits. */
  due(): boolean {
    this.#soon = false;
    if (this.#pause === 0) return true;
    this.#pause--;
    return false;
  }

  /** A search begins. */
  begin(): void {
    this.#left = WindowSearch.STEPS;
  }

  /** A step was done, at the end of which the guest takes interrupts or not. */
  stepped(takes: boolean): void {
    this.#left = takes ? 0 : this.#left - 1;
    if (this.#left > 0) return;
    this.#soon = takes;
    this.#rest = takes ? 0 : Math.min(2 * this.#rest + 1, WindowSearch.LONGEST_REST);
    this.#pause = this.#rest;
  }
}
