/** Descriptors that tell by a signal that there is something to read: for a thread that is in the kernel for a guest. */
import { f_owner_ex, LINUX, timespec } from "../abi/linux.ts";
import { check, type Libc, libc } from "./libc.ts";
import { changeSignalMask, inSet, signalSet, threadId } from "./signals.ts";

/** Blocked as long as anything is watched, so that its default, which ends the process, is never taken. */
const SIGNAL = LINUX.SIGIO;
const signals = signalSet(SIGNAL);
const noWait = new Uint8Array(timespec.size);

/** This thread's, by descriptor. */
const watched = new Map<number, () => void>();
/** Whether the signal was blocked before. */
let blocked = false;

/**
 * Has the kernel signal this thread whenever something comes that `fd` can read, or it has an end (F_SETOWN_EX and
 * O_ASYNC, fcntl(2)). The signal is SIGIO, of which one at most is pending, however much comes; it breaks the thread out
 * of KVM_RUN, where it is let through (`SliceTimer.runMask`), and `answerSignal` calls `come`.
 *
 * @returns What ends that; to be disposed of before `fd` is closed.
 * @throws {HostError} If it is a kind of file that can't.
 */
export function signalled(fd: number, come: () => void): Disposable {
  const functions = libc();
  if (watched.size === 0) blocked = inSet(changeSignalMask(LINUX.SIG_BLOCK, signals), SIGNAL);
  watched.set(fd, come);
  using cleanup = new DisposableStack();
  cleanup.defer(() => forget(functions, fd));
  const owner = f_owner_ex.encode({ type: LINUX.F_OWNER_TID, pid: threadId() });
  check("fcntl F_SETOWN_EX", functions.fcntlBuffer(fd, LINUX.F_SETOWN_EX, owner));
  const flags = check("fcntl F_GETFL", functions.fcntl(fd, LINUX.F_GETFL, 0));
  check("fcntl O_ASYNC", functions.fcntl(fd, LINUX.F_SETFL, flags | LINUX.O_ASYNC));
  const ending = cleanup.move();
  let ended = false;
  return {
    [Symbol.dispose]() {
      if (ended) return;
      ended = true;
      functions.fcntl(fd, LINUX.F_SETFL, flags & ~LINUX.O_ASYNC);
      ending.dispose();
    },
  };
}

/** Takes the signal off this thread, if it is pending, and calls whoever watches; true if it was. */
export function answerSignal(): boolean {
  if (watched.size === 0 || libc().sigtimedwait(signals, null, noWait) !== SIGNAL) return false;
  // Which descriptor it was is not told where several come together.
  for (const come of [...watched.values()]) come();
  return true;
}

function forget(functions: Libc, fd: number): void {
  watched.delete(fd);
  if (watched.size > 0) return;
  functions.sigtimedwait(signals, null, noWait);
  if (!blocked) changeSignalMask(LINUX.SIG_UNBLOCK, signals);
}
