import type { Backend, BackendVcpu, MaybePromise } from "../vm/backend.ts";
import type { RunLoop, VcpuStop } from "../vm/loop.ts";
import type { RunLimit, StepTarget, Vcpu } from "../vm/machine.ts";
import { breather } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { Stop } from "../vm/stop.ts";
import { checkAddress } from "../vm/check.ts";
import { FaultError, InputError } from "../vm/errors.ts";
import { bitness, linearRip, linearStack } from "../x86/mode.ts";
import type { BreakpointSet } from "./breakpoints.ts";
import type { RunControl } from "./control.ts";
import { disassembler } from "./disassembler.ts";
import { type Instruction, LONGEST_INSTRUCTION } from "./instruction.ts";

/** What the motions work with. */
export interface MotionParts {
  readonly backend: Backend;
  readonly control: RunControl;
  readonly breakpoints: BreakpointSet;
  readonly vcpus: readonly Vcpu[];
  readonly loop: RunLoop;
}

/** Which vCPU moves, and for how long at most. */
export type MotionOptions = { vcpu?: number; interrupts?: boolean } & RunLimit;

/** Steps that need to know what the instruction is: over calls, out of functions, until an address. */
export class Motions {
  readonly #parts: MotionParts;

  constructor(parts: MotionParts) {
    this.#parts = parts;
  }

  /** `count` instructions, one by default; CALL, INT and REP-prefixed ones with all they lead to. */
  async over(options: MotionOptions & { count?: number } = {}): Promise<Stop> {
    const { count = 1, ...limit } = options;
    if (!Number.isInteger(count) || count < 1) {
      throw new InputError(`a number of steps is a whole number from 1, not ${count}`, {
        remedy: "leave it out for one",
      });
    }
    const vcpu = this.#vcpu(limit);
    let left = count;
    return await this.#parts.control.run(
      "step over",
      () => this.#until(vcpu, () => this.#over(vcpu, limit), () => --left === 0),
      limit,
    );
  }

  /** Until a RET of the present function has been executed; calls on the way run freely. */
  out(options: MotionOptions = {}): Promise<Stop> {
    const vcpu = this.#vcpu(options);
    return this.#parts.control.run("step out", () => this.#out(vcpu, options), options);
  }

  /** Until the next instruction is of `kind`; calls on the way are one step unless `into` says otherwise. */
  async to(kind: StepTarget, options: MotionOptions & { into?: boolean } = {}): Promise<Stop> {
    if (!Object.hasOwn(TARGETS, kind)) {
      throw new InputError(`there is no kind of instruction "${String(kind)}" to step to`, {
        remedy: `take ${Object.keys(TARGETS).join(", ")}`,
      });
    }
    const { into = false, ...limit } = options;
    const vcpu = this.#vcpu(limit);
    const step = () => into ? this.#one(vcpu, limit) : this.#over(vcpu, limit);
    const there = async () => {
      const instruction = await this.#instruction(vcpu, await vcpu.registers());
      return instruction !== undefined && TARGETS[kind](instruction);
    };
    return await this.#parts.control.run("step to", () => this.#until(vcpu, step, there), limit);
  }

  /** Until `address` is reached, however often that takes leaving breakpoints aside. */
  async until(address: bigint, options: MotionOptions = {}): Promise<Stop> {
    checkAddress(address);
    const vcpu = this.#vcpu(options);
    return await this.#parts.control.run("run until", () => this.#runTo(vcpu, address), options);
  }

  #vcpu(options: MotionOptions): BackendVcpu {
    const { backend, control } = this.#parts;
    return options.vcpu === undefined ? control.current : backend.vcpus[options.vcpu] ?? control.current;
  }

  async #over(vcpu: BackendVcpu, options: MotionOptions): Promise<VcpuStop> {
    const registers = await vcpu.registers();
    const instruction = await this.#instruction(vcpu, registers);
    if (instruction === undefined || !isOneOfMany(instruction)) return await this.#one(vcpu, options);
    const next = linearRip(registers) + BigInt(instruction.length);
    const depth = linearStack(registers);
    // A recursive call passes the same address with a deeper stack: that is not the return.
    return await this.#runTo(vcpu, next, (at) => linearStack(at) >= depth);
  }

  async #out(vcpu: BackendVcpu, options: MotionOptions): Promise<VcpuStop> {
    const entry = linearStack(await vcpu.registers());
    const breathe = breather();
    for (;;) {
      // Everything below may be done without a turn of the event loop: pause and time limits need one.
      await breathe();
      const registers = await vcpu.registers();
      const instruction = await this.#instruction(vcpu, registers);
      const before = linearStack(registers);
      const stopped = await this.#over(vcpu, options);
      if (stopped.cause.kind !== "step") return stopped;
      if (this.#parts.loop.request !== undefined) return { vcpu, cause: this.#parts.loop.request };
      // A RET while more is on the stack than at the start belongs to code that pushed its own return address.
      if (instruction?.flow === "return" && before >= entry) return stopped;
    }
  }

  /** Steps until `there` says so, or something else stops. A pause finds the guest running all the while. */
  async #until(
    vcpu: BackendVcpu,
    step: () => Promise<VcpuStop>,
    there: () => MaybePromise<boolean>,
  ): Promise<VcpuStop> {
    const breathe = breather();
    for (;;) {
      await breathe();
      const stopped = await step();
      if (stopped.cause.kind !== "step") return stopped;
      if (await there()) return stopped;
      if (this.#parts.loop.request !== undefined) return { vcpu, cause: this.#parts.loop.request };
    }
  }

  async #one(vcpu: BackendVcpu, options: MotionOptions): Promise<VcpuStop> {
    const cause = await this.#parts.control.one(vcpu, { interrupts: options.interrupts ?? false });
    return { vcpu, cause: cause ?? { kind: "step" } };
  }

  /** Runs until `address` is reached with `arrived` true, or something else stops. */
  async #runTo(
    vcpu: BackendVcpu,
    address: bigint,
    arrived?: (registers: Registers) => boolean,
  ): Promise<VcpuStop> {
    const { breakpoints, control } = this.#parts;
    const target = await breakpoints.addInternal(address, {
      vcpu: vcpu.index,
      ...(arrived && { condition: (hit) => arrived(hit.registers) }),
    });
    try {
      return internalIsStep(await control.go(vcpu), target);
    } finally {
      await target.remove();
    }
  }

  async #instruction(vcpu: BackendVcpu, registers: Registers): Promise<Instruction | undefined> {
    const at = linearRip(registers);
    const bytes = await this.#code(vcpu, at);
    if (bytes.length === 0) return undefined;
    return (await disassembler()).decode(bytes, bitness(registers), at);
  }

  /** The bytes at `at`, fewer where the next page is not mapped. */
  async #code(vcpu: BackendVcpu, at: bigint): Promise<Uint8Array> {
    const { memory } = this.#parts.vcpus[vcpu.index];
    const untilPageEnd = Number(4096n - (at & 4095n));
    for (const length of [LONGEST_INSTRUCTION, Math.min(untilPageEnd, LONGEST_INSTRUCTION)]) {
      try {
        return await memory.read(at, length);
      } catch (error) {
        if (!(error instanceof FaultError)) throw error;
      }
    }
    return new Uint8Array();
  }
}

/** iced-x86 counts SYSCALL, VMCALL and their like among the calls: what is no `call` leaves for another level. */
const TARGETS: Readonly<Record<StepTarget, (instruction: Instruction) => boolean>> = {
  call: ({ flow, mnemonic }) => flow === "call" && mnemonic === "call",
  return: ({ flow }) => flow === "return",
  jump: ({ flow }) => flow === "jump" || flow === "conditional",
  system: ({ flow, mnemonic }) => flow === "interrupt" || (flow === "call" && mnemonic !== "call"),
};

/** Whether one "next" of a user is many steps of the processor. */
function isOneOfMany(instruction: Instruction): boolean {
  return instruction.flow === "call" || instruction.flow === "interrupt" || instruction.rep !== undefined;
}

function internalIsStep(stopped: VcpuStop, target: { readonly id: number }): VcpuStop {
  const { cause, vcpu } = stopped;
  return cause.kind === "breakpoint" && cause.breakpoint.id === target.id
    ? { vcpu, cause: { kind: "step" } }
    : stopped;
}
