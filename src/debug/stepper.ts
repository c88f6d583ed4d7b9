import type { BackendVcpu, MaybePromise, StepOptions } from "../vm/backend.ts";
import type { RunLoop } from "../vm/loop.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import type { ReadPhysical } from "../x86/paging.ts";
import { walk } from "../x86/paging.ts";
import type { Patch, Patches } from "./patches.ts";

/** How often `clear` steps before it leaves a guest alone that jumps about among a patch's bytes. */
const CLEAR_TRIES = 64;

/** Runs single instructions, with the guest's own bytes in place of the breakpoint's that stands on them. */
export class Stepper {
  readonly #loop: RunLoop;
  readonly #patches: Patches;
  readonly #read: ReadPhysical;

  constructor(loop: RunLoop, patches: Patches, read: ReadPhysical) {
    this.#loop = loop;
    this.#patches = patches;
    this.#read = read;
  }

  /** Runs the instruction under RIP; `undefined` if nothing else happened. */
  step(vcpu: BackendVcpu, options?: StepOptions): MaybePromise<StopCause | undefined> {
    if (this.#patches.size === 0) return this.#loop.step(vcpu, options);
    return then(vcpu.registers(), (registers) => this.stepFrom(vcpu, registers, options));
  }

  /** The same where the registers are known already. */
  stepFrom(
    vcpu: BackendVcpu,
    registers: Registers,
    options?: StepOptions,
  ): MaybePromise<StopCause | undefined> {
    return then(
      this.#patchUnder(registers),
      (found) =>
        found === undefined ? this.#loop.step(vcpu, options) : this.#without(found.patch, vcpu, options),
    );
  }

  /**
   * Off the breakpoint under RIP, and out from among the bytes of its patch: going on there would run half of it.
   *
   * @param registers Of now.
   * @param under The patch under RIP, where the caller knows it: saves page walks.
   */
  leave(vcpu: BackendVcpu, registers: Registers, under?: Patch): MaybePromise<StopCause | undefined> {
    const stepped = under === undefined ? this.stepFrom(vcpu, registers) : this.#without(under, vcpu);
    if (!this.#patches.wide) return stepped;
    return then(stepped, (cause) => {
      if (cause !== undefined) return cause;
      // The only patch there is: RIP tells whether it is among its bytes.
      const alone = under !== undefined && this.#patches.size === 1;
      const beyond = vcpu.rip - registers.rip;
      if (alone && (beyond <= 0n || beyond >= BigInt(under.code.length))) return undefined;
      return this.clear(vcpu);
    });
  }

  /** Steps until RIP is not among the bytes of a patch. Breakpoints on the way stop as ever. */
  clear(vcpu: BackendVcpu, tries = CLEAR_TRIES): MaybePromise<StopCause | undefined> {
    if (!this.#patches.wide || tries === 0) return undefined;
    return then(vcpu.registers(), (registers) =>
      then(this.#patchUnder(registers), (found) => {
        if (found === undefined || found.begins) return undefined;
        const stepped = this.#without(found.patch, vcpu, { interrupts: true, execute: true });
        return then(stepped, (cause) => cause ?? this.clear(vcpu, tries - 1));
      }));
  }

  #without(patch: Patch, vcpu: BackendVcpu, options?: StepOptions): MaybePromise<StopCause | undefined> {
    const restore = () => this.#patches.at(patch.gpa) === patch ? this.#patches.put(patch) : undefined;
    return then(this.#patches.lift(patch), () => {
      let cause: MaybePromise<StopCause | undefined>;
      try {
        cause = this.#loop.step(vcpu, options);
      } catch (error) {
        restore();
        throw error;
      }
      if (cause instanceof Promise) {
        return cause.finally(restore);
      }
      const done = cause;
      return then(restore(), () => done);
    });
  }

  /** The patch that covers the byte under RIP, and whether it begins there. */
  #patchUnder(registers: Registers): MaybePromise<{ patch: Patch; begins: boolean } | undefined> {
    if (this.#patches.size === 0) return undefined;
    return then(walk(registers, linearRip(registers), this.#read), (found) => {
      if (!found.ok) return undefined;
      const { gpa } = found;
      const patch = this.#patches.at(gpa) ??
        (this.#patches.wide ? this.#patches.overlapping(gpa, 1) : undefined);
      return patch === undefined ? undefined : { patch, begins: patch.gpa === gpa };
    });
  }
}
