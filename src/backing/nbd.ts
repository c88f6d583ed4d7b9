/**
 * A disk that an NBD server has, over a Unix domain socket: the way to what QEMU's tools can read.
 *
 * Specification: the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md), "fixed newstyle" negotiation,
 * simple replies. Numbers are big-endian.
 */
import { HostStream, waitForStreams } from "../host/stream.ts";
import { type BlockBacking, type BlockFault, outside, SECTOR_BYTES } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { blockFault } from "./faults.ts";

const GREETING = 0x4e42444d41474943n; // "NBDMAGIC"
const OPTION = 0x49484156454f5054n; // "IHAVEOPT"
const OPTION_REPLY = 0x3e889045565a9n;
const FIXED_NEWSTYLE = 1;
const NO_ZEROES = 2;
const OPT_GO = 7;
const REP_ACK = 1;
const REP_INFO = 3;
const REP_ERROR_BIT = 0x8000_0000;
const INFO_EXPORT = 0;

const REQUEST = 0x25609513;
const REPLY = 0x67446698;
const COMMAND = { READ: 0, WRITE: 1, DISCONNECT: 2, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;
/** What a server can do. */
const FLAG = { READ_ONLY: 1 << 1, FLUSH: 1 << 2, WRITE_ZEROES: 1 << 6 } as const;
/** errno values that the protocol has. */
const ENOSPC = 28;
const EPERM = 1;

/** Bytes moved at a time; every server takes 32 MiB. */
const PIECE_BYTES = 1 << 20;
/** The longest text of an error that is read. */
const TEXT_LIMIT = 4096;
/** Sizes that a number of JavaScript's holds exactly. */
const SIZE_LIMIT = 1n << 53n;
/** How long a request may take, unless told otherwise. */
export const PATIENCE_MS = 30_000;

/** How the server is reached. */
export interface NbdOptions {
  /** Path of its socket. */
  readonly socket: string;
  /** The export's name; the server's default, if left out. */
  readonly export?: string;
  /** What messages call the disk; the socket's path if left out. */
  readonly name?: string;
  /** Whether the guest may write. */
  readonly write: boolean;
  /** How long the server may take for a request, in milliseconds; 30,000 if left out. */
  readonly timeoutMs?: number;
}

/** The server does not answer, or not as the protocol says. */
class Broken extends Error {}

/** Sectors behind an NBD server. Requests wait for their answers. */
export class NbdDisk implements BlockBacking, Disposable {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly notes: readonly string[];
  readonly #stream: HostStream;
  readonly #timeoutMs: number;
  readonly #flags: number;
  #cookie = 0n;
  /** When the request that is being made has taken too long, by Date.now(). */
  #deadline = 0;
  /** What has come and not been asked for yet. */
  #come: Uint8Array[] = [];

  /**
   * Connects.
   *
   * @throws {HostError} If nobody listens there.
   * @throws {InputError} If what answers is no NBD server, has no such export, or has no sector in it.
   */
  constructor(options: NbdOptions) {
    const { socket, name = socket, write, timeoutMs = PATIENCE_MS } = options;
    this.name = name;
    this.#timeoutMs = timeoutMs;
    using cleanup = new DisposableStack();
    this.#stream = cleanup.use(HostStream.unix(socket));
    let found: { size: bigint; flags: number };
    this.#deadline = Date.now() + timeoutMs;
    try {
      found = this.#negotiate(options.export ?? "");
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      throw new InputError(`The disk ${name} can't be opened: ${error.message}`, {
        remedy: "check the server, and the name of its export",
      });
    }
    if (found.size < BigInt(SECTOR_BYTES) || found.size > SIZE_LIMIT) {
      throw new InputError(`The disk ${name} has ${found.size} bytes`, {
        remedy: "give one of a sector up to 8 PiB",
      });
    }
    this.#flags = found.flags;
    this.readOnly = !write || (found.flags & FLAG.READ_ONLY) !== 0;
    const bytes = Number(found.size);
    this.size = bytes - bytes % SECTOR_BYTES;
    this.notes = write && this.readOnly ? [`${name} is read-only: its server says so`] : [];
    cleanup.move();
  }

  /** Fills `into` from `at`. */
  read(at: number, into: Uint8Array): BlockFault | undefined {
    return this.#pieces(at, into.length, (from, done, length) => {
      const fault = this.#command(COMMAND.READ, from, length, "unreadable");
      if (fault === undefined) this.#take(into.subarray(done, done + length));
      return fault;
    });
  }

  /** Stores `bytes` from `at`. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} was opened for reading only`);
    return this.#pieces(
      at,
      bytes.length,
      (from, done, length) =>
        this.#command(COMMAND.WRITE, from, length, "unwritable", bytes.subarray(done, done + length)),
    );
  }

  /** Zeros, which take no room where the server can do that; written where it can't. */
  discard(at: number, length: number): BlockFault | undefined {
    if (this.readOnly) return blockFault("read-only", `${this.name} was opened for reading only`);
    const able = (this.#flags & FLAG.WRITE_ZEROES) !== 0;
    return this.#pieces(
      at,
      length,
      (from, _done, length) =>
        able
          ? this.#command(COMMAND.WRITE_ZEROES, from, length, "unwritable")
          : this.#command(COMMAND.WRITE, from, length, "unwritable", new Uint8Array(length)),
    );
  }

  /** The server takes what was written to stable storage, if it can. */
  flush(): BlockFault | undefined {
    if (this.readOnly || (this.#flags & FLAG.FLUSH) === 0) return undefined;
    return this.#guarded(() => this.#command(COMMAND.FLUSH, 0, 0, "unwritable"));
  }

  /** Takes everything to stable storage, and leaves. Twice is harmless. */
  [Symbol.dispose](): void {
    if (this.#stream.ended) return this.#stream.close();
    this.flush();
    if (!this.#stream.ended) this.#request(COMMAND.DISCONNECT, 0, 0);
    this.#stream.close();
  }

  #pieces(
    at: number,
    length: number,
    move: (from: number, done: number, length: number) => BlockFault | undefined,
  ): BlockFault | undefined {
    const bad = outside(this, at, length);
    if (bad !== undefined) return bad;
    return this.#guarded(() => {
      for (let done = 0; done < length;) {
        const part = Math.min(PIECE_BYTES, length - done);
        const fault = move(at + done, done, part);
        if (fault !== undefined) return fault;
        done += part;
      }
      return undefined;
    });
  }

  /** A server that breaks off once has no more to say. */
  #guarded(work: () => BlockFault | undefined): BlockFault | undefined {
    if (this.#stream.ended) return blockFault("gone", `the server of ${this.name} is gone`);
    this.#deadline = Date.now() + this.#timeoutMs;
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      this.#stream.close();
      return blockFault("gone", `the server of ${this.name} is gone: ${error.message}`);
    }
  }

  #command(
    type: number,
    at: number,
    length: number,
    kind: "unreadable" | "unwritable",
    data?: Uint8Array,
  ): BlockFault | undefined {
    const cookie = this.#request(type, at, length, data);
    const reply = this.#view(16);
    if (reply.getUint32(0) !== REPLY || reply.getBigUint64(8) !== cookie) {
      throw new Broken("its answer makes no sense");
    }
    const error = reply.getUint32(4);
    if (error === 0) return undefined;
    return blockFault(
      error === ENOSPC ? "full" : error === EPERM ? "read-only" : kind,
      `${this.name} can't be ${kind === "unreadable" ? "read" : "written"}: its server gave error ${error}`,
    );
  }

  #request(type: number, at: number, length: number, data?: Uint8Array): bigint {
    const view = new DataView(new ArrayBuffer(28));
    const cookie = ++this.#cookie;
    view.setUint32(0, REQUEST);
    view.setUint16(6, type);
    view.setBigUint64(8, cookie);
    view.setBigUint64(16, BigInt(at));
    view.setUint32(24, length);
    this.#stream.send(new Uint8Array(view.buffer));
    if (data !== undefined) this.#stream.send(data);
    return cookie;
  }

  /** Says hello and chooses the export; gives its size and what the server can do. @throws {Broken} */
  #negotiate(name: string): { size: bigint; flags: number } {
    const hello = this.#view(18);
    if (hello.getBigUint64(0) !== GREETING || hello.getBigUint64(8) !== OPTION) {
      throw new Broken("what listens there is no NBD server");
    }
    const offered = hello.getUint16(16);
    if ((offered & FIXED_NEWSTYLE) === 0) throw new Broken("its server is older than the protocol of 2012");
    const wanted = new TextEncoder().encode(name);
    const view = new DataView(new ArrayBuffer(4 + 16 + 4 + wanted.length + 2));
    view.setUint32(0, offered & (FIXED_NEWSTYLE | NO_ZEROES));
    view.setBigUint64(4, OPTION);
    view.setUint32(12, OPT_GO);
    view.setUint32(16, 4 + wanted.length + 2);
    view.setUint32(20, wanted.length);
    new Uint8Array(view.buffer).set(wanted, 24);
    this.#stream.send(new Uint8Array(view.buffer));
    let found: { size: bigint; flags: number } | undefined;
    for (;;) {
      const reply = this.#view(20);
      const [type, length] = [reply.getUint32(12), reply.getUint32(16)];
      if (reply.getBigUint64(0) !== OPTION_REPLY || length > TEXT_LIMIT) {
        throw new Broken("its answer makes no sense");
      }
      const data = new Uint8Array(length);
      this.#take(data);
      const more = new DataView(data.buffer);
      if ((type & REP_ERROR_BIT) !== 0) {
        const said = new TextDecoder().decode(data);
        throw new Broken(`its server refuses the export "${name}"${said && `: ${said}`}`);
      }
      if (type === REP_INFO && length >= 12 && more.getUint16(0) === INFO_EXPORT) {
        found = { size: more.getBigUint64(2), flags: more.getUint16(10) };
      } else if (type === REP_ACK) {
        if (found === undefined) throw new Broken("its server does not say how large it is");
        return found;
      }
    }
  }

  #view(length: number): DataView {
    const bytes = new Uint8Array(length);
    this.#take(bytes);
    return new DataView(bytes.buffer);
  }

  /** Fills `into` with what comes next, and waits for it. @throws {Broken} */
  #take(into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const first = this.#come[0];
      if (first !== undefined) {
        const part = first.subarray(0, into.length - done);
        into.set(part, done);
        done += part.length;
        if (part.length === first.length) this.#come.shift();
        else this.#come[0] = first.subarray(part.length);
        continue;
      }
      const bytes = this.#stream.receive();
      if (bytes !== undefined) {
        this.#come.push(bytes.slice());
        continue;
      }
      if (this.#stream.ended) throw new Broken("it closed the connection");
      const left = this.#deadline - Date.now();
      if (left <= 0) throw new Broken(`it did not answer within ${this.#timeoutMs} ms`);
      waitForStreams([this.#stream], left);
    }
  }
}
