/**
 * A second way to a socket that Deno owns: written and read at once, without a turn of the event loop. A client that
 * sends its next packet a few microseconds after our answer is then answered by one poll, one recv and one send.
 */
import { ERRNO } from "../abi/errno.ts";
import { LINUX, pollfd } from "../abi/linux.ts";
import { errno, libc } from "./libc.ts";

const RECEIVE = 64 * 1024;
const ROOM = BigInt(RECEIVE);
/** How often it is looked before the thread sleeps: to be woken costs as much as these calls, some 100 us. */
const EAGER_TRIES = 60;

/** The descriptor of a connection of Deno's. Nothing of it may be used once Deno has closed the connection. */
export class DirectSocket {
  readonly #fd: number;
  readonly #into = new Uint8Array(RECEIVE);
  readonly #poll = new Uint8Array(pollfd.size);

  private constructor(fd: number) {
    this.#fd = fd;
    const view = new DataView(this.#poll.buffer);
    view.setInt32(pollfd.offsets.fd, fd, true);
    view.setUint16(pollfd.offsets.events, LINUX.POLLIN, true);
  }

  /** Finds the descriptor of an IPv4 connection of this process; undefined where it can't be found. */
  static of(local: Deno.Addr, remote: Deno.Addr): DirectSocket | undefined {
    if (local.transport !== "tcp" || remote.transport !== "tcp") return undefined;
    const [here, there] = [procAddress(local), procAddress(remote)];
    if (here === undefined || there === undefined) return undefined;
    const inode = inodeOf(here, there);
    const fd = inode === undefined ? undefined : descriptorOf(inode);
    return fd === undefined ? undefined : new DirectSocket(fd);
  }

  /**
   * What has come, or comes within `timeoutMs`; valid until the next call. Undefined if nothing does, or the other
   * side is gone, which a read of Deno's will tell.
   */
  receive(timeoutMs: number): Uint8Array | undefined {
    for (let tries = 0; tries < EAGER_TRIES; tries++) {
      const come = this.#take();
      if (come !== undefined) return come;
    }
    // SAFETY: the caller's connection is open, so that the descriptor is its socket; the buffer outlives the call.
    return libc().poll(this.#poll, 1n, timeoutMs) <= 0 ? undefined : this.#take();
  }

  #take(): Uint8Array | undefined {
    // SAFETY: as above.
    const n = Number(libc().recv(this.#fd, this.#into, ROOM, LINUX.MSG_DONTWAIT));
    return n > 0 ? this.#into.subarray(0, n) : undefined;
  }

  /** Whether something has come, or the other side is gone. */
  get hasInput(): boolean {
    // SAFETY: as above.
    return libc().poll(this.#poll, 1n, 0) > 0;
  }

  /** Sends what the kernel takes now; how many bytes that were. */
  send(bytes: Uint8Array): number {
    const flags = LINUX.MSG_NOSIGNAL | LINUX.MSG_DONTWAIT;
    // SAFETY: as above; the kernel copies the bytes before it returns.
    const n = Number(libc().send(this.#fd, bytes as Uint8Array<ArrayBuffer>, BigInt(bytes.length), flags));
    if (n >= 0) return n;
    const failed = errno();
    // Any other failure is found by Deno's own write.
    return failed === ERRNO.EINTR ? this.send(bytes) : 0;
  }
}

/** As /proc/net/tcp writes it: the address as a little-endian word, the port as a number (proc(5)). */
function procAddress({ hostname, port }: Deno.NetAddr): string | undefined {
  const parts = hostname.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) return undefined;
  const hex = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, "0");
  return `${parts.reverse().map((part) => hex(part, 2)).join("")}:${hex(port, 4)}`;
}

function inodeOf(local: string, remote: string): string | undefined {
  for (const line of textOf("/proc/self/net/tcp").split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === local && fields[2] === remote) return fields[9];
  }
  return undefined;
}

function descriptorOf(inode: string): number | undefined {
  try {
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      if (linkOf(`/proc/self/fd/${name}`) === `socket:[${inode}]`) return Number(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
      throw error;
    }
  }
  return undefined;
}

/** Where a link leads; a descriptor may be closed while its folder is read. */
function linkOf(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    // A host without it is served the slower way.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return "";
    throw error;
  }
}
