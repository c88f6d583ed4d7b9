/** A disk that is a file of the host byte by byte, or one of its block devices. */
import { type BlockBacking, type BlockFault, outside, SECTOR_BYTES } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { ERRNO } from "../abi/errno.ts";
import { monotonicMs } from "../host/clock.ts";
import { type FileStatus, HostFile } from "../host/file.ts";
import { blockFault, faultOf } from "./faults.ts";
import { foreignFormat } from "./formats.ts";

/** How long reads rely on what was seen of the file: a look costs as much as reading 4 KiB. */
const LOOK_MS = 10;
/** Zeros that are written in one go. */
const ZEROS_BYTES = 1 << 20;

/** How a file is opened. */
export interface RawFileOptions {
  /** Whether the guest may write to it. Default: no. */
  readonly write?: boolean;
  /** Whether a file that looks like another format than sectors one after the other is taken all the same. */
  readonly raw?: boolean;
}

/** Sectors one after the other in a file. */
export class RawFile implements BlockBacking, Disposable {
  /** The path. */
  readonly name: string;
  /** Bytes in whole sectors. */
  readonly size: number;
  /** Whether it was opened without `write`. */
  readonly readOnly: boolean;
  /** What the user should know about it, in sentences. */
  readonly notes: readonly string[];
  readonly #file: HostFile;
  /** A block device has no names of its own that vanish, and its status tells no size. */
  readonly #regular: boolean;
  /** When the file was last seen to be there, in milliseconds of the host's clock. */
  #lookedAt = -LOOK_MS;
  /** Whether it can have holes, as far as is known. */
  #holes = true;

  /**
   * Opens the file at `path`.
   *
   * @throws {InputError} If it can't be opened, is no file, is empty, or has a format of its own.
   */
  constructor(path: string, options: RawFileOptions = {}) {
    this.name = path;
    this.readOnly = !(options.write ?? false);
    using cleanup = new DisposableStack();
    this.#file = cleanup.use(open(path, !this.readOnly));
    const { kind } = this.#file.status();
    if (kind !== "file" && kind !== "block device") {
      throw new InputError(`The disk ${path} is ${kind === "folder" ? "a folder" : "not a file"}`, {
        remedy: "give an image file or a block device",
      });
    }
    this.#regular = kind === "file";
    const bytes = this.#file.end();
    this.size = bytes - bytes % SECTOR_BYTES;
    if (this.size === 0) {
      throw new InputError(`The disk ${path} has ${bytes} bytes: not one sector`, {
        remedy: `give it at least ${SECTOR_BYTES} bytes, for example with \`truncate -s 16M\``,
      });
    }
    this.notes = this.size === bytes ? [] : [
      `${path} has ${bytes} bytes, no multiple of ${SECTOR_BYTES}: the guest does not see the last ${
        bytes - this.size
      }`,
    ];
    if (!options.raw) this.#refuseForeign();
    cleanup.move();
  }

  /** Fills `into` from `at`. */
  read(at: number, into: Uint8Array): BlockFault | undefined {
    const { length } = into;
    return this.#readable(at, length) ?? this.#judge(at, length, this.#file.read(at, into));
  }

  /** Fills `pieces`, one behind the other, from `at`. */
  readv(at: number, pieces: readonly Uint8Array[]): BlockFault | undefined {
    let length = 0;
    for (const piece of pieces) length += piece.length;
    return this.#readable(at, length) ?? this.#judge(at, length, this.#file.readv(at, pieces));
  }

  /** Of a file that is gone all reads well: it is soon enough to hear of that a little later. */
  #readable(at: number, length: number): BlockFault | undefined {
    const looked = monotonicMs() - this.#lookedAt < LOOK_MS && this.#file.open;
    return looked ? outside(this, at, length) : this.#usable(at, length);
  }

  /** What came of a read: `done` bytes, or a negative errno. */
  #judge(at: number, length: number, done: number): BlockFault | undefined {
    if (done < 0) return faultOf(this.name, "read", done);
    if (done === length) return undefined;
    // Where it ends is not where this read ended: that may have begun behind it.
    return this.#usable(at, length) ?? this.#shrunk(at + done);
  }

  /** Stores `bytes` from `at`. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} was opened for reading only`);
    const fault = this.#usable(at, bytes.length);
    if (fault !== undefined) return fault;
    const done = this.#file.write(at, bytes);
    if (done < 0) return faultOf(this.name, "written", done);
    if (done < bytes.length) {
      return blockFault("unwritable", `${this.name} took only a part of what was written`);
    }
    return undefined;
  }

  /** Makes a hole, which reads as zeros; writes zeros where the file system has no holes. */
  discard(at: number, length: number): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} was opened for reading only`);
    const fault = this.#usable(at, length);
    if (fault !== undefined || length === 0) return fault;
    const done = this.#holes ? this.#file.punch(at, length) : -ERRNO.EOPNOTSUPP;
    if (done !== -ERRNO.EOPNOTSUPP) return done < 0 ? faultOf(this.name, "written", done) : undefined;
    this.#holes = false;
    const zeros = new Uint8Array(Math.min(length, ZEROS_BYTES));
    for (let written = 0; written < length; written += zeros.length) {
      const fault = this.write(at + written, zeros.subarray(0, length - written));
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  /** fdatasync(2). */
  flush(): BlockFault | undefined {
    if (this.readOnly) return undefined;
    const fault = this.#usable(0, 0);
    if (fault !== undefined) return fault;
    const done = this.#file.sync();
    return done < 0 ? faultOf(this.name, "written", done) : undefined;
  }

  /** Closes the file; transfers then fail. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  /** Looks at the file anew: one that was removed still reads and writes well, and all is lost. */
  #usable(at: number, length: number): BlockFault | undefined {
    if (!this.#file.open) return blockFault("closed", `${this.name} is closed`);
    const fault = outside(this, at, length);
    if (fault !== undefined || !this.#regular) return fault;
    let status: FileStatus;
    try {
      status = this.#file.status();
    } catch (error) {
      return blockFault("unreadable", error instanceof Error ? error.message : String(error));
    }
    const { links, size } = status;
    this.#lookedAt = links === 0 ? -LOOK_MS : monotonicMs();
    if (links === 0) {
      return blockFault("gone", `${this.name} was removed or replaced while the guest used it`);
    }
    return at + length > size ? this.#shrunk(size) : undefined;
  }

  #shrunk(size: number): BlockFault {
    return blockFault("shrunk", `${this.name} had ${this.size} bytes and now ends at ${size}`);
  }

  #refuseForeign(): void {
    const start = new Uint8Array(Math.min(this.size, 4096));
    if (this.#file.read(0, start) < 0) return;
    const format = foreignFormat(start);
    if (format === undefined) return;
    throw new InputError(`${this.name} is a ${format} image, not sectors one after the other`, {
      remedy: `convert it: \`qemu-img convert -O raw ${this.name} disk.img\``,
    });
  }
}

function open(path: string, write: boolean): HostFile {
  try {
    return new HostFile(path, { write });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const name = cause instanceof Error ? cause.name : "";
    const remedy = write && ["EACCES", "EROFS", "EPERM"].includes(name)
      ? "open it read-only, or with an overlay that takes the changes"
      : name === "EISDIR"
      ? "give an image file or a block device, not a folder"
      : "check the path and its permissions";
    throw new InputError(`The disk ${path} can't be opened: ${reason}`, { cause, remedy });
  }
}
