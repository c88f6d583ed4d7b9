import type { BackendVcpu, MaybePromise, StepOptions } from "../vm/backend.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import { bitness, linearRip } from "../x86/mode.ts";
import type { ManagedBreakpoint } from "./breakpoint.ts";
import { readLinear } from "./linear_memory.ts";
import type { HiddenMemory } from "./memory.ts";
import { LONGEST_INSTRUCTION } from "./instruction.ts";
import type { MemoryOperands } from "./memory_operands.ts";
import { HLT } from "./patches.ts";
import type { Stepper } from "./stepper.ts";
import type { Traps } from "./traps.ts";

/** What watching by stepping works with. */
export interface WatchParts {
  readonly stepper: Stepper;
  readonly traps: Traps;
  readonly watched: ReadonlySet<ManagedBreakpoint>;
  readonly memory: HiddenMemory;
}

/** A watched place that the next instruction will touch. */
interface Touch {
  readonly breakpoint: ManagedBreakpoint;
  readonly address: bigint;
  readonly before: Uint8Array;
}

/** What a step over HLT with interrupts off comes to: hypervisors go on behind it. */
const HALT: StopCause = { kind: "halt" };
const IF = 1n << 9n;
/** CPL: the DPL of SS (SDM vol. 3A, 5.5). At levels above 0 HLT is #GP. */
const level = (registers: Registers) => registers.ss_attributes >> 5n & 3n;

/**
 * Watchpoints where neither debug registers nor read-only pages serve: every instruction is decoded. Execute breakpoints
 * that are held by steps too are `Traps.arrived`'s to see, after each.
 */
export class WatchStepper {
  readonly #parts: WatchParts;
  #operands: MemoryOperands | undefined;

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#parts.watched.size;
  }

  /** One instruction; a stop if it touched something watched. */
  step(vcpu: BackendVcpu, options?: StepOptions): MaybePromise<StopCause | undefined> {
    if (this.#operands === undefined) {
      return import("./memory_operands.ts").then(({ loadOperands }) => loadOperands()).then((loaded) => {
        this.#operands = loaded;
        return this.step(vcpu, options);
      });
    }
    const decoder = this.#operands;
    return then(
      vcpu.registers(),
      (registers) =>
        then(
          this.#touches(decoder, registers),
          ({ touches, halts }) =>
            then(this.#parts.stepper.stepFrom(vcpu, registers, options), (cause) =>
              cause ?? (halts ? HALT : this.#judge(vcpu, touches))),
        ),
    );
  }

  #judge(vcpu: BackendVcpu, touches: readonly Touch[]): MaybePromise<StopCause | undefined> {
    if (touches.length === 0) return undefined;
    return then(vcpu.registers(), (registers) => {
      const touched = touches.map((touch) => {
        const after = new Uint8Array(touch.before.length);
        return then(
          readLinear(registers, this.#parts.memory, touch.breakpoint.at, after),
          () => ({ ...touch, after }),
        );
      });
      const pending = touched.filter((t) => t instanceof Promise);
      if (pending.length > 0) {
        return Promise.all(touched).then((all) => this.#parts.traps.watched(vcpu, registers, all));
      }
      return this.#parts.traps.watched(vcpu, registers, touched as (Touch & { after: Uint8Array })[]);
    });
  }

  /** The watchpoints that the instruction under RIP is about to touch, and whether it is a HLT that stays. */
  #touches(
    decoder: MemoryOperands,
    registers: Registers,
  ): MaybePromise<{ touches: Touch[]; halts: boolean }> {
    const at = linearRip(registers);
    const code = new Uint8Array(LONGEST_INSTRUCTION);
    return then(this.#readCode(registers, at, code), (length) => {
      const operands = length === 0
        ? []
        : decoder(code.subarray(0, length), bitness(registers), at, registers);
      const touches: Touch[] = [];
      for (const breakpoint of this.#parts.watched) {
        if (breakpoint.access === "execute") continue;
        const operand = operands.find((o) =>
          breakpoint.covers(o.address, o.size) && (breakpoint.access === "access" || o.write)
        );
        if (operand === undefined) continue;
        touches.push({
          breakpoint,
          address: operand.address,
          before: new Uint8Array(Number(breakpoint.size)),
        });
      }
      let done = undefined as MaybePromise<void>;
      for (const touch of touches) {
        done = then(done, () => readLinear(registers, this.#parts.memory, touch.breakpoint.at, touch.before));
      }
      const halts = length > 0 && code[0] === HLT && (registers.rflags & IF) === 0n &&
        level(registers) === 0n;
      return then(done, () => ({ touches, halts }));
    });
  }

  /** Fills `code`, up to the page's end where the next one is not mapped; gives how much. */
  #readCode(registers: Registers, at: bigint, code: Uint8Array): MaybePromise<number> {
    const here = Math.min(code.length, Number(4096n - (at & 4095n)));
    const whole = () => then(readLinear(registers, this.#parts.memory, at, code), () => code.length);
    const part = () =>
      then(readLinear(registers, this.#parts.memory, at, code.subarray(0, here)), () => here);
    if (here === code.length) return part();
    try {
      const read = whole();
      return read instanceof Promise ? read.catch(part) : read;
    } catch {
      // The next page is not mapped: the instruction ends before it, or faults in the guest.
      return part();
    }
  }
}
