/** How many notices are kept. */
const LIMIT = 100;

/** What the user should know of the host's side of a machine's devices. */
export class Notices {
  readonly #kept: string[] = [];
  readonly #listeners = new Set<(text: string) => void>();

  /** Oldest first: at most the newest 100. */
  get list(): readonly string[] {
    return this.#kept;
  }

  /** Keeps one and tells everybody who listens. */
  add(text: string): void {
    if (this.#kept.push(text) > LIMIT) this.#kept.shift();
    for (const listener of this.#listeners) listener(text);
  }

  /** Calls `listener` with every notice from now on, until what is returned is disposed of. */
  listen(listener: (text: string) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}
