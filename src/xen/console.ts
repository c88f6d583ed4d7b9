import { ERRNO } from "../abi/errno.ts";
import { LINUX } from "../abi/linux.ts";
import { HostError } from "../host/error.ts";
import { OwnedFd } from "../host/fd.ts";
import { errno, libc } from "../host/libc.ts";
import type { BackendConsole } from "../vm/backend.ts";

/** How often the console is looked at, in milliseconds. */
const INTERVAL_MS = 20;
/** Bytes taken at once, and rounds of them: a guest that prints without end does not keep the event loop. */
const CHUNK = 4096;
const ROUNDS = 16;

/**
 * A domain's console: the pseudo-terminal that xenconsoled keeps for it, named in xenstore. What is read here is read
 * by nobody else, `xl console` included.
 */
export class XenConsole implements BackendConsole, Disposable {
  readonly #terminal: OwnedFd;
  readonly #buffer = new Uint8Array(CHUNK);
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param path Of the pseudo-terminal. @throws {HostError} If it can't be opened. */
  constructor(path: string) {
    // O_NOCTTY: without it the terminal could become this process's own, with its Ctrl-C.
    this.#terminal = OwnedFd.open(path, LINUX.O_RDWR | LINUX.O_NOCTTY | LINUX.O_NONBLOCK);
  }

  connect(print: (bytes: Uint8Array) => void): void {
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#read(print), INTERVAL_MS);
    // It shall not keep a program alive that is done with everything else.
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  type(bytes: Uint8Array): number {
    if (this.#terminal.fd < 0) return bytes.length;
    const whole = bytes.slice();
    const written = Number(libc().write(this.#terminal.fd, whole, BigInt(whole.length)));
    if (written >= 0) return written;
    // Full: the guest does not read. Anything else means that xenconsoled let go of it, and nobody will.
    return errno() === ERRNO.EAGAIN || errno() === ERRNO.EINTR ? 0 : bytes.length;
  }

  [Symbol.dispose](): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#timer = undefined;
    this.#terminal.close();
  }

  #read(print: (bytes: Uint8Array) => void): void {
    for (let round = 0; round < ROUNDS; round++) {
      const count = Number(libc().read(this.#terminal.fd, this.#buffer, BigInt(CHUNK)));
      if (count > 0) print(this.#buffer.slice(0, count));
      if (count < CHUNK) {
        // EIO: the other end is closed, with the domain; there is no more to come.
        if (count < 0 && errno() === ERRNO.EIO) this[Symbol.dispose]();
        return;
      }
    }
  }
}

/**
 * The console at a pseudo-terminal, which may go any moment: a domain can be looked at without it.
 *
 * @param told Told why it can't be had.
 */
export function openConsole(path: string, told: (sentence: string) => void): XenConsole | undefined {
  try {
    return new XenConsole(path);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    told(`Its console can't be read or typed to: ${error.message}`);
    return undefined;
  }
}
