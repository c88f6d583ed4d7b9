/** Time as devices see it: a clock in nanoseconds and callbacks that come due. */

/** Stops a scheduled callback; harmless when it has run or was stopped. */
export type Cancel = () => void;

/** What a device needs of time. */
export interface Timebase {
  /** Nanoseconds since some fixed point; never goes back. */
  now(): bigint;
  /** Calls `callback` once, `delay` nanoseconds from now or later. */
  schedule(delay: bigint, callback: () => void): Cancel;
}

interface Timer {
  readonly due: bigint;
  /** Ties are run in the order in which they were scheduled. */
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A clock for a machine's devices that can stand still while the machine is paused. It does not tick by
 * itself: the run loop calls `poll()` between slices and sleeps no longer than until `next`.
 */
export class DeviceClock implements Timebase {
  readonly #host: () => bigint;
  /** Sorted, the next one last. */
  #timers: Timer[] = [];
  #order = 0;
  /** Host time minus device time; while paused, the device time at which it stands is in `#stopped`. */
  #behind = 0n;
  #stopped: bigint | undefined;

  /** @param host The host's monotonic clock, in nanoseconds. */
  constructor(host: () => bigint) {
    this.#host = host;
  }

  /** Device time in nanoseconds; stands still while paused. */
  now(): bigint {
    return this.#stopped ?? this.#host() - this.#behind;
  }

  /** Whether time stands still. */
  get paused(): boolean {
    return this.#stopped !== undefined;
  }

  /** Lets time stand still. Idempotent. */
  pause(): void {
    this.#stopped ??= this.now();
  }

  /** Lets time go on from where it stood. Idempotent. */
  resume(): void {
    if (this.#stopped === undefined) return;
    this.#behind = this.#host() - this.#stopped;
    this.#stopped = undefined;
  }

  /** Calls `callback` once from the first `poll` that finds `delay` nanoseconds gone. */
  schedule(delay: bigint, callback: () => void): Cancel {
    const timer: Timer = { due: this.now() + (delay > 0n ? delay : 0n), order: this.#order++, callback };
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#timers[middle];
      if (other.due > timer.due || (other.due === timer.due && other.order > timer.order)) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  }

  /** Nanoseconds until the next callback is due (0n if it is), undefined when there is none. */
  get next(): bigint | undefined {
    const timer = this.#timers.at(-1);
    if (timer === undefined) return undefined;
    const left = timer.due - this.now();
    return left > 0n ? left : 0n;
  }

  /**
   * Runs the callbacks that are due, in order. One that schedules another with no delay does not keep `poll`
   * from returning: the new one waits for the next `poll`.
   *
   * @returns How many ran.
   */
  poll(): number {
    if (this.#timers.length === 0) return 0;
    const now = this.now();
    const newest = this.#order;
    let ran = 0;
    for (;;) {
      const at = this.#timers.findLastIndex((t) => t.order < newest);
      if (at < 0 || this.#timers[at].due > now) return ran;
      const [timer] = this.#timers.splice(at, 1);
      ran++;
      timer.callback();
    }
  }
}
