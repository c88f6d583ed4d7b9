import { answerSignal } from "../host/async_io.ts";
import { monotonicMs } from "../host/clock.ts";
import { errno, libc } from "../host/libc.ts";
import type { SliceTimer } from "../host/slice_timer.ts";
import { KVM } from "./abi.ts";
import { SlicePace } from "./slice_pace.ts";
import type { VcpuFd } from "./vcpu_fd.ts";
import { type VcpuContext, VcpuGroups } from "./vcpu_groups.ts";
import type { VcpuThread } from "./vcpu_thread.ts";
import { WindowSearch } from "./window_search.ts";

/** How long a guest runs before the event loop gets its turn; where turns take long, up to five times as long. */
export const SLICE_MS = 5;

/** How a vCPU is entered: by this thread where there is one vCPU, by a thread of its own where there are several. */
export abstract class VcpuEntry extends VcpuGroups {
  readonly index: number;
  /** The thread that enters the guest, where there are several vCPUs. */
  protected readonly thread: VcpuThread | undefined;
  #number: number;
  readonly #ioctl: (fd: number, request: number, argument: number) => number;
  readonly #pace: SlicePace;
  /** Looks for interrupt windows. */
  protected readonly search = new WindowSearch();
  #timer: SliceTimer | undefined;

  protected constructor(
    index: number,
    fd: VcpuFd,
    cpuid: Uint8Array<ArrayBuffer>,
    context: VcpuContext,
    thread?: VcpuThread,
  ) {
    super(fd, cpuid, context);
    this.index = index;
    this.thread = thread;
    this.#number = fd.fd;
    this.#ioctl = libc().ioctl;
    this.#pace = new SlicePace(context.sliceMs);
    if (thread !== undefined) this.#admitSignal();
  }

  /** Lets the signal that ends a slice through inside KVM_RUN: a guest that never runs needs no timer. */
  #admitSignal(): SliceTimer {
    const timer = this.context.timer();
    this.fd.setSignalMask(timer.runMask);
    return this.#timer = timer;
  }

  /** Whether this thread enters the guest: there is one vCPU, or its thread is dead. */
  get #local(): boolean {
    return this.thread === undefined || this.thread.death !== undefined;
  }

  /** Makes sure that the next entry does not last for longer than a slice. */
  protected armSlice(): void {
    if (!this.#local) return;
    const timer = this.#timer ?? this.#admitSignal();
    if (timer.armed) return;
    this.#pace.begins(monotonicMs());
    timer.arm(this.search.soon ? WindowSearch.SOON_MS : this.#pace.ms);
  }

  /** After an entry that a signal ended: whether it was that something came to a descriptor, which is answered now. */
  protected heard(): boolean {
    return this.#local && answerSignal();
  }

  /** After an entry that a signal ended: takes the signal off this thread. */
  protected sliceOver(): void {
    if (this.#local && this.#timer?.drain()) this.#pace.ended(monotonicMs());
  }

  /** One KVM_RUN, while the caller waits. */
  protected kvmRun(): number {
    return this.#local ? this.#ioctl(this.#number, KVM.RUN, 0) : this.thread!.enter(SLICE_MS);
  }

  /** errno of a `kvmRun` that gave -1. */
  protected failure(): number {
    return this.#local ? errno() : this.thread!.errno;
  }

  /** Lets go of the descriptor: its number may soon be another file's. */
  protected release(): void {
    this.#number = -1;
    this.page[Symbol.dispose]();
    this.fd.close();
  }
}
