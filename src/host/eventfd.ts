import { LINUX } from "../abi/linux.ts";
import { ERRNO } from "../abi/errno.ts";
import { OwnedFd } from "./fd.ts";
import { HostError } from "./error.ts";
import { check, errno, libc } from "./libc.ts";

const ONE = BigUint64Array.of(1n);

/** Signals an eventfd whose number is all that is known: another thread has it. */
export function signalEventFd(fd: number): void {
  libc().write(fd, ONE, 8n);
}

/** An eventfd(2): a 64-bit counter in the kernel by which a device and a hypervisor signal each other. */
export class EventFd implements Disposable {
  #file: OwnedFd;
  #value: BigUint64Array<ArrayBuffer> = new BigUint64Array(1);

  /** @throws {HostError} If the kernel makes none. */
  constructor() {
    this.#file = new OwnedFd(check("eventfd", libc().eventfd(0, LINUX.EFD_CLOEXEC | LINUX.EFD_NONBLOCK)));
  }

  /** The descriptor's number, or -1 after it was closed. */
  get fd(): number {
    return this.#file.fd;
  }

  /** Adds `count` to the counter. */
  signal(count = 1n): void {
    this.#value[0] = count;
    if (libc().write(this.fd, this.#value, 8n) !== 8n) throw new HostError("write eventfd", errno());
  }

  /** Takes the counter's value and sets it to zero; 0n when nothing was signalled. Never blocks. */
  take(): bigint {
    if (libc().read(this.fd, this.#value, 8n) === 8n) return this.#value[0];
    const failed = errno();
    if (failed === ERRNO.EAGAIN) return 0n;
    throw new HostError("read eventfd", failed);
  }

  /** Closes it; closing twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}
