/** Opens what a user names as a disk: a path or bytes, read-only, read-write, or with an overlay. */
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { FileClusters } from "./file_clusters.ts";
import { MemoryClusters } from "./memory_clusters.ts";
import { foreignFormat } from "./formats.ts";
import { MemoryDisk } from "./memory_disk.ts";
import { NbdDisk } from "./nbd.ts";
import { Overlay } from "./overlay.ts";
import { Qcow2Disk } from "./qcow2.ts";
import { RawFile } from "./raw_file.ts";

/** What happens to what the guest writes: it is refused, goes to the disk, or beside it. */
export type DiskMode = "read-only" | "read-write" | "overlay";

/** How a disk is opened. */
export interface DiskOptions {
  /** Default: "overlay" if `overlay` is given, else "read-write". */
  readonly mode?: DiskMode;
  /** A file for the changes, made if there is none and kept; without it an overlay is in memory. */
  readonly overlay?: string;
  /** Bytes of changes that an overlay in memory takes. Default: 1 GiB. */
  readonly limit?: number;
  /** Takes a file that looks like a qcow2, VMDK or other image as the plain sectors it is not. */
  readonly raw?: boolean;
  /** For bytes: what messages call it. */
  readonly name?: string;
}

/** An open disk, to be closed by disposal. */
export interface Disk extends BlockBacking, Disposable {
  /** What the user should know about it, in sentences. */
  readonly notes: readonly string[];
  /** The changes, if they go to an overlay. */
  readonly overlay?: DiskOverlay;
}

/** What can be done with an overlay while the guest runs. */
export interface DiskOverlay {
  /** Bytes that differ, or may differ, from the disk. */
  readonly changed: number;
  /** Writes the changes to the disk. Gives why it failed, if it did. @throws {InputError} If the disk can't be opened for writing. */
  commit(): BlockFault | undefined;
  /** Forgets the changes: the guest sees the disk's bytes again. Gives why it failed, if it did. */
  drop(): BlockFault | undefined;
}

/**
 * Opens a disk.
 *
 * @param source A path of an image file or block device, or bytes (used, not copied). A qcow2 image is read by Debian's
 * qemu-storage-daemon or qemu-nbd; `nbd+unix:///EXPORT?socket=PATH` is what an NBD server has.
 * @throws {InputError} If it can't be opened, or is no disk.
 */
export function openDisk(source: string | Uint8Array, options: DiskOptions = {}): Disk {
  const mode = options.mode ?? (options.overlay === undefined ? "read-write" : "overlay");
  const base = (write: boolean) =>
    typeof source === "string"
      ? openPath(source, write, options.raw ?? false)
      : new MemoryDisk(source, { name: options.name, readOnly: !write });
  if (mode !== "overlay") return new OpenDisk(base(mode === "read-write"));
  using cleanup = new DisposableStack();
  const lower: BlockBacking & Partial<Disposable> & { readonly notes: readonly string[] } = base(false);
  cleanup.defer(() => lower[Symbol.dispose]?.());
  const store = options.overlay === undefined
    ? new MemoryClusters(lower.name, options.limit)
    : new FileClusters(options.overlay, lower.size);
  cleanup.move();
  const overlay = new Overlay({ base: lower, store, target: () => committable(lower, base) });
  return new OpenDisk(overlay, lower.notes, overlay);
}

/** The disk itself, opened once more for the changes. @throws {InputError} If two can't have it open. */
function committable(lower: BlockBacking, base: (write: boolean) => BlockBacking): BlockBacking {
  if (lower instanceof RawFile || lower instanceof MemoryDisk) return base(true);
  throw new InputError(`The changes can't be written to ${lower.name}, which another program has open`, {
    remedy: "open it read-write, or convert it to a raw image",
  });
}

/** Whether another program reads what is at `source`, which has to be waited for. */
export function readByProgram(source: string, options: DiskOptions): boolean {
  return source.startsWith(NBD) || options.raw !== true && startsAsQcow2(source);
}

type Opened = BlockBacking & Disposable & { readonly notes: readonly string[] };

function openPath(path: string, write: boolean, raw: boolean): Opened {
  if (path.startsWith(NBD)) return openNbd(path, write);
  if (!raw && startsAsQcow2(path)) return new Qcow2Disk(path, { write });
  return new RawFile(path, { write, raw });
}

/** How the NBD project writes such servers (doc/uri.md). */
const NBD = "nbd+unix:";

function openNbd(uri: string, write: boolean): Opened {
  const url = new URL(uri);
  const socket = url.searchParams.get("socket");
  if (socket === null || socket === "") {
    throw new InputError(`${uri} does not say where the server listens`, {
      remedy: "write nbd+unix:///EXPORT?socket=PATH",
    });
  }
  return new NbdDisk({
    socket,
    export: decodeURIComponent(url.pathname.replace(/^\//, "")),
    name: uri,
    write,
  });
}

/** Whether a file that can be read begins as such an image; whatever else it is comes out when it is opened. */
function startsAsQcow2(path: string): boolean {
  try {
    if (!Deno.statSync(path).isFile) return false;
    using file = Deno.openSync(path);
    const start = new Uint8Array(4);
    file.readSync(start);
    return foreignFormat(start) === "qcow2";
  } catch {
    return false;
  }
}

class OpenDisk implements Disk {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly notes: readonly string[];
  readonly overlay?: DiskOverlay;
  readonly readv?: (at: number, pieces: readonly Uint8Array[]) => BlockFault | undefined;
  readonly discard?: (at: number, length: number) => BlockFault | undefined;
  readonly #disk: BlockBacking & Partial<Disposable>;

  constructor(
    disk: BlockBacking & Partial<Disposable> & { readonly notes?: readonly string[] },
    notes: readonly string[] = disk.notes ?? [],
    overlay?: DiskOverlay,
  ) {
    this.#disk = disk;
    this.name = disk.name;
    this.size = disk.size;
    this.readOnly = disk.readOnly;
    this.notes = notes;
    if (overlay !== undefined) this.overlay = overlay;
    if (disk.readv !== undefined) this.readv = (at, pieces) => disk.readv!(at, pieces);
    if (disk.discard !== undefined) this.discard = (at, length) => disk.discard!(at, length);
  }

  read(at: number, into: Uint8Array): BlockFault | undefined {
    return this.#disk.read(at, into);
  }

  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    return this.#disk.write(at, bytes);
  }

  flush(): BlockFault | undefined {
    return this.#disk.flush();
  }

  [Symbol.dispose](): void {
    this.#disk[Symbol.dispose]?.();
  }
}
