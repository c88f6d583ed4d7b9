import type { Stop } from "../vm/stop.ts";

/** Stops that a listener has not taken yet; the oldest are dropped beyond this. */
const BACKLOG = 1024;

/** Hands every stop to everyone who iterates `stops()`. */
export class StopFeed {
  readonly #listeners = new Set<Listener>();
  #closed = false;

  publish(stop: Stop): void {
    if (this.#listeners.size === 0) return;
    for (const listener of this.#listeners) listener.push(stop);
  }

  /** Ends every iteration once its backlog is taken. */
  close(): void {
    this.#closed = true;
    for (const listener of this.#listeners) listener.end();
    this.#listeners.clear();
  }

  subscribe(): AsyncIterableIterator<Stop> {
    const listener = new Listener(() => this.#listeners.delete(listener));
    if (this.#closed) listener.end();
    else this.#listeners.add(listener);
    return listener;
  }
}

class Listener implements AsyncIterableIterator<Stop> {
  readonly #backlog: Stop[] = [];
  readonly #forget: () => void;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(forget: () => void) {
    this.#forget = forget;
  }

  push(stop: Stop): void {
    this.#backlog.push(stop);
    if (this.#backlog.length > BACKLOG) this.#backlog.shift();
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<Stop>> {
    while (this.#backlog.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const value = this.#backlog.shift();
    return value === undefined ? { done: true, value: undefined } : { done: false, value };
  }

  return(): Promise<IteratorResult<Stop>> {
    this.#ended = true;
    this.#forget();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Stop> {
    return this;
  }
}
