/**
 * The changes of an overlay in a sparse file, which may be kept and used again with the same disk.
 *
 * Layout, little-endian: a header of 4,096 bytes, a bitmap with a bit for each cluster (lowest first) in whole
 * 4,096 bytes, and the clusters, each at its own place. Clusters are written before the bits that tell of them.
 */
import type { BlockFault } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { HostFile } from "../host/file.ts";
import { blockFault, faultOf } from "./faults.ts";
import { CLUSTER_BYTES, type ClusterStore } from "./overlay.ts";

const MAGIC = new TextEncoder().encode("HVSHCOW\0");
const VERSION = 1;
const HEADER_BYTES = 4096;
const PAGE_BYTES = 4096;
/** Offsets in the header. */
const VERSION_AT = 8;
const CLUSTER_BYTES_AT = 12;
const SIZE_AT = 16;
/** Disks up to this size: the bitmap of a larger one would not be small. */
const SIZE_LIMIT = 2 ** 44;

/** Written clusters in a file. */
export class FileClusters implements ClusterStore {
  readonly #path: string;
  readonly #size: number;
  readonly #file: HostFile;
  readonly #bitmap: Uint8Array;
  /** Pages of the bitmap that differ from the file's. */
  readonly #dirty = new Set<number>();
  readonly #data: number;
  #count = 0;

  /**
   * Opens the file at `path`, or makes it if there is none.
   *
   * @param size Bytes of the disk it belongs to.
   * @throws {InputError} If it can't be made or opened, or is no overlay of a disk of that size.
   */
  constructor(path: string, size: number) {
    this.#path = path;
    this.#size = size;
    if (size > SIZE_LIMIT) {
      throw new InputError(`A disk of ${size} bytes is too large for an overlay file`, {
        remedy: `overlays take up to ${SIZE_LIMIT} bytes`,
      });
    }
    const bits = Math.ceil(size / CLUSTER_BYTES);
    this.#bitmap = new Uint8Array(Math.ceil(bits / 8 / PAGE_BYTES) * PAGE_BYTES);
    this.#data = HEADER_BYTES + this.#bitmap.length;
    using cleanup = new DisposableStack();
    try {
      make(path, size, this.#data);
      this.#file = cleanup.use(new HostFile(path, { write: true }));
    } catch (cause) {
      throw new InputError(
        `The overlay ${path} can't be opened: ${cause instanceof Error ? cause.message : cause}`,
        { cause, remedy: "give a file, or a name for one, in a folder that can be written to" },
      );
    }
    this.#load();
    cleanup.move();
  }

  /** Bytes of written clusters. */
  get bytes(): number {
    return this.#count * CLUSTER_BYTES;
  }

  /** Whether the cluster was written. */
  has(cluster: number): boolean {
    return (this.#bitmap[cluster >>> 3] & 1 << (cluster & 7)) !== 0;
  }

  /** Written clusters, by number. */
  *clusters(): Iterable<number> {
    for (let byte = 0; byte < this.#bitmap.length; byte++) {
      for (let bit = 0; this.#bitmap[byte] >> bit !== 0; bit++) {
        if (this.#bitmap[byte] & 1 << bit) yield byte * 8 + bit;
      }
    }
  }

  /** Fills `into` from `offset` of a written cluster. */
  read(cluster: number, offset: number, into: Uint8Array): BlockFault | undefined {
    const done = this.#file.read(this.#data + cluster * CLUSTER_BYTES + offset, into);
    if (done < 0) return faultOf(this.#path, "read", done);
    // The file ends with the last cluster that was ever written, and is sparse before.
    return done < into.length ? blockFault("shrunk", `${this.#path} is shorter than it was`) : undefined;
  }

  /** Stores `bytes` in a cluster. */
  write(cluster: number, offset: number, bytes: Uint8Array): BlockFault | undefined {
    if (this.#file.status().links === 0) {
      return blockFault("gone", `${this.#path} was removed while the guest used it`);
    }
    const done = this.#file.write(this.#data + cluster * CLUSTER_BYTES + offset, bytes);
    if (done < 0) return faultOf(this.#path, "written", done);
    if (done < bytes.length) {
      return blockFault("unwritable", `${this.#path} took only a part of what was written`);
    }
    if (!this.has(cluster)) {
      this.#bitmap[cluster >>> 3] |= 1 << (cluster & 7);
      this.#dirty.add(Math.floor((cluster >>> 3) / PAGE_BYTES));
      this.#count++;
    }
    return undefined;
  }

  /** Takes the clusters, then the bitmap to stable storage. */
  flush(): BlockFault | undefined {
    if (this.#dirty.size > 0) {
      const fault = this.#sync() ?? this.#writeBitmap();
      if (fault !== undefined) return fault;
    }
    return this.#sync();
  }

  /** Forgets every cluster; the file gives their room back. */
  clear(): BlockFault | undefined {
    const pages = this.#bitmap.length / PAGE_BYTES;
    this.#bitmap.fill(0);
    this.#count = 0;
    for (let page = 0; page < pages; page++) this.#dirty.add(page);
    const fault = this.#writeBitmap() ?? this.#sync();
    if (fault !== undefined) return fault;
    try {
      // Cut off and grown again, the file has no clusters in it.
      Deno.truncateSync(this.#path, this.#data);
      Deno.truncateSync(this.#path, this.#data + this.#size);
    } catch (error) {
      return blockFault("unwritable", `${this.#path}: ${error instanceof Error ? error.message : error}`);
    }
    return undefined;
  }

  /** Writes the bitmap and closes the file, which stays. */
  [Symbol.dispose](): void {
    if (this.#file.open) this.#writeBitmap();
    this.#file[Symbol.dispose]();
  }

  #load(): void {
    const header = new Uint8Array(HEADER_BYTES);
    const view = new DataView(header.buffer);
    const read = this.#file.read(0, header);
    const refuse = (why: string, remedy: string): never => {
      throw new InputError(`${this.#path} ${why}`, { remedy });
    };
    const another = "give another name: the file is left as it is";
    if (read < HEADER_BYTES || MAGIC.some((c, i) => header[i] !== c)) refuse("is no overlay", another);
    if (
      view.getUint32(VERSION_AT, true) !== VERSION || view.getUint32(CLUSTER_BYTES_AT, true) !== CLUSTER_BYTES
    ) {
      refuse("is an overlay of another version", "use the release that made it to commit or drop it");
    }
    const size = view.getBigUint64(SIZE_AT, true);
    if (size !== BigInt(this.#size)) {
      refuse(`belongs to a disk of ${size} bytes, not ${this.#size}`, "give the disk it was made for");
    }
    if (this.#file.read(HEADER_BYTES, this.#bitmap) < this.#bitmap.length) refuse("is cut off", another);
    const clusters = Math.ceil(this.#size / CLUSTER_BYTES);
    for (const cluster of this.clusters()) {
      if (cluster >= clusters) refuse("is damaged: it holds clusters behind the disk's end", another);
      this.#count++;
    }
  }

  #sync(): BlockFault | undefined {
    const done = this.#file.sync();
    return done < 0 ? faultOf(this.#path, "written", done) : undefined;
  }

  #writeBitmap(): BlockFault | undefined {
    for (const page of this.#dirty) {
      const at = page * PAGE_BYTES;
      const bytes = this.#bitmap.subarray(at, at + PAGE_BYTES);
      const done = this.#file.write(HEADER_BYTES + at, bytes);
      if (done < 0) return faultOf(this.#path, "written", done);
      this.#dirty.delete(page);
    }
    return undefined;
  }
}

/** Makes the file, sparse and without clusters, if it is not there. */
function make(path: string, size: number, data: number): void {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  header.set(MAGIC);
  view.setUint32(VERSION_AT, VERSION, true);
  view.setUint32(CLUSTER_BYTES_AT, CLUSTER_BYTES, true);
  view.setBigUint64(SIZE_AT, BigInt(size), true);
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { write: true, createNew: true });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw error;
  }
  try {
    using made = file;
    if (made.writeSync(header) < header.length) throw new Error("there is no space left for its header");
    made.truncateSync(data + size);
  } catch (error) {
    Deno.removeSync(path);
    throw error;
  }
}
