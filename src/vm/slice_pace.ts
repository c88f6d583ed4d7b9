/** How long time slices are: longer where what lies between two of them takes long. */

/** What lies between slices shall take no more than this part of the time. */
const SHARE = 1 / 20;
/** A slice is at most so many times as long as it is on a host that is fast: others wait for its end. */
const MOST = 5;
/** How much of the mean a new time is. */
const WEIGHT = 1 / 8;

/**
 * Between two slices the event loop has its turn, which takes 0.1 ms on an ordinary host and milliseconds on one that is
 * translated or shared: 5 ms slices would then be a good part of a guest's time.
 */
export class SlicePace {
  readonly #leastMs: number;
  #between = 0;
  #ended: number | undefined;

  /** @param leastMs Milliseconds of a slice on a fast host. */
  constructor(leastMs: number) {
    this.#leastMs = leastMs;
  }

  /** Milliseconds of the next slice. */
  get ms(): number {
    return Math.min(Math.max(this.#leastMs, this.#between / SHARE), this.#leastMs * MOST);
  }

  /** A slice has ended at `now`, milliseconds of any clock. */
  ended(now: number): void {
    this.#ended = now;
  }

  /** One begins at `now`. A machine that was paused meanwhile is no slow host: what counts has a limit. */
  begins(now: number): void {
    if (this.#ended === undefined) return;
    const took = Math.min(now - this.#ended, this.#leastMs);
    this.#ended = undefined;
    this.#between += (took - this.#between) * WEIGHT;
  }
}
