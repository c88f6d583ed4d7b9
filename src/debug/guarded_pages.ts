import type { BackendMemory, MaybePromise } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { then } from "../vm/promise.ts";

const PAGE = 4096n;

/** Pages that are read-only for the guest because something in them is watched. */
export class GuardedPages {
  readonly #memory: BackendMemory;
  /** Page address to how many watchpoints need it. */
  readonly #pages = new Map<bigint, number>();

  constructor(memory: BackendMemory) {
    this.#memory = memory;
  }

  /** How many pages are guarded. */
  get size(): number {
    return this.#pages.size;
  }

  /** Whether the page of `gpa` is guarded. */
  has(gpa: bigint): boolean {
    return this.#pages.has(gpa & -PAGE);
  }

  /** @throws {UnsupportedError} If the backend can't make pages read-only. */
  guard(gpa: bigint, length: number): MaybePromise<void> {
    return this.#each(gpa, length, (page) => {
      const users = this.#pages.get(page) ?? 0;
      this.#pages.set(page, users + 1);
      return users === 0 ? this.#protect(page, true) : undefined;
    });
  }

  release(gpa: bigint, length: number): MaybePromise<void> {
    return this.#each(gpa, length, (page) => {
      const users = (this.#pages.get(page) ?? 0) - 1;
      if (users > 0) {
        this.#pages.set(page, users);
        return;
      }
      this.#pages.delete(page);
      return this.#protect(page, false);
    });
  }

  #protect(page: bigint, readOnly: boolean): MaybePromise<void> {
    if (this.#memory.protect === undefined) {
      throw new UnsupportedError("watchpoint-page", "this backend can't make guest pages read-only");
    }
    return this.#memory.protect(page, Number(PAGE), readOnly);
  }

  #each(gpa: bigint, length: number, body: (page: bigint) => MaybePromise<void>): MaybePromise<void> {
    let done: MaybePromise<void> = undefined;
    for (let page = gpa & -PAGE; page < gpa + BigInt(length); page += PAGE) {
      const here = page;
      done = then(done, () => body(here));
    }
    return done;
  }
}
