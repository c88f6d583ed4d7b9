/**
 * Stream sockets that are written and read without waiting, and one wait for many of them. A backend at the
 * other end of a socket is driven as KVM is: synchronously, in slices (docs/decisions/0014-remote-backends.md).
 */
import { ERRNO } from "../abi/errno.ts";
import { LINUX, pollfd, sockaddr_in, sockaddr_un } from "../abi/linux.ts";
import { HostError } from "./error.ts";
import { OwnedFd } from "./fd.ts";
import { errno, libc } from "./libc.ts";

/** Bytes taken from the kernel at once: as many as `FULL` of src/remote/link.ts. */
const RECEIVE = 64 * 1024;
/** What may wait to be sent: a peer that takes no more than that does not answer either. */
const SEND_LIMIT = 64 << 20;
/** How long a connection may take to be made. */
const CONNECT_MS = 5_000;

/**
 * The address of a Unix domain socket.
 *
 * @param path At most 107 bytes.
 * @throws {HostError} If it has more, or none.
 */
export function unixAddress(call: string, path: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  const room = sockaddr_un.size - sockaddr_un.offsets.sun_path - 1;
  if (name.length > room || name.length === 0) {
    throw new HostError(`${call} ${path}`, ERRNO.ENAMETOOLONG, {
      remedy: `A socket's path has 1 to ${room} bytes; set TMPDIR to a shorter one.`,
    });
  }
  const address = new Uint8Array(sockaddr_un.size);
  new DataView(address.buffer).setUint16(sockaddr_un.offsets.sun_family, LINUX.AF_UNIX, true);
  address.set(name, sockaddr_un.offsets.sun_path);
  return address;
}

/** One end of a connected stream socket. */
export class HostStream implements Disposable {
  readonly #file: OwnedFd;
  readonly #name: string;
  readonly #into = new Uint8Array(RECEIVE);
  /** What the kernel had no room for. */
  #unsent: Uint8Array<ArrayBuffer>[] = [];
  #unsentBytes = 0;
  #ended = false;
  #finished = false;

  private constructor(file: OwnedFd, name: string) {
    this.#file = file;
    this.#name = name;
  }

  /** A connected socket that does not wait; it belongs to the stream from now on. */
  static of(file: OwnedFd, name: string): HostStream {
    return new HostStream(file, name);
  }

  /**
   * Connects to a Unix domain socket.
   *
   * @param path At most 107 bytes.
   * @throws {HostError} If nobody listens there, or it may not be opened.
   */
  static unix(path: string): HostStream {
    return HostStream.#connect(LINUX.AF_UNIX, unixAddress("connect", path), path);
  }

  /**
   * Connects to a TCP port.
   *
   * @param host An IPv4 address in dotted form.
   * @param port 1 to 65535.
   * @throws {HostError} If nobody listens there.
   */
  static tcp(host: string, port: number): HostStream {
    const parts = host.split(".").map(Number);
    if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) {
      throw new HostError(`connect ${host}:${port}`, ERRNO.EINVAL, {
        remedy: "Give an IPv4 address, such as 127.0.0.1.",
      });
    }
    const address = new Uint8Array(sockaddr_in.size);
    const view = new DataView(address.buffer);
    view.setUint16(sockaddr_in.offsets.sin_family, LINUX.AF_INET, true);
    view.setUint16(sockaddr_in.offsets.sin_port, port, false);
    address.set(parts, sockaddr_in.offsets.sin_addr);
    return HostStream.#connect(LINUX.AF_INET, address, `${host}:${port}`);
  }

  static #connect(family: number, address: Uint8Array<ArrayBuffer>, name: string): HostStream {
    const { socket, connect, setsockopt } = libc();
    const type = LINUX.SOCK_STREAM | LINUX.SOCK_CLOEXEC | LINUX.SOCK_NONBLOCK;
    const fd = socket(family, type, 0);
    if (fd < 0) throw new HostError(`socket for ${name}`, errno());
    using cleanup = new DisposableStack();
    const file = cleanup.use(new OwnedFd(fd));
    const one = new Int32Array([1]);
    // A packet a step: waiting to fill a segment would take 40 ms each (Nagle's algorithm).
    if (family === LINUX.AF_INET) setsockopt(fd, LINUX.IPPROTO_TCP, LINUX.TCP_NODELAY, one, 4);
    if (connect(fd, address, address.length) < 0 && errno() !== ERRNO.EISCONN) {
      const failed = errno();
      if (failed !== ERRNO.EINPROGRESS && failed !== ERRNO.EINTR) {
        throw new HostError(`connect ${name}`, failed);
      }
      want(0, fd, true);
      pollFds(1, CONNECT_MS);
      if (happened(0) === 0) {
        throw new HostError(`connect ${name}`, ERRNO.ETIMEDOUT);
      }
      // Asking again gives what became of it: connected already, or why not.
      if (connect(fd, address, address.length) < 0 && errno() !== ERRNO.EISCONN) {
        throw new HostError(`connect ${name}`, errno());
      }
    }
    cleanup.move();
    return new HostStream(file, name);
  }

  /** The descriptor's number, or -1 after it was closed. */
  get fd(): number {
    return this.#file.fd;
  }

  /** Whether the other side is gone, or this one was closed. */
  get ended(): boolean {
    return this.#ended || this.#file.fd < 0;
  }

  /** Whether nothing more will arrive. */
  get finished(): boolean {
    return this.#finished || this.ended;
  }

  /** Bytes that wait until the other side takes more. */
  get unsent(): number {
    return this.#unsentBytes;
  }

  /**
   * Sends; what the kernel has no room for goes at the next `flush`. To an ended stream: nothing happens.
   *
   * @throws {HostError} If the other side has not taken anything for very long (ENOBUFS).
   */
  send(bytes: Uint8Array): void {
    if (this.ended) return;
    if (this.#unsentBytes + bytes.length > SEND_LIMIT) {
      throw new HostError(`send to ${this.#name}`, ERRNO.ENOBUFS);
    }
    const done = this.#unsentBytes === 0 ? this.#give(bytes) : 0;
    if (done === bytes.length || this.ended) return;
    this.#unsent.push(bytes.slice(done));
    this.#unsentBytes += bytes.length - done;
  }

  /** Sends what waits, as far as the kernel takes it. */
  flush(): void {
    while (this.#unsent.length > 0 && !this.ended) {
      const [first] = this.#unsent;
      const done = this.#give(first);
      this.#unsentBytes -= done;
      if (done < first.length) {
        this.#unsent[0] = first.subarray(done);
        return;
      }
      this.#unsent.shift();
    }
  }

  /** What has arrived, valid until the next call; undefined if nothing has, or the stream has ended. */
  receive(): Uint8Array | undefined {
    const bytes = this.receivePart();
    if (this.#finished) this.#ended = true;
    return bytes;
  }

  /** As `receive`, where the other side may finish and still take what is sent: the stream has not ended then. */
  receivePart(): Uint8Array | undefined {
    if (this.finished) return undefined;
    const n = Number(libc().recv(this.fd, this.#into, BigInt(RECEIVE), 0));
    if (n > 0) return this.#into.subarray(0, n);
    if (n === 0) this.#finished = true;
    else this.#failed(errno());
    return undefined;
  }

  /** Tells the other side that nothing more will be sent. */
  finish(): void {
    if (!this.ended) libc().shutdown(this.fd, LINUX.SHUT_WR);
  }

  /** Closes it; closing twice is harmless. */
  close(): void {
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #give(bytes: Uint8Array): number {
    const part = bytes as Uint8Array<ArrayBuffer>;
    const n = Number(libc().send(this.fd, part, BigInt(part.length), LINUX.MSG_NOSIGNAL));
    if (n >= 0) return n;
    this.#failed(errno());
    return 0;
  }

  #failed(number: number): void {
    if (number !== ERRNO.EAGAIN && number !== ERRNO.EINTR) this.#ended = true;
  }
}

/**
 * Waits until one of the streams has something to read (or to say that it ended), or can take what waits to be
 * sent; sends that.
 *
 * @param timeoutMs Milliseconds, 0 not to wait at all: then others who want this processor have their turn if there
 * is nothing, since the other side may be one of them, put where it would wait until we are done asking.
 * @returns Those that have something to read, or ended.
 */
export function waitForStreams(streams: readonly HostStream[], timeoutMs: number): HostStream[] {
  let count = 0;
  for (const stream of streams) {
    if (stream.ended) continue;
    want(count++, stream.fd, stream.unsent > 0);
  }
  if (count === 0) return [];
  pollFds(count, timeoutMs);
  const ready: HostStream[] = [];
  let at = 0;
  for (const stream of streams) {
    if (stream.ended) continue;
    const events = happened(at++);
    if ((events & LINUX.POLLOUT) !== 0) stream.flush();
    if ((events & ~LINUX.POLLOUT) !== 0) ready.push(stream);
  }
  if (timeoutMs === 0 && ready.length === 0) libc().schedYield();
  return ready;
}

// One table for all calls: a step of a guest at the other end of a socket waits twice.
const MOST_FDS = 16;
const pollBuffer = new Uint8Array(MOST_FDS * pollfd.size);
const pollView = new DataView(pollBuffer.buffer);

/** Notes what is waited for in the table's entry `index`: what comes, and room for what goes if `write`. */
function want(index: number, fd: number, write: boolean): void {
  if (index >= MOST_FDS) throw new RangeError(`At most ${MOST_FDS} streams can be waited for.`);
  const at = index * pollfd.size;
  pollView.setInt32(at + pollfd.offsets.fd, fd, true);
  pollView.setUint16(at + pollfd.offsets.events, LINUX.POLLIN | (write ? LINUX.POLLOUT : 0), true);
  pollView.setUint16(at + pollfd.offsets.revents, 0, true);
}

/** What poll(2) found for entry `index`. */
function happened(index: number): number {
  return pollView.getUint16(index * pollfd.size + pollfd.offsets.revents, true);
}

/** poll(2) of the first `count` entries; nothing has happened if time is up, or a signal came. */
function pollFds(count: number, timeoutMs: number): void {
  if (libc().poll(pollBuffer, BigInt(count), timeoutMs) >= 0) return;
  const failed = errno();
  if (failed !== ERRNO.EINTR) throw new HostError("poll", failed);
}
