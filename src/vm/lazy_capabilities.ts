import type { Capabilities, Capability } from "./capabilities.ts";

/**
 * Capabilities of two sorts: some are known at once, the others only by running probe guests, which takes
 * long enough to matter at start-up. Those guests run when the first of the others is asked for.
 */
export class LazyCapabilities implements Capabilities {
  readonly #told: Capabilities;
  readonly #probe: () => Capabilities;
  #probed: Capabilities | undefined;

  /**
   * @param told What is known without a guest.
   * @param probe Finds the others; called at most once.
   */
  constructor(told: Capabilities, probe: () => Capabilities) {
    this.#told = told;
    this.#probe = probe;
  }

  get size(): number {
    return this.#all().size;
  }

  get(name: string): Capability | undefined {
    return this.#told.get(name) ?? this.#all().get(name);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  forEach(
    callback: (value: Capability, key: string, map: ReadonlyMap<string, Capability>) => void,
    self?: unknown,
  ): void {
    for (const [name, capability] of this) callback.call(self, capability, name, this);
  }

  entries(): MapIterator<[string, Capability]> {
    return this.#all().entries();
  }

  keys(): MapIterator<string> {
    return this.#all().keys();
  }

  values(): MapIterator<Capability> {
    return this.#all().values();
  }

  [Symbol.iterator](): MapIterator<[string, Capability]> {
    return this.entries();
  }

  #all(): Capabilities {
    return this.#probed ??= new Map([...this.#told, ...this.#probe()]);
  }
}
