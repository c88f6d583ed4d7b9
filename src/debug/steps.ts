import type { Backend, BackendVcpu, MaybePromise, StepBurst, StepOptions } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import type { RunLoop, VcpuStop } from "../vm/loop.ts";
import type { StepRequest } from "../vm/machine.ts";
import { breather, then, turn } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import type { BreakpointSet } from "./breakpoints.ts";
import { guarded, isRunaway } from "./guard.ts";
import { inTurn } from "./in_turn.ts";
import type { Stepper } from "./stepper.ts";
import type { Traps } from "./traps.ts";
import type { WatchStepper } from "./watch_step.ts";

/** How long the event loop may wait for its turn while instructions are stepped. */
const TURN_MS = 5;
/** The same where each step takes a good part of a millisecond. */
const BURST_MS = 20;
/** Steps that took less than this in all are quick. */
const QUICK_MS = 1;
/** How many steps may go without a look at the clock: each may take a tenth of a second and `each` not be ended. */
const LONGEST_STRIDE = 16;

/** Steps came to their end. */
export const STEPPED: StopCause = { kind: "step" };

/** What steps in a row work with. */
export interface StepsParts {
  readonly backend: Backend;
  readonly loop: RunLoop;
  readonly stepper: Stepper;
  readonly traps: Traps;
  readonly breakpoints: BreakpointSet;
  readonly watches: WatchStepper;
}

/** Moves vCPUs by instructions, and shows each to the user's `each`. For use inside of a run. */
export class Steps {
  readonly #parts: StepsParts;
  /** Whether the user's `each` looks at a step now: whom to blame if it never returns. */
  showing = false;

  constructor(parts: StepsParts) {
    this.#parts = parts;
  }

  /** Steps of one vCPU, with a turn of the event loop whenever it has waited long enough. */
  run(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): MaybePromise<VcpuStop> {
    if (vcpu.burst !== undefined) return this.#bursts(vcpu, count, options, each);
    // Where a step is slow the limit is for `each` alone: it would end what the backend does in the middle.
    return each === undefined || this.#parts.backend.slow
      ? this.#batch(vcpu, count, options, each)
      : guarded(() => this.#batch(vcpu, count, options, each));
  }

  /** The same where a step takes long: one by one, or in bursts where there is nothing to look after between them. */
  async #bursts(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): Promise<VcpuStop> {
    const { loop, breakpoints } = this.#parts;
    const breathe = breather();
    for (let left = count; left > 0;) {
      const burst = breakpoints.all.size === 0 ? vcpu.burst!(options) : undefined;
      let cause: StopCause | undefined;
      let one = true;
      if (burst === undefined) cause = await this.one(vcpu, options);
      else {
        const { exit, refused } = this.#burst(burst, left, each);
        left -= burst.done;
        if (refused) return { vcpu, cause: STEPPED };
        if (exit !== undefined) cause = await loop.finishStep(vcpu, exit, options);
        else one = false;
      }
      cause ??= loop.request;
      if (one) {
        left--;
        if (cause === undefined && each !== undefined) cause = await this.show(vcpu, each);
      }
      if (cause !== undefined) return { vcpu, cause };
      await breathe();
    }
    return { vcpu, cause: STEPPED };
  }

  /** One burst: one limit for all that `each` does in it, since setting one takes longer than a step. */
  #burst(burst: StepBurst, count: number, each: StepRequest["each"]): { exit?: VmExit; refused: boolean } {
    const { loop, breakpoints } = this.#parts;
    const end = performance.now() + BURST_MS;
    let refused = false;
    const run = () =>
      burst.run(count, (registers) => {
        // `each` is to have the whole limit, whatever the backend took of this one.
        if (performance.now() >= end) return undefined;
        refused = each !== undefined && this.#ask(each, registers) !== undefined;
        return !refused && loop.request === undefined && breakpoints.all.size === 0 &&
          performance.now() < end;
      });
    if (each === undefined) return { exit: run(), refused };
    try {
      return { exit: guarded(run), refused };
    } catch (error) {
      burst.mend();
      // A host that stood still for two seconds: no callback is to blame, and nothing is lost.
      if (isRunaway(error) && !this.showing) return { refused: false };
      throw error;
    }
  }

  #batch(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): MaybePromise<VcpuStop> {
    const { loop, breakpoints } = this.#parts;
    let refused = false;
    const watch = each && ((registers: Registers) => {
      refused = this.#ask(each, registers) !== undefined;
      return !refused && loop.request === undefined && breakpoints.all.size === 0;
    });
    let stride = 1;
    let check = count - stride;
    let checked = count > 1 ? performance.now() : 0;
    const end = checked + TURN_MS;
    for (let left = count; left > 0;) {
      // The clock costs a part of a step: it is looked at ever more seldom while steps are quick.
      if (left === check) {
        const now = performance.now();
        if (now >= end) {
          const rest = left;
          return turn().then(() =>
            loop.request === undefined ? this.run(vcpu, rest, options, each) : { vcpu, cause: loop.request }
          );
        }
        stride = now - checked < QUICK_MS ? Math.min(stride * 2, LONGEST_STRIDE) : 1;
        checked = now;
        check = left - stride;
      }
      let cause: MaybePromise<StopCause | undefined>;
      if (vcpu.steps === undefined || breakpoints.all.size > 0) {
        cause = this.one(vcpu, options);
        left--;
      } else {
        const { done, exit } = vcpu.steps(Math.min(left, left - check), options, watch);
        left -= done;
        if (refused) return { vcpu, cause: STEPPED };
        if (loop.request !== undefined) return { vcpu, cause: loop.request };
        if (exit === undefined) continue;
        cause = loop.finishStep(vcpu, exit, options);
        left--;
      }
      if (!(cause instanceof Promise)) {
        cause ??= loop.request;
        if (cause === undefined && each !== undefined) cause = this.show(vcpu, each);
      } else {
        cause = cause.then((c) => c ?? loop.request ?? (each && guarded(() => this.show(vcpu, each))));
      }
      if (cause instanceof Promise) {
        const rest = left;
        return cause.then((c) => c === undefined ? this.run(vcpu, rest, options, each) : { vcpu, cause: c });
      }
      if (cause !== undefined) return { vcpu, cause };
    }
    return { vcpu, cause: STEPPED };
  }

  /** Shows the registers after a step to the caller's `each`, which may end the steps. */
  show(vcpu: BackendVcpu, each: NonNullable<StepRequest["each"]>): MaybePromise<StopCause | undefined> {
    const registers = vcpu.registers();
    return registers instanceof Promise
      ? registers.then((r) => guarded(() => this.#ask(each, r)))
      : this.#ask(each, registers);
  }

  #ask(each: NonNullable<StepRequest["each"]>, registers: Registers): StopCause | undefined {
    this.showing = true;
    const goOn = this.#parts.backend.slow ? guarded(() => each(registers)) : each(registers);
    this.showing = false;
    return goOn === false ? STEPPED : undefined;
  }

  /** One instruction, then the watchpoints it touched and the breakpoint it landed on. */
  one(vcpu: BackendVcpu, options: StepOptions): MaybePromise<StopCause | undefined> {
    const { stepper, breakpoints, watches } = this.#parts;
    if (breakpoints.all.size === 0) return stepper.step(vcpu, options);
    const watching = watches.size > 0;
    const stepped = watching ? watches.step(vcpu, options) : stepper.step(vcpu, options);
    return then(stepped, (cause) => cause ?? this.#arrive(vcpu));
  }

  #arrive(vcpu: BackendVcpu): MaybePromise<StopCause | undefined> {
    return then(
      vcpu.registers(),
      (registers) => this.#parts.traps.arrived(vcpu, registers, linearRip(registers)),
    );
  }

  /** Steps of several vCPUs by turns; `last` is the one that stopped last. */
  async severally(
    vcpus: readonly BackendVcpu[],
    last: BackendVcpu,
    count: number,
    options: StepOptions,
  ): Promise<VcpuStop> {
    const { loop } = this.#parts;
    const mover = {
      one: (vcpu: BackendVcpu, how: StepOptions) => this.one(vcpu, how),
      get request() {
        return loop.request;
      },
    };
    // Behind that one, which would else stop again before the rest had a turn.
    const next = vcpus.indexOf(last) + 1;
    const order = [...vcpus.slice(next), ...vcpus.slice(0, next)];
    return await inTurn(mover, order, count, options) ?? { vcpu: vcpus[0], cause: STEPPED };
  }
}
