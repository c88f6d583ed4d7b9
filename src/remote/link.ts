/**
 * The streams to the other side, read together: whoever waits for one of them takes what comes on all, so that a
 * program at the other end never waits for us while we wait for it.
 */

import { Spin } from "../vm/spin.ts";

/** One end of a connected stream; `HostStream` is one. Nothing here ever waits. */
export interface Stream {
  /** Whether the other side is gone. */
  readonly ended: boolean;
  /** Sends at once or later. */
  send(bytes: Uint8Array): void;
  /** What has arrived, valid until the next call: all of it, if that is less than `FULL`. */
  receive(): Uint8Array | undefined;
  close(): void;
}

/** Waits for many streams at once. It is only ever given streams that were made beside it. */
export interface Waiter {
  /** Waits until some of the streams have something, at most so many milliseconds; gives those. */
  wait(streams: readonly Stream[], timeoutMs: number): readonly Stream[];
}

/** Bytes that a stream gives at once if it has them. To ask it for more behind less would be a call in vain. */
export const FULL: number = 64 * 1024;

/** The most that is taken from one stream before the others get their turn. */
const TURN_BYTES = 1 << 20;

/** How long what comes on a patient stream may lie there. */
const PATIENCE_MS = 50;

/** All streams of one machine. */
export class Links implements Disposable {
  readonly #waiter: Waiter;
  #streams: readonly Stream[] = [];
  #urgent: readonly Stream[] = [];
  readonly #patient = new Set<Stream>();
  /** When all streams were last looked at. */
  #looked = 0;
  readonly #spin = new Spin(1);
  readonly #takers = new Map<Stream, (bytes: Uint8Array) => void>();

  constructor(waiter: Waiter) {
    this.#waiter = waiter;
  }

  /**
   * Hands what comes on `stream` to `take`.
   *
   * @param patient What comes there may lie for a while, unless it is waited for: a monitor's news of every step
   * would wake us twice as often as the steps do.
   */
  add(stream: Stream, take: (bytes: Uint8Array) => void, patient = false): void {
    this.#takers.set(stream, take);
    if (patient) this.#patient.add(stream);
    this.#streams = [...this.#takers.keys()];
    this.#urgent = this.#streams.filter((one) => !this.#patient.has(one));
  }

  /** Waits for something to come, at most `timeoutMs`, and hands it out; on patient streams too if `all`. */
  pump(timeoutMs: number, all = false, now = performance.now()): void {
    const everything = all || this.#urgent.length === 0 || now - this.#looked > PATIENCE_MS;
    if (everything) this.#looked = now;
    for (const stream of this.#waiter.wait(everything ? this.#streams : this.#urgent, timeoutMs)) {
      const take = this.#takers.get(stream);
      if (take === undefined) continue;
      for (let taken = 0; taken < TURN_BYTES;) {
        const bytes = stream.receive();
        if (bytes === undefined) break;
        taken += bytes.length;
        take(bytes);
        if (bytes.length < FULL) break;
      }
    }
  }

  /** Pumps until `done` or `timeoutMs` have gone by, patient streams too if `all`; whether it is done. */
  until(done: () => boolean, timeoutMs: number, all = false): boolean {
    if (done()) return true;
    const begin = performance.now();
    if (timeoutMs > 0 && this.#spin.until(() => (this.pump(0, all), done()))) return true;
    for (;;) {
      const now = performance.now();
      const left = begin + timeoutMs - now;
      this.pump(Math.max(0, Math.ceil(left)), all, now);
      const over = done();
      if (!over && left > 0) continue;
      this.#spin.slept(performance.now() - begin);
      return over;
    }
  }

  /** Closes every stream. */
  [Symbol.dispose](): void {
    for (const stream of this.#takers.keys()) stream.close();
    this.#takers.clear();
    this.#streams = [];
    this.#urgent = [];
  }
}
