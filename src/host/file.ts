/** A file or block device of the host, read and written at offsets: what disks rest on. */
import { LINUX, statx } from "../abi/linux.ts";
import { ERRNO } from "../abi/errno.ts";
import { HostError } from "./error.ts";
import { OwnedFd } from "./fd.ts";
import { IoVector, MOST_PIECES } from "./io_vector.ts";
import { check, cString, errno, libc } from "./libc.ts";

/** What kind of thing a path leads to. */
export type FileKind = "file" | "block device" | "folder" | "other";

/** What the host says of an open file. */
export interface FileStatus {
  /** What it is. */
  readonly kind: FileKind;
  /** Bytes; 0 for a block device. */
  readonly size: number;
  /** Names it has: 0 once it was removed, or replaced by another. */
  readonly links: number;
}

const EMPTY_PATH = cString("");

/** An open file. Transfers give an errno instead of throwing it: a guest's disk error is nothing exceptional. */
export class HostFile implements Disposable {
  /** The path it was opened by. */
  readonly path: string;
  readonly #file: OwnedFd;
  readonly #vector = new IoVector();
  readonly #statx = new Uint8Array(statx.size);
  readonly #view = new DataView(this.#statx.buffer);

  /**
   * Opens what is at `path`; it must exist.
   *
   * @throws {HostError} If it can't be opened.
   */
  constructor(path: string, options: { readonly write: boolean }) {
    this.path = path;
    // Without O_NONBLOCK, opening a named pipe would wait for its other end.
    const flags = (options.write ? LINUX.O_RDWR : LINUX.O_RDONLY) | LINUX.O_NONBLOCK;
    this.#file = OwnedFd.open(path, flags);
  }

  /** Whether it can be used. */
  get open(): boolean {
    return this.#file.fd >= 0;
  }

  /** Kind, size and names now. @throws {HostError} If the host does not tell. */
  status(): FileStatus {
    const { fd } = this.#file;
    const { AT_EMPTY_PATH, STATX_BASIC_STATS, S_IFMT, S_IFREG, S_IFBLK, S_IFDIR } = LINUX;
    check(`statx ${this.path}`, libc().statx(fd, EMPTY_PATH, AT_EMPTY_PATH, STATX_BASIC_STATS, this.#statx));
    const { stx_mode, stx_size, stx_nlink } = statx.offsets;
    const type = this.#view.getUint16(stx_mode, true) & S_IFMT;
    return {
      kind: type === S_IFREG
        ? "file"
        : type === S_IFBLK
        ? "block device"
        : type === S_IFDIR
        ? "folder"
        : "other",
      size: Number(this.#view.getBigUint64(stx_size, true)),
      links: this.#view.getUint32(stx_nlink, true),
    };
  }

  /** Where its end is, in bytes, block devices included. @throws {HostError} If it has none. */
  end(): number {
    const end = Number(libc().lseek(this.#file.fd, 0n, LINUX.SEEK_END));
    if (end < 0) throw new HostError(`lseek ${this.path}`, errno());
    return end;
  }

  /**
   * Fills `into` from `at`.
   *
   * @returns Bytes read, fewer than asked for only at the end of the file; or a negative errno.
   */
  read(at: number, into: Uint8Array): number {
    return this.#transfer("pread", at, into as Uint8Array<ArrayBuffer>);
  }

  /** The same into several `pieces`, one behind the other. */
  readv(at: number, pieces: readonly Uint8Array[]): number {
    const count = pieces.length;
    const once = count <= MOST_PIECES
      ? Number(libc().preadv(this.#file.fd, this.#vector.of(pieces), count, BigInt(at)))
      : 0;
    let done = Math.max(0, once);
    // What the kernel did not do at once goes piece by piece: it was interrupted, or the file ends there.
    let end = 0;
    for (const piece of pieces) {
      end += piece.length;
      if (end <= done) continue;
      const n = this.read(at + done, piece.subarray(piece.length - (end - done)));
      if (n < 0) return n;
      done += n;
      if (done < end) break;
    }
    return done;
  }

  /**
   * Writes `bytes` from `at`; a file grows.
   *
   * @returns Bytes written: all; or a negative errno.
   */
  write(at: number, bytes: Uint8Array): number {
    return this.#transfer("pwrite", at, bytes as Uint8Array<ArrayBuffer>);
  }

  /** Gives the host the room of `length` bytes from `at`: they read as zeros. Gives 0 or a negative errno. */
  punch(at: number, length: number): number {
    const mode = LINUX.FALLOC_FL_PUNCH_HOLE | LINUX.FALLOC_FL_KEEP_SIZE;
    while (libc().fallocate(this.#file.fd, mode, BigInt(at), BigInt(length)) < 0) {
      if (errno() !== ERRNO.EINTR) return -errno();
    }
    return 0;
  }

  /** Takes data to stable storage. Gives 0 or a negative errno. */
  sync(): number {
    return libc().fdatasync(this.#file.fd) < 0 ? -errno() : 0;
  }

  /** Closes it; closing twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  /** The kernel may do a part of what it was asked for, and be interrupted before it did anything. */
  #transfer(call: "pread" | "pwrite", at: number, bytes: Uint8Array<ArrayBuffer>): number {
    let done = 0;
    while (done < bytes.length) {
      const part = done === 0 ? bytes : bytes.subarray(done);
      const n = Number(libc()[call](this.#file.fd, part, BigInt(part.length), BigInt(at + done)));
      if (n > 0) done += n;
      else if (n === 0) return done;
      else if (errno() !== ERRNO.EINTR) return -errno();
    }
    return done;
  }
}
