import type { BackendVcpu, MaybePromise, StepOptions } from "../vm/backend.ts";
import type { RunLoop } from "../vm/loop.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import type { ReadPhysical } from "../x86/paging.ts";
import { walk } from "../x86/paging.ts";
import type { Patch, Patches } from "./patches.ts";

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
      (patch) => patch === undefined ? this.#loop.step(vcpu, options) : this.#without(patch, vcpu, options),
    );
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

  /** The patch on the instruction under RIP. */
  #patchUnder(registers: Registers): MaybePromise<Patch | undefined> {
    if (this.#patches.size === 0) return undefined;
    return then(
      walk(registers, linearRip(registers), this.#read),
      (found) => found.ok ? this.#patches.at(found.gpa) : undefined,
    );
  }
}
