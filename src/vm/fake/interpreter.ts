import type { HardwareTrap } from "../backend.ts";
import type { InterruptAcknowledge } from "../device.ts";
import type { DebugExit, InternalErrorExit, VmExit } from "../exit.ts";
import { Core } from "./core.ts";
import { Decoder } from "./decode.ts";
import { combine, deliver } from "./interrupts.ts";
import type { PhysicalMemory } from "./physical.ts";
import { Breakpoint3, GuestFault, Halted, NeedAccess, Undecodable, VECTOR } from "./signals.ts";
import { FLAG } from "./state.ts";
import { dataHits, DR6_BS, DR6_NONE, executeHits, guestSlots, type Slots } from "./traps.ts";

/** How one turn is taken. */
export interface Turn {
  /** Whether pending interrupts and NMIs may be taken. */
  readonly interrupts: boolean;
  /** Whether the debugger's execute traps are armed. */
  readonly execute: boolean;
}

/** Executes instructions of one vCPU, one turn at a time. */
export class Interpreter {
  readonly core: Core;
  /** External interrupts asked for and not yet taken, in the order of asking. */
  readonly requests = new Set<number>();
  /** What is on INTR. */
  controller: InterruptAcknowledge | undefined;
  readonly #decoder: Decoder;
  #slots: Slots = [];
  /** Whether the debugger watches data, and whether it waits for an instruction. */
  #watching = false;
  #awaiting = false;
  /** Bits of the debugger's and of the guest's slots that the instruction in hand has hit. */
  #hits = 0;
  #guestHits = 0;
  #shadowBefore = 0;

  constructor(index: number, memory: PhysicalMemory) {
    this.core = new Core(index, memory);
    this.#decoder = new Decoder(this.core);
  }

  /** The debugger's slots. */
  setSlots(slots: readonly (HardwareTrap | undefined)[]): void {
    this.#slots = slots.slice(0, 4);
    this.#watching = slots.some((s) => s !== undefined && s.access !== "execute");
    this.#awaiting = slots.some((s) => s?.access === "execute");
  }

  /**
   * Takes an event or executes one instruction. Undefined when that is done and there is nothing to tell.
   */
  turn({ interrupts, execute }: Turn): VmExit | undefined {
    const core = this.core;
    if (core.dead) return { kind: "shutdown" };
    const event = this.#takeEvent(interrupts);
    if (event !== false) return event;
    if (core.halted) return { kind: "halt" };
    if (execute && this.#awaiting && !core.has(FLAG.RF)) {
      const hits = executeHits(this.#slots, core.pc);
      if (hits !== 0) return this.debugExit(VECTOR.DB, BigInt(hits));
    }
    return this.#guestExecuteHit() ?? this.#execute(false);
  }

  /** Finishes the instruction whose access was answered. Undefined when it is done, or nothing was open. */
  resume(): VmExit | undefined {
    if (this.core.log.pending === undefined) return undefined;
    this.core.log.answer();
    return this.#execute(true);
  }

  /** Whether something waits that would wake a halted vCPU. */
  get awake(): boolean {
    const core = this.core;
    const interrupt = core.has(FLAG.IF) && (this.requests.size > 0 || this.controller?.requesting === true);
    const nmi = core.nmiPending && !core.nmiMasked;
    return interrupt || nmi || core.exception !== undefined || core.interrupt !== undefined;
  }

  /** A debug exit at the next instruction. */
  debugExit(exception: number, bits: bigint): DebugExit {
    return { kind: "debug", exception, dr6: DR6_NONE | bits, pc: this.core.pc };
  }

  /** False: there was nothing to take. */
  #takeEvent(interrupts: boolean): VmExit | undefined | false {
    const core = this.core;
    if (core.exception !== undefined) {
      const { vector, errorCode } = core.exception;
      core.exception = undefined;
      core.halted = false;
      return this.#raise(new GuestFault(vector, errorCode, core.cr2), this.#afterTrap(vector));
    }
    if (core.interrupt !== undefined) {
      const { vector, soft } = core.interrupt;
      return this.#interrupt(vector, soft ? "software" : "external", () => core.interrupt = undefined);
    }
    if (!interrupts || core.shadow !== 0) return false;
    if (core.nmiPending && !core.nmiMasked) {
      return this.#interrupt(VECTOR.NMI, "external", () => {
        core.nmiPending = false;
        core.nmiMasked = true;
      });
    }
    if (!core.has(FLAG.IF)) return false;
    if (this.requests.size > 0) {
      const [vector] = this.requests;
      return this.#interrupt(vector, "external", () => this.requests.delete(vector));
    }
    if (this.controller?.requesting !== true) return false;
    return this.#interrupt(this.controller.acknowledge(), "external", () => {});
  }

  #interrupt(vector: number, source: "external" | "software", taken: () => void): VmExit | undefined {
    const core = this.core;
    core.save();
    core.log.clear();
    try {
      deliver(core, vector, source, core.rip, undefined);
    } catch (problem) {
      core.rollback();
      taken();
      core.halted = false;
      if (problem instanceof GuestFault) return this.#raise(problem);
      return deliveryError(problem);
    }
    taken();
    core.halted = false;
    return undefined;
  }

  /** The guest's own execute breakpoints: #DB before the instruction, unless RF says that it was told. */
  #guestExecuteHit(): VmExit | undefined {
    const core = this.core;
    if ((core.dr7 & 0xffn) === 0n || core.has(FLAG.RF)) return undefined;
    const hits = executeHits(guestSlots(core.dr, core.dr7), core.pc);
    if (hits === 0) return undefined;
    core.dr6 = (core.dr6 & ~0xfn) | BigInt(hits);
    return this.#raise(new GuestFault(VECTOR.DB));
  }

  #execute(again: boolean): VmExit | undefined {
    const core = this.core;
    if (!again) {
      core.save();
      core.log.clear();
      this.#shadowBefore = core.shadow;
    }
    core.log.rewind();
    this.#watch();
    const stepped = core.has(FLAG.TF);
    core.shadow = 0;
    try {
      const row = this.#decoder.decode(again);
      core.flags &= ~FLAG.RF;
      core.rip = BigInt.asUintN(core.code === 8 ? 64 : 32, core.rip + BigInt(core.insn.length));
      row.run(core, core.insn);
    } catch (problem) {
      const exit = this.#interrupted(problem);
      if (exit !== "halted") return exit;
      core.halted = true;
      core.retired++;
      core.log.clear();
      return { kind: "halt" };
    }
    core.retired++;
    core.log.clear();
    const report = core.reports.take();
    return this.#traps(stepped) ?? report;
  }

  /** The instruction threw: what that means. */
  #interrupted(problem: unknown): VmExit | undefined | "halted" {
    const core = this.core;
    if (problem instanceof Halted) return "halted";
    core.rollback();
    if (problem instanceof NeedAccess) {
      core.shadow = this.#shadowBefore;
      core.log.wait(problem.exit);
      return problem.exit;
    }
    core.log.clear();
    if (problem instanceof GuestFault) return this.#raise(problem);
    core.shadow = this.#shadowBefore;
    if (problem instanceof Breakpoint3) return this.debugExit(VECTOR.BP, 0n);
    if (!(problem instanceof Undecodable)) throw problem;
    return { kind: "internal-error", suberror: 1, reason: problem.reason, bytes: this.#decoder.window() };
  }

  /** What is due after an instruction: the guest's single step and watchpoints, then the debugger's. */
  #traps(stepped: boolean): VmExit | undefined {
    const core = this.core;
    const hits = this.#hits;
    const softwareInterrupt = core.insn.opcode >= 0xcc && core.insn.opcode <= 0xce;
    const single = stepped && !softwareInterrupt;
    if (single || this.#guestHits !== 0) {
      core.dr6 = (core.dr6 & ~0xfn) | BigInt(this.#guestHits) | (single ? DR6_BS : 0n);
      const exit = this.#raise(new GuestFault(VECTOR.DB));
      if (exit !== undefined) return exit;
    }
    return hits === 0 ? undefined : this.debugExit(VECTOR.DB, BigInt(hits));
  }

  /** Watches data for the instruction to come, if anybody wants to know. */
  #watch(): void {
    const core = this.core;
    this.#hits = this.#guestHits = 0;
    const guest = (core.dr7 & 0xffn) === 0n ? [] : guestSlots(core.dr, core.dr7);
    if (!this.#watching && guest.length === 0) {
      core.mmu.watcher = undefined;
      return;
    }
    core.mmu.watcher = (linear, size, write) => {
      this.#hits |= dataHits(this.#slots, linear, size, write);
      this.#guestHits |= dataHits(guest, linear, size, write);
    };
  }

  /** Whether data is watched, so that repeated instructions must stop after each iteration. */
  get watching(): boolean {
    return this.#watching || (this.core.dr7 & 0xffn) !== 0n;
  }

  /** #BP and #OF, injected at the INT3 or INTO that they come from, return behind it, as KVM has it too. */
  #afterTrap(vector: number): bigint {
    const { core } = this;
    const opcode = vector === VECTOR.BP ? 0xcc : vector === VECTOR.OF ? 0xce : -1;
    try {
      const place = core.mmu.code(core.pc);
      return core.memory.load(place, 1) === BigInt(opcode) ? core.rip + 1n : core.rip;
    } catch {
      // The code is not mapped: there is no such instruction.
      return core.rip;
    }
  }

  /** Delivers an exception; what comes of it if that fails too is #DF, then shutdown. */
  #raise(first: GuestFault, returnTo?: bigint): VmExit | undefined {
    const core = this.core;
    let fault = first;
    for (;;) {
      if (fault.vector === VECTOR.PF && fault.address !== undefined) core.cr2 = fault.address;
      core.save();
      try {
        // Of faults the pushed image has RF set (SDM vol. 3B, 17.3.1.1); #DB after an instruction is a trap.
        if (core.protectedMode && fault.vector !== VECTOR.DB) core.flags |= FLAG.RF;
        const from = fault === first ? returnTo ?? core.rip : core.rip;
        deliver(core, fault.vector, "exception", from, fault.errorCode);
        return undefined;
      } catch (problem) {
        core.rollback();
        if (!(problem instanceof GuestFault)) return deliveryError(problem);
        if (fault.vector === VECTOR.DF) {
          core.dead = true;
          return { kind: "shutdown" };
        }
        fault = combine(fault.vector, problem);
      }
    }
  }
}

/** An event could not be delivered for a reason that is not the guest's: KVM's suberror 3. */
function deliveryError(problem: unknown): InternalErrorExit {
  if (problem instanceof NeedAccess) {
    const reason = "the handler's stack is not in memory";
    return { kind: "internal-error", suberror: 3, reason };
  }
  if (problem instanceof Undecodable) return { kind: "internal-error", suberror: 3, reason: problem.reason };
  throw problem;
}
