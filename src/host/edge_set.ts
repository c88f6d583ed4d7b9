import { epoll_event, LINUX } from "../abi/linux.ts";
import { OwnedFd } from "./fd.ts";
import { check, libc } from "./libc.ts";

/** How many are told of at once: the rest is told at the next `take`. */
const MOST = 16;

/**
 * Descriptors of which each is told once for what has come since it was last told, read or not (epoll(7), EPOLLET). As
 * one descriptor it can be read while there is one to tell of, so that it may be waited for among others.
 */
export class EdgeSet implements Disposable {
  readonly #file: OwnedFd;
  readonly #events = new Uint8Array(MOST * epoll_event.size);
  readonly #view = new DataView(this.#events.buffer);

  /** @throws {HostError} If the kernel makes none. */
  constructor() {
    this.#file = new OwnedFd(check("epoll_create1", libc().epollCreate1(LINUX.EPOLL_CLOEXEC)));
  }

  /** The descriptor of all; -1 after it was closed. */
  get fd(): number {
    return this.#file.fd;
  }

  /** Tells of `fd` too, which is to be deleted before it is closed. @throws {HostError} If it is a kind that can't. */
  add(fd: number): void {
    const event = epoll_event.encode({ events: (LINUX.EPOLLIN | LINUX.EPOLLET) >>> 0, data: { fd } });
    check("epoll_ctl EPOLL_CTL_ADD", libc().epollCtl(this.fd, LINUX.EPOLL_CTL_ADD, fd, event));
  }

  /** Tells of `fd` no more. @throws {HostError} If it is not there. */
  delete(fd: number): void {
    check("epoll_ctl EPOLL_CTL_DEL", libc().epollCtl(this.fd, LINUX.EPOLL_CTL_DEL, fd, this.#events));
  }

  /** Those to which something came since they were last given. Never blocks. */
  take(): number[] {
    const count = libc().epollWait(this.fd, this.#events, MOST, 0);
    return Array.from(
      { length: Math.max(0, count) },
      (_, i) => this.#view.getInt32(i * epoll_event.size + epoll_event.offsets.data, true),
    );
  }

  /** Closes it; closing twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}
