import { ERRNO } from "../abi/errno.ts";
import { LINUX, pollfd } from "../abi/linux.ts";
import { HostError } from "./error.ts";
import { errno, libc } from "./libc.ts";

/**
 * Waits until `fd` can be read, but at most `ms` milliseconds (0: not at all). The thread stands still meanwhile.
 *
 * @returns False if the time went by, or a signal came.
 * @throws {HostError} If the kernel refuses.
 */
export function waitReadable(fd: number, ms: number): boolean {
  return readableWait(fd)(ms);
}

/** The same for one `fd` that is waited for again and again. */
export function readableWait(fd: number): (ms: number) => boolean {
  const record = pollfd.encode({ fd, events: LINUX.POLLIN, revents: 0 });
  const { poll } = libc();
  return (ms) => {
    const ready = poll(record, 1n, ms);
    if (ready >= 0) return ready > 0;
    if (errno() === ERRNO.EINTR) return false;
    throw new HostError("poll", errno());
  };
}
