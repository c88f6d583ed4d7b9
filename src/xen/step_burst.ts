/** Steps of a domain's only vCPU, without a pause of the domain between them: what stopped the vCPU holds it. */

import type { StepBurst } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import type { Registers } from "../vm/registers.ts";
import type { QuickSteps } from "./strategy.ts";

/** How long the event loop waits for a step, and how often: on a busy host one takes tens of milliseconds. */
const WAIT_MS = 5;
/** Then it is left to `DomainRunner.step`, which asks what became of the domain. */
const WAITS = 20;
/** DR6.BS, and B0 to B3 (SDM vol. 3B, 17.2.3). */
const DR6_BS = 1n << 14n;
const DR6_HITS = 0xfn;
const SLICE: VmExit = { kind: "slice" };

/** What a vCPU tells of itself while what stopped it holds it. */
export interface SteppedGuest {
  /**
   * Whether the next instruction is one that a single step gets behind.
   *
   * @param standing Whether a step of the burst has just been done; nothing was set since then.
   */
  plain(standing: boolean): boolean;
  /** Its registers, and more of them at their first use. */
  registers(): Registers;
}

/** What the steps work with. */
export interface StepBurstParts {
  readonly vcpu: number;
  readonly quick: QuickSteps;
  readonly guest: SteppedGuest;
  /** Called before each step but the first. */
  moves(): void;
  /** Whether the domain was destroyed between two calls, and `error` says no more than that. */
  gone(error: unknown): boolean;
}

/**
 * A step is answer, wait and take, as in a program in C. V8 ends code where it enters functions and goes back in loops,
 * and nowhere else: what was done, and that it was, are noted without any of these between them.
 */
export class Steps implements StepBurst {
  done = 0;
  /** Whether the vCPU is held behind a step; if not, it is on its way. */
  standing = false;
  /** How often the step that is under way was waited for. */
  #waits = 0;
  /** Whether the registers after the last step are to be shown still. */
  #unseen = false;
  readonly #parts: StepBurstParts;

  /** @param parts Of a vCPU that is on its way. */
  constructor(parts: StepBurstParts) {
    this.#parts = parts;
  }

  run(count: number, watch: (registers: Registers) => boolean | undefined): VmExit | undefined {
    try {
      return this.#run(count, watch);
    } catch (error) {
      // What `watch` throws is its caller's.
      if (this.#unseen || !this.#parts.gone(error)) throw error;
      return SLICE;
    }
  }

  #run(count: number, watch: (registers: Registers) => boolean | undefined): VmExit | undefined {
    const { vcpu, quick, guest } = this.#parts;
    const most = this.done + count;
    for (;;) {
      if (this.#unseen) {
        const goOn = watch(guest.registers());
        if (goOn === undefined) return undefined;
        this.#unseen = false;
        this.done++;
        if (!goOn) return undefined;
      }
      if (this.done >= most) return undefined;
      if (this.standing) {
        if (!guest.plain(true)) return undefined;
        this.#parts.moves();
        quick.release(vcpu);
        this.standing = false;
        quick.tell();
      }
      if (!quick.wait(WAIT_MS)) {
        if (++this.#waits < WAITS) return undefined;
        this.#waits = 0;
        return SLICE;
      }
      this.#waits = 0;
      const exit = quick.take(vcpu);
      if (exit === undefined) return SLICE;
      this.standing = true;
      if (exit.kind !== "debug" || exit.exception !== 1 || (exit.dr6 & DR6_HITS) !== 0n) {
        return exit.kind === "debug" && exit.exception === 1 ? { ...exit, dr6: exit.dr6 | DR6_BS } : exit;
      }
      this.#unseen = true;
    }
  }

  mend(): void {
    this.#parts.quick.mend();
  }
}
