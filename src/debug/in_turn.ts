/** Some of several vCPUs run while the others stand still: no hypervisor does that, steps by turns do. */
import type { BackendVcpu, MaybePromise, StepOptions } from "../vm/backend.ts";
import { breather } from "../vm/promise.ts";
import type { StopCause } from "../vm/stop.ts";

/** Instructions of one vCPU until it is the next one's turn. */
const TURN_STEPS = 64;

/** What moves the vCPUs. */
export interface Mover {
  /** One instruction; a cause if the guest stopped. */
  one(vcpu: BackendVcpu, options: StepOptions): MaybePromise<StopCause | undefined>;
  /** What a pause or a device asks for meanwhile. */
  readonly request: StopCause | undefined;
}

/**
 * Steps each of `vcpus` `count` times, a few instructions at a turn. One that sleeps loses its turn, so that another can
 * wake it.
 *
 * @returns What stopped the guest, and which vCPU; undefined once all is done.
 */
export async function inTurn(
  mover: Mover,
  vcpus: readonly BackendVcpu[],
  count: number,
  options: StepOptions,
): Promise<{ readonly vcpu: BackendVcpu; readonly cause: StopCause } | undefined> {
  const breathe = breather();
  for (let left = count; left > 0; left -= TURN_STEPS) {
    let asleep = 0;
    for (const vcpu of vcpus) {
      let idle: Awaited<ReturnType<BackendVcpu["idle"]>> = "no";
      for (let i = Math.min(left, TURN_STEPS); i > 0 && idle === "no"; i--) {
        const cause = await mover.one(vcpu, { ...options, inTurn: true }) ?? mover.request;
        if (cause !== undefined) return { vcpu, cause };
        idle = await vcpu.idle();
        await breathe();
      }
      if (idle === "halted-forever" || idle === "wait-for-sipi") asleep++;
    }
    if (asleep === vcpus.length) return { vcpu: vcpus[0], cause: { kind: "halt" } };
  }
  return undefined;
}
