import { KERNEL_SIGSET_BYTES, LINUX, sigset } from "../abi/linux.ts";
import { HostError } from "./error.ts";
import { check, libc } from "./libc.ts";

/** A glibc signal set with these signals (1 to 64) in it. */
export function signalSet(...signals: number[]): Uint8Array<ArrayBuffer> {
  const set = new Uint8Array(sigset.size);
  for (const signal of signals) {
    if (!(signal >= 1 && signal <= 64)) throw new RangeError(`Signals are numbered 1 to 64, not ${signal}.`);
    set[(signal - 1) >> 3] |= 1 << ((signal - 1) & 7);
  }
  return set;
}

/** The bytes of a signal set that the kernel takes, as KVM_SET_SIGNAL_MASK wants them. */
export function kernelSet(set: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return set.slice(0, KERNEL_SIGSET_BYTES);
}

/** True if `signal` is in `set`. */
export function inSet(set: Uint8Array, signal: number): boolean {
  return (set[(signal - 1) >> 3] & (1 << ((signal - 1) & 7))) !== 0;
}

/**
 * Changes the calling thread's blocked signals.
 *
 * @param how `LINUX.SIG_BLOCK`, `SIG_UNBLOCK` or `SIG_SETMASK`.
 * @returns The set that was blocked before.
 * @throws {HostError} If the kernel refuses.
 */
export function changeSignalMask(how: number, set: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const old = new Uint8Array(sigset.size);
  const failed = libc().pthreadSigmask(how, set, old);
  if (failed !== 0) throw new HostError("pthread_sigmask", failed);
  return old;
}

/** The signals that the calling thread blocks now. */
export function blockedSignals(): Uint8Array<ArrayBuffer> {
  return changeSignalMask(LINUX.SIG_BLOCK, signalSet());
}

/** The calling thread's id, as tgkill takes it. */
export function threadId(): number {
  return libc().gettid();
}

/**
 * Sends a signal to one thread of this process.
 *
 * @throws {HostError} If there is no such thread (ESRCH).
 */
export function signalThread(thread: number, signal: number): void {
  const { getpid, tgkill } = libc();
  check(`tgkill ${thread}`, tgkill(getpid(), thread, signal));
}

/** Whether this process has a thread with this id. */
export function threadExists(thread: number): boolean {
  const { getpid, tgkill } = libc();
  return tgkill(getpid(), thread, 0) === 0;
}
