/** Copy on write: what a guest writes is kept beside a disk that stays as it is. */
import { type BlockBacking, type BlockFault, outside } from "../vm/block.ts";
import { blockFault } from "./faults.ts";

/** Bytes that are copied together: one bit of bookkeeping each. */
export const CLUSTER_BYTES = 4096;

/** Where the written clusters of an overlay are. */
export interface ClusterStore extends Disposable {
  /** Bytes of written clusters. */
  readonly bytes: number;
  /** Whether the cluster was written. */
  has(cluster: number): boolean;
  /** Written clusters, by number. */
  clusters(): Iterable<number>;
  /** Fills `into` from `offset` of a written cluster; never past the cluster's end. */
  read(cluster: number, offset: number, into: Uint8Array): BlockFault | undefined;
  /** Stores `bytes` from `offset` of a cluster that was written before, or as the whole of a new one. */
  write(cluster: number, offset: number, bytes: Uint8Array): BlockFault | undefined;
  /** Takes it to stable storage. */
  flush(): BlockFault | undefined;
  /** Forgets every cluster. */
  clear(): BlockFault | undefined;
}

/** What an overlay lies over, and where what is written is taken when it is kept. */
export interface OverlayOptions {
  /** What is read where nothing was written. */
  readonly base: BlockBacking & Partial<Disposable>;
  /** Where the changes go. */
  readonly store: ClusterStore;
  /** Opens the base for writing. Default: the base itself. */
  readonly target?: () => BlockBacking & Partial<Disposable>;
}

/** A disk whose changes lie in a store. */
export class Overlay implements BlockBacking, Disposable {
  /** That of the base. */
  readonly name: string;
  /** That of the base. */
  readonly size: number;
  /** false */
  readonly readOnly = false;
  readonly #options: OverlayOptions;
  readonly #cluster = new Uint8Array(CLUSTER_BYTES);
  #closed = false;

  /**
   * An overlay over a base.
   *
   * @param options The parts; they belong to the overlay from now on.
   */
  constructor(options: OverlayOptions) {
    this.#options = options;
    this.name = options.base.name;
    this.size = options.base.size;
  }

  /** Bytes that differ, or may differ, from the base. */
  get changed(): number {
    return this.#options.store.bytes;
  }

  /** Fills `into` from `at`: written clusters from the store, the stretches between them from the base. */
  read(at: number, into: Uint8Array): BlockFault | undefined {
    const { base, store } = this.#options;
    const bad = this.#unusable(at, into.length);
    if (bad !== undefined) return bad;
    for (let done = 0; done < into.length;) {
      const cluster = Math.floor((at + done) / CLUSTER_BYTES);
      const offset = (at + done) % CLUSTER_BYTES;
      let length = CLUSTER_BYTES - offset;
      let fault: BlockFault | undefined;
      if (store.has(cluster)) {
        length = Math.min(length, into.length - done);
        fault = store.read(cluster, offset, into.subarray(done, done + length));
      } else {
        for (let next = cluster + 1; length < into.length - done && !store.has(next); next++) {
          length += CLUSTER_BYTES;
        }
        length = Math.min(length, into.length - done);
        fault = base.read(at + done, into.subarray(done, done + length));
      }
      if (fault !== undefined) return fault;
      done += length;
    }
    return undefined;
  }

  /** Stores `bytes` from `at`; the rest of a cluster that is written for the first time comes from the base. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    const { store } = this.#options;
    const bad = this.#unusable(at, bytes.length);
    if (bad !== undefined) return bad;
    for (let done = 0; done < bytes.length;) {
      const cluster = Math.floor((at + done) / CLUSTER_BYTES);
      const offset = (at + done) % CLUSTER_BYTES;
      const length = Math.min(CLUSTER_BYTES - offset, bytes.length - done);
      const part = bytes.subarray(done, done + length);
      const fault = length === CLUSTER_BYTES || store.has(cluster)
        ? store.write(cluster, offset, part)
        : this.#first(cluster, offset, part);
      if (fault !== undefined) return fault;
      done += length;
    }
    return undefined;
  }

  /** Takes what was written to stable storage. */
  flush(): BlockFault | undefined {
    return this.#unusable(0, 0) ?? this.#options.store.flush();
  }

  /**
   * Keeps the changes: writes them to the base, which is opened for writing meanwhile, and forgets them here. The
   * guest sees no difference. If it fails, the changes stay here as well, so that it can be tried again.
   *
   * @throws {InputError} If the base can't be opened for writing.
   * @returns Why it failed, if it did.
   */
  commit(): BlockFault | undefined {
    const bad = this.#unusable(0, 0);
    if (bad !== undefined) return bad;
    const { base, store, target } = this.#options;
    const into = target?.() ?? base;
    try {
      for (const i of store.clusters()) {
        const part = this.#part(i);
        const fault = store.read(i, 0, part) ?? into.write(i * CLUSTER_BYTES, part);
        if (fault !== undefined) return fault;
      }
      return into.flush() ?? store.clear();
    } finally {
      if (into !== base) into[Symbol.dispose]?.();
    }
  }

  /** Drops the changes: the guest sees the base's bytes again. Gives why it failed, if it did. */
  drop(): BlockFault | undefined {
    return this.#unusable(0, 0) ?? this.#options.store.clear();
  }

  /** Closes store and base. Changes in memory are gone; those in a file stay in it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.store[Symbol.dispose]();
    this.#options.base[Symbol.dispose]?.();
  }

  #unusable(at: number, length: number): BlockFault | undefined {
    return this.#closed ? blockFault("closed", `${this.name} is closed`) : outside(this, at, length);
  }

  /** The scratch cluster, as long as cluster `i` is: the last one of a disk may be shorter. */
  #part(i: number): Uint8Array {
    return this.#cluster.subarray(0, Math.min(CLUSTER_BYTES, this.size - i * CLUSTER_BYTES));
  }

  #first(cluster: number, offset: number, bytes: Uint8Array): BlockFault | undefined {
    const { base, store } = this.#options;
    const whole = this.#part(cluster);
    const fault = base.read(cluster * CLUSTER_BYTES, whole);
    if (fault !== undefined) return fault;
    whole.set(bytes, offset);
    return store.write(cluster, 0, whole);
  }
}
