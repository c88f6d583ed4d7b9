/** Which thread enters a vCPU: its own, or the main thread. */
import { signalled } from "../host/async_io.ts";
import type { KvmDoorbells } from "./doorbells.ts";
import type { VcpuThread } from "./vcpu_thread.ts";

/** The thread that has a vCPU, or enters it next; undefined while that is the main thread. */
export type ThreadOf = () => VcpuThread | undefined;

/** One of several vCPUs. */
export function always(thread: VcpuThread): ThreadOf {
  return () => thread;
}

/**
 * A single vCPU. The main thread enters it, where its exits and steps are quickest, until a doorbell hangs: then it has
 * to go on while the main thread hears that. What is there to be heard changes when a driver comes up or resets its
 * device, so that it goes from one thread to the other seldom: it costs milliseconds (see `VcpuThread`).
 */
export function whileHung(doorbells: KvmDoorbells, start: () => VcpuThread): ThreadOf {
  let thread: VcpuThread | undefined;
  return () => {
    if (thread?.started) return thread;
    if (!doorbells.any) return undefined;
    thread ??= start();
    if (thread.death === undefined) return thread;
    doorbells.takeAllDown();
    return undefined;
  };
}

/** Has `come` called for a single vCPU's device, whichever thread enters it. */
export function inEither(doorbells: KvmDoorbells, fd: number, come: () => void): Disposable {
  using cleanup = new DisposableStack();
  cleanup.use(signalled(fd, come));
  cleanup.use(doorbells.hear(fd, come));
  return cleanup.move();
}
