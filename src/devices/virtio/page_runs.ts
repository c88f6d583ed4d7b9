/** Page numbers gathered into runs, so that neighbours go in one call. */

const PAGE_BYTES = 4096;

/** Gathers pages of 4096 bytes that follow each other, upwards or downwards. */
export class PageRuns {
  readonly #use: (at: bigint, length: number) => void;
  /** First page and the one behind the last; equal while there is none. */
  #from = 0;
  #to = 0;

  /** @param use Called with each run: guest-physical address, bytes. */
  constructor(use: (at: bigint, length: number) => void) {
    this.#use = use;
  }

  /** One page more. */
  add(page: number): void {
    if (this.#from === this.#to) [this.#from, this.#to] = [page, page + 1];
    else if (page === this.#to) this.#to++;
    else if (page === this.#from - 1) this.#from--;
    else {
      this.end();
      [this.#from, this.#to] = [page, page + 1];
    }
  }

  /** There are no more. */
  end(): void {
    const [from, to] = [this.#from, this.#to];
    this.#from = this.#to = 0;
    if (from !== to) this.#use(BigInt(from) * BigInt(PAGE_BYTES), (to - from) * PAGE_BYTES);
  }
}
