import { answerSignal } from "../host/async_io.ts";
import { monotonicMs } from "../host/clock.ts";
import { errno, libc } from "../host/libc.ts";
import type { SliceTimer } from "../host/slice_timer.ts";
import { SlicePace } from "../vm/slice_pace.ts";
import { KVM } from "./abi.ts";
import type { ThreadOf } from "./thread_choice.ts";
import type { VcpuFd } from "./vcpu_fd.ts";
import { type VcpuContext, VcpuGroups } from "./vcpu_groups.ts";
import type { VcpuThread } from "./vcpu_thread.ts";
import { WindowSearch } from "./window_search.ts";

/** How long a guest runs before the event loop gets its turn; where turns take long, up to five times as long. */
export const SLICE_MS = 5;

/** How a vCPU is entered: by this thread, or by one of its own, as `KvmBackend` says of each entry. */
export abstract class VcpuEntry extends VcpuGroups {
  readonly index: number;
  readonly #threadOf: ThreadOf;
  /** The thread that made the last `kvmRun`; undefined if it was this one. */
  #entered: VcpuThread | undefined;
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
    threadOf: ThreadOf = () => undefined,
  ) {
    super(fd, cpuid, context);
    this.index = index;
    this.#threadOf = threadOf;
    this.#number = fd.fd;
    this.#ioctl = libc().ioctl;
    this.#pace = new SlicePace(context.sliceMs);
  }

  /** The thread that has the vCPU, or enters it next; undefined while that is this thread. */
  protected get thread(): VcpuThread | undefined {
    return this.#threadOf();
  }

  /** Lets the signal that ends a slice through inside KVM_RUN: a guest that never runs needs no timer. */
  #admitSignal(): SliceTimer {
    const timer = this.context.timer();
    this.fd.setSignalMask(timer.runMask);
    return this.#timer = timer;
  }

  /** Whether this thread enters the guest: the vCPU has none of its own now, or one that is dead. */
  get #local(): boolean {
    const { thread } = this;
    return thread === undefined || thread.death !== undefined;
  }

  /** Makes sure that the next entry does not last for longer than a slice, or can be ended by a kick. */
  protected armSlice(): void {
    const timer = this.#timer ?? this.#admitSignal();
    if (!this.#local || timer.armed) return;
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
    const entered = this.#entered = this.#local ? undefined : this.thread;
    return entered === undefined ? this.enterHere() : entered.enter(SLICE_MS);
  }

  /** One KVM_RUN of a vCPU that has no thread, nothing asked: for entries by the thousand. */
  protected enterHere(): number {
    return this.#ioctl(this.#number, KVM.RUN, 0);
  }

  /** errno of a `kvmRun` that gave -1. */
  protected failure(): number {
    return this.#entered === undefined ? errno() : this.#entered.errno;
  }

  /** Lets go of the descriptor: its number may soon be another file's. */
  protected release(): void {
    this.#number = -1;
    this.page[Symbol.dispose]();
    this.fd.close();
  }
}
