/** How long is asked again and again; and what sleep, in milliseconds, is short enough for that to pay. */
const SPIN_MS = 0.5;
const SOON_MS = 1;
/**
 * Where others want the processors, the other side can't go on meanwhile: behind each time in vain, twice as many waits
 * go by until it is tried again, up to this.
 */
const MOST_SLEEPS = 255;
/** Questions between two looks at the clock. */
const QUESTIONS = 16;
/** With one processor, to ask again keeps the other side from answering. */
const SEVERAL = navigator.hardwareConcurrency > 1;

/**
 * Who waits for the end of a step asks again and again for a moment before it sleeps: to be woken takes a good part of
 * the step's time. Only while what is waited for comes soon, so that a guest that runs on costs no more than one moment.
 */
export class Spin {
  /** What was waited for last came soon. */
  #soon = true;
  /** Waits without asking again that are left, and how many there were to be. */
  #sleeps = 0;
  #most = 0;
  readonly #questions: number;

  /** @param questions How many questions are asked between two looks at the clock: 1 where each is a system call. */
  constructor(questions = QUESTIONS) {
    this.#questions = questions;
  }

  /** Whether `come` says so within the moment; not asked at all where that does not pay. */
  until(come: () => boolean): boolean {
    if (!SEVERAL || !this.#soon || --this.#sleeps >= 0) return false;
    const end = performance.now() + SPIN_MS;
    do {
      for (let i = 0; i < this.#questions; i++) {
        if (!come()) continue;
        this.#sleeps = this.#most >>= 1;
        return true;
      }
    } while (performance.now() < end);
    this.#sleeps = this.#most = Math.min(MOST_SLEEPS, 2 * this.#most + 1);
    return false;
  }

  /** To be told how long was slept, until what was waited for came. */
  slept(ms: number): void {
    this.#soon = ms < SOON_MS;
  }
}
