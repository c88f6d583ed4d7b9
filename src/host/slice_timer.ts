import { itimerspec, LINUX, sigevent, timespec } from "../abi/linux.ts";
import { check, type Libc, libc } from "./libc.ts";
import { changeSignalMask, kernelSet, signalSet, threadId } from "./signals.ts";

/**
 * The signal that ends a time slice or kicks a vCPU's thread: SIGRTMIN (34 in glibc) + 10. It is blocked on the
 * threads that run vCPUs, and let through only inside KVM_RUN, by KVM_SET_SIGNAL_MASK: it never runs a handler.
 */
export const SLICE_SIGNAL = 44;

/** What the thread has in common: the timer, and the mask to put back. */
interface Shared {
  readonly timer: bigint;
  readonly oldMask: Uint8Array<ArrayBuffer>;
  users: number;
}

let shared: Shared | undefined;
let armed = false;

const signals = signalSet(SLICE_SIGNAL);
const noWait = new Uint8Array(timespec.size);

/** Eats the signal if it is pending on this thread; true if it was. */
function eatPending(functions: Libc): boolean {
  let eaten = false;
  // A POSIX timer queues one signal at most and a kick another, so this ends; the bound is for a hostile sender.
  for (let i = 0; i < 64 && functions.sigtimedwait(signals, null, noWait) === SLICE_SIGNAL; i++) eaten = true;
  return eaten;
}

/** Blocks the signal on this thread, which runs a vCPU and is kicked by another thread. @throws {HostError} */
export function blockSliceSignal(): void {
  changeSignalMask(LINUX.SIG_BLOCK, signals);
}

/** Takes the signal off this thread, if it is pending: after KVM_RUN gave EINTR. */
export function eatSliceSignal(): void {
  eatPending(libc());
}

/**
 * A one-shot POSIX timer whose signal breaks this thread out of KVM_RUN, so that a guest that never exits still
 * gives the event loop its turn. All machines of a thread share one timer and one blocked signal; when the last
 * of them is disposed the timer is deleted and the thread's signal mask put back.
 */
export class SliceTimer implements Disposable {
  /**
   * The 8-byte signal set for KVM_SET_SIGNAL_MASK: what this thread blocked before, without the signal, and without the
   * one by which descriptors tell that something came (`signalled`).
   */
  readonly runMask: Uint8Array<ArrayBuffer>;
  #functions: Libc;
  #shared: Shared;
  #disposed = false;
  #sliceMs = 0;
  #spec = new Uint8Array(itimerspec.size);

  /** @throws {HostError} If the timer can't be had. */
  constructor() {
    const functions = libc();
    shared ??= SliceTimer.#create(functions);
    shared.users++;
    this.#shared = shared;
    this.#functions = functions;
    this.runMask = kernelSet(shared.oldMask);
    for (const signal of [SLICE_SIGNAL, LINUX.SIGIO]) {
      this.runMask[(signal - 1) >> 3] &= ~(1 << ((signal - 1) & 7));
    }
  }

  static #create(functions: Libc): Shared {
    const oldMask = changeSignalMask(LINUX.SIG_BLOCK, signals);
    const event = sigevent.encode({
      sigev_signo: SLICE_SIGNAL,
      sigev_notify: LINUX.SIGEV_THREAD_ID,
      _sigev_un: { _tid: threadId() },
    });
    const id = new BigUint64Array(1);
    try {
      check("timer_create", functions.timerCreate(LINUX.CLOCK_MONOTONIC, event, id));
    } catch (error) {
      changeSignalMask(LINUX.SIG_SETMASK, oldMask);
      throw error;
    }
    armed = false;
    return { timer: id[0], oldMask, users: 0 };
  }

  /** Whether it runs, or its signal has not been taken yet. */
  get armed(): boolean {
    return armed;
  }

  /**
   * Makes sure that the signal comes at most `ms` milliseconds after the timer was last started: does nothing
   * while it runs, so that calling this before every KVM_RUN costs no system call.
   */
  arm(ms: number): void {
    if (armed) return;
    if (ms !== this.#sliceMs) {
      const ns = BigInt(Math.max(1, Math.round(ms * 1e6)));
      itimerspec.write(new DataView(this.#spec.buffer), {
        it_value: { tv_sec: ns / 1_000_000_000n, tv_nsec: ns % 1_000_000_000n },
      });
      this.#sliceMs = ms;
    }
    check("timer_settime", this.#functions.timerSettime(this.#shared.timer, 0, this.#spec, null));
    armed = true;
  }

  /**
   * To be called after KVM_RUN gave EINTR: takes the signal off the thread.
   *
   * @returns True if the slice was over or the thread was kicked; false if another signal came.
   */
  drain(): boolean {
    const eaten = eatPending(this.#functions);
    if (eaten) armed = false;
    return eaten;
  }

  /** Lets go of the thread's timer; doing it twice is harmless. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const mine = this.#shared;
    if (--mine.users > 0) return;
    shared = undefined;
    armed = false;
    this.#functions.timerDelete(mine.timer);
    // Pending, the signal would end the process as soon as it is unblocked.
    eatPending(this.#functions);
    changeSignalMask(LINUX.SIG_SETMASK, mine.oldMask);
  }
}
