import { LINUX, timespec } from "../abi/linux.ts";
import { libc } from "./libc.ts";

/** `struct timespec` as 32-bit words: the seconds since the host's start and the nanoseconds both fit the lower half. */
const now = new Uint32Array(timespec.size / 4);
const SECONDS = timespec.offsets.tv_sec / 4;
const NANOSECONDS = timespec.offsets.tv_nsec / 4;

/** Milliseconds of a processor that this thread has had, time inside of guests that it entered included. */
export function threadMs(): number {
  libc().clockGettime(LINUX.CLOCK_THREAD_CPUTIME_ID, now);
  return now[SECONDS] * 1e3 + now[NANOSECONDS] / 1e6;
}

/**
 * CLOCK_MONOTONIC in milliseconds, to the nanosecond. The clock that `performance.now()` reads, from another zero
 * and at a third of its price, for what is timed at every exit of a guest.
 */
export function monotonicMs(): number {
  // With a valid clock and buffer the call can't fail (clock_gettime(2)).
  libc().clockGettime(LINUX.CLOCK_MONOTONIC, now);
  return now[SECONDS] * 1e3 + now[NANOSECONDS] / 1e6;
}
