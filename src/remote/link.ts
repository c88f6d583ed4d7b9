/**
 * The streams to the other side, read together: whoever waits for one of them takes what comes on all, so that a
 * program at the other end never waits for us while we wait for it.
 */

/** One end of a connected stream; `HostStream` is one. Nothing here ever waits. */
export interface Stream {
  /** Whether the other side is gone. */
  readonly ended: boolean;
  /** Sends at once or later. */
  send(bytes: Uint8Array): void;
  /** What has arrived, valid until the next call. */
  receive(): Uint8Array | undefined;
  close(): void;
}

/** Waits for many streams at once. It is only ever given streams that were made beside it. */
export interface Waiter {
  /** Waits until some of the streams have something, at most so many milliseconds; gives those. */
  wait(streams: readonly Stream[], timeoutMs: number): readonly Stream[];
}

/** The most that is taken from one stream before the others get their turn. */
const TURN_BYTES = 1 << 20;

/** All streams of one machine. */
export class Links implements Disposable {
  readonly #waiter: Waiter;
  #streams: readonly Stream[] = [];
  readonly #takers = new Map<Stream, (bytes: Uint8Array) => void>();

  constructor(waiter: Waiter) {
    this.#waiter = waiter;
  }

  /** Hands what comes on `stream` to `take`. */
  add(stream: Stream, take: (bytes: Uint8Array) => void): void {
    this.#takers.set(stream, take);
    this.#streams = [...this.#takers.keys()];
  }

  /** Waits for something to come, at most `timeoutMs`, and hands it out. */
  pump(timeoutMs: number): void {
    for (const stream of this.#waiter.wait(this.#streams, timeoutMs)) {
      const take = this.#takers.get(stream);
      if (take === undefined) continue;
      for (let taken = 0; taken < TURN_BYTES;) {
        const bytes = stream.receive();
        if (bytes === undefined) break;
        taken += bytes.length;
        take(bytes);
      }
    }
  }

  /** Pumps until `done` or `timeoutMs` have gone by; whether it is done. */
  until(done: () => boolean, timeoutMs: number): boolean {
    if (done()) return true;
    const end = performance.now() + timeoutMs;
    for (;;) {
      const left = end - performance.now();
      this.pump(Math.max(0, Math.ceil(left)));
      if (done()) return true;
      if (left <= 0) return false;
    }
  }

  /** Closes every stream. */
  [Symbol.dispose](): void {
    for (const stream of this.#takers.keys()) stream.close();
    this.#takers.clear();
    this.#streams = [];
  }
}
