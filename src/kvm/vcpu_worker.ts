/**
 * The program of a thread that runs one vCPU: it enters the guest when the mailbox says so, and says what came of it.
 * Everything else is the main thread's, but for registers that it is told to answer.
 */
import { workerData } from "node:worker_threads";
import { signalEventFd } from "../host/eventfd.ts";
import { errno, libc } from "../host/libc.ts";
import { blockSliceSignal, eatSliceSignal } from "../host/slice_timer.ts";
import { threadId } from "../host/signals.ts";
import { KVM } from "./abi.ts";
import { CauseAnswers } from "./causes.ts";
import { CELL, Mailbox } from "./mailbox.ts";

/** What a vCPU's thread is started with. */
export interface VcpuOrders {
  readonly mailbox: SharedArrayBuffer;
  readonly vcpu: number;
  /** Address of the thread's program. */
  readonly program: string;
  /** The vCPU's descriptor, and the machine's, which stay the main thread's. */
  readonly fd: number;
  readonly vm: number;
  /** Registers that the thread answers by itself: see `CauseAnswers`. */
  readonly causes: SharedArrayBuffer;
}

/**
 * Serves one vCPU until it is told to quit.
 *
 * @param enter Enters the guest: gives what KVM_RUN gives.
 */
export function serve(
  { mailbox, vcpu, fd, vm, causes }: VcpuOrders,
  enter: (fd: number) => number = (fd) => libc().ioctl(fd, KVM.RUN, 0),
): void {
  // Blocked here and let through inside KVM_RUN alone: a kick is never lost, and never ends the process.
  blockSliceSignal();
  const box = new Mailbox(mailbox, signalEventFd);
  box.arrive(vcpu, threadId());
  try {
    using answers = new CauseAnswers(causes, fd, vm);
    for (;;) {
      const state = box.state(vcpu);
      if (state === CELL.QUIT) return;
      if (state !== CELL.RUN) {
        box.leaves(vcpu, state, Infinity);
        continue;
      }
      let result = enter(fd);
      while (result === 0 && answers.answer()) result = enter(fd);
      const failed = result < 0 ? errno() : 0;
      if (result < 0) eatSliceSignal();
      box.done(vcpu, result, failed);
    }
  } catch (error) {
    // The main thread tells it, with the vCPU that stands still from now on.
    box.die(vcpu, error instanceof Error ? error.message : String(error));
  }
}

/** What this thread was started with, if it is one of ours and no program of its own. */
const orders = workerData as VcpuOrders | null;
if (orders?.program === import.meta.url) serve(orders);
