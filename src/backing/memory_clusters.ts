/** The changes of an overlay in memory, up to a limit. */
import type { BlockFault } from "../vm/block.ts";
import { blockFault } from "./faults.ts";
import { CLUSTER_BYTES, type ClusterStore } from "./overlay.ts";

/** Bytes of changes that are taken unless told otherwise. */
export const DEFAULT_LIMIT: number = 1 << 30;
/** Clusters are laid out in slabs of 1 MiB, so that a million of them are no million objects. */
const SLAB_CLUSTERS = 256;

/** Written clusters in memory; they are gone when it is disposed. */
export class MemoryClusters implements ClusterStore {
  readonly #name: string;
  readonly #limit: number;
  /** Cluster to place. */
  readonly #places = new Map<number, number>();
  #slabs: Uint8Array[] = [];

  /**
   * An empty store.
   *
   * @param name Of the disk, for messages. @param limit Bytes of changes that are taken.
   */
  constructor(name: string, limit: number = DEFAULT_LIMIT) {
    this.#name = name;
    this.#limit = limit;
  }

  /** Bytes of written clusters. */
  get bytes(): number {
    return this.#places.size * CLUSTER_BYTES;
  }

  /** Whether the cluster was written. */
  has(cluster: number): boolean {
    return this.#places.has(cluster);
  }

  /** Written clusters, by number. */
  clusters(): Iterable<number> {
    return [...this.#places.keys()].sort((a, b) => a - b);
  }

  /** Fills `into` from `offset` of a written cluster. */
  read(cluster: number, offset: number, into: Uint8Array): BlockFault | undefined {
    const place = this.#places.get(cluster) ?? 0;
    const at = place % SLAB_CLUSTERS * CLUSTER_BYTES + offset;
    into.set(this.#slabs[Math.floor(place / SLAB_CLUSTERS)].subarray(at, at + into.length));
    return undefined;
  }

  /** Stores `bytes` in a cluster. */
  write(cluster: number, offset: number, bytes: Uint8Array): BlockFault | undefined {
    let place = this.#places.get(cluster);
    if (place === undefined) {
      if (this.bytes + CLUSTER_BYTES > this.#limit) {
        return {
          ...blockFault("full", `The changes to ${this.#name} fill the ${this.#limit} bytes they may have`),
          remedy: "allow more, keep the changes in a file, or drop or commit them",
        };
      }
      place = this.#places.size;
      if (place % SLAB_CLUSTERS === 0) this.#slabs.push(new Uint8Array(SLAB_CLUSTERS * CLUSTER_BYTES));
      this.#places.set(cluster, place);
    }
    this.#slabs[Math.floor(place / SLAB_CLUSTERS)].set(bytes, place % SLAB_CLUSTERS * CLUSTER_BYTES + offset);
    return undefined;
  }

  /** There is nothing to do. */
  flush(): BlockFault | undefined {
    return undefined;
  }

  /** Forgets every cluster. */
  clear(): BlockFault | undefined {
    this.#places.clear();
    this.#slabs = [];
    return undefined;
  }

  /** Forgets every cluster. */
  [Symbol.dispose](): void {
    this.clear();
  }
}
