import type { MaybePromise } from "./backend.ts";

/** Whether `value` has to be awaited. */
export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return value instanceof Promise;
}

/**
 * Goes on with `next` at once if `value` is there already, else when it is. Keeps the paths of local backends
 * free of microtasks.
 */
export function then<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Calls `body` with each item in turn until one gives something other than `undefined`; gives that. */
export function first<T, U>(
  items: Iterable<T>,
  body: (item: T) => MaybePromise<U | undefined>,
): MaybePromise<U | undefined> {
  const iterator = items[Symbol.iterator]();
  const go = (): MaybePromise<U | undefined> => {
    for (;;) {
      const item = iterator.next();
      if (item.done) return undefined;
      const result = body(item.value);
      if (result instanceof Promise) return result.then((r) => r === undefined ? go() : r);
      if (result !== undefined) return result;
    }
  };
  return go();
}

/** How long the event loop may wait for its turn. */
const TURN_MS = 5;

/** What lies on sockets of Deno's and is not to wait, each as a question that costs next to nothing. */
const heeded = new Set<() => boolean>();

/**
 * Has every `turn` look whether there is input. An event loop that is never idle looks at its sockets once in 61 rounds
 * (tokio, `event_interval`), which are several turns.
 *
 * @param hasInput Whether something lies on a socket; asked until the result is disposed of.
 */
export function heed(hasInput: () => boolean): Disposable {
  heeded.add(hasInput);
  return { [Symbol.dispose]: () => void heeded.delete(hasInput) };
}

/** When a turn was given last. */
let lastTurn = 0;

/**
 * Rounds that the event loop makes in a turn, for each millisecond since the last. Signals come as input does, so that
 * with one round for each slice Ctrl-C took up to 61 slices; now it takes 40 ms at most. A round takes 2 us.
 */
const ROUNDS_A_MS = 1.6;
/** Among so many rounds it looks at its input once. */
const EVENT_INTERVAL = 61;

/** Gives the event loop its turn: timers, signals and input get their chance. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      lastTurn = performance.now();
      resolve();
    };
    // A timer leaves the loop idle for a moment, in which it looks at its sockets; it costs a millisecond.
    if (isWaited()) {
      setTimeout(done, 0);
      return;
    }
    let left = Math.min(1 + (performance.now() - lastTurn) * ROUNDS_A_MS, EVENT_INTERVAL);
    const round = () => left-- >= 1 ? void setImmediate(round) : done();
    round();
  });
}

/** Answers that come this soon one after another are looked at ever more seldom, up to one in `LONGEST_STRIDE`. */
const QUICK_MS = 1;
const LONGEST_STRIDE = 16;

/**
 * For answers that are there at once and that callers may ask for in a loop without end: between microtasks no timer,
 * signal or input gets its chance, however often such a loop awaits.
 */
export class Turns {
  #stride = 1;
  #left = 1;
  #checked = 0;

  /** Gives `value`, behind a turn of the event loop if that has waited long enough for one. */
  before<T>(value: T): Promise<T> {
    if (--this.#left > 0) return Promise.resolve(value);
    // The clock costs a part of a step.
    const now = performance.now();
    this.#stride = now - this.#checked < QUICK_MS ? Math.min(this.#stride * 2, LONGEST_STRIDE) : 1;
    this.#left = this.#stride;
    this.#checked = now;
    return now - lastTurn < TURN_MS ? Promise.resolve(value) : turn().then(() => value);
  }
}

function isWaited(): boolean {
  for (const hasInput of heeded) if (hasInput()) return true;
  return false;
}

/** For long loops: what gives the event loop a turn whenever it has waited long enough for pauses and time limits. */
export function breather(): () => Promise<void> | undefined {
  let turned = performance.now();
  return () => {
    if (performance.now() - turned < TURN_MS) return undefined;
    return turn().then(() => void (turned = performance.now()));
  };
}
