import type { BackendVcpu, CpuidEntry, ReportRange, StepOptions, Traps, VcpuEvents } from "../backend.ts";
import type { InterruptAcknowledge } from "../device.ts";
import { InputError, StateError, UnsupportedError } from "../errors.ts";
import type { VmExit } from "../exit.ts";
import type { Registers, RegisterValues } from "../registers.ts";
import { msrIndices, readMsr, writeMsr } from "./control_registers.ts";
import { cpuid, CPUID_LEAVES } from "./cpuid.ts";
import { readEvents, writeEvents } from "./events.ts";
import { Interpreter } from "./interpreter.ts";
import type { PhysicalMemory } from "./physical.ts";
import { setRegisters, snapshot } from "./registers.ts";
import { VECTOR } from "./signals.ts";
import { FLAG } from "./state.ts";
import { DR6_BS } from "./traps.ts";

/** Instructions, or iterations of repeated ones, in a time slice: a few milliseconds. */
const SLICE = 5000;

/** What an exit costs of a slice: a device's answer takes time too, so that slices end under a storm of exits. */
const EXIT_COST = 10;

/** A vCPU of the fake: an interpreter behind the contract of `BackendVcpu`. */
export class FakeVcpu implements BackendVcpu {
  readonly index: number;
  readonly #interpreter: Interpreter;
  /** An exit that came while nobody asked for one: the next `run` or `step` gives it. */
  #stash: VmExit | undefined;
  #kicked = false;
  /** What is left of the time slice: it goes on behind exits. */
  #left = SLICE;
  #closed = false;
  /** How often the guest went on: registers read lazily are of one generation. */
  #generation = 0;

  constructor(index: number, memory: PhysicalMemory) {
    this.index = index;
    this.#interpreter = new Interpreter(index, memory);
  }

  get rip(): bigint {
    return this.#interpreter.core.rip;
  }

  run(): VmExit {
    const early = this.#begin();
    if (early !== undefined) return early;
    const { core } = this.#interpreter;
    core.bursts = !this.#interpreter.watching;
    core.iterations = 0;
    while (this.#left > 0) {
      const exit = this.#interpreter.turn({ interrupts: true, execute: true });
      this.#left -= exit === undefined ? 1 : EXIT_COST;
      if (core.iterations > 0) {
        this.#left -= core.iterations;
        core.iterations = 0;
      }
      if (exit !== undefined) return exit;
    }
    this.#left = SLICE;
    return { kind: "slice" };
  }

  step(options: StepOptions = {}): VmExit {
    this.#left -= EXIT_COST;
    if (this.#left <= 0) {
      this.#left = SLICE;
      return { kind: "slice" };
    }
    const unfinished = this.#interpreter.core.log.pending !== undefined && this.#stash === undefined;
    const early = this.#begin();
    if (early !== undefined && early.kind !== "debug") return early;
    const { core } = this.#interpreter;
    core.bursts = false;
    const turn = { interrupts: options.interrupts ?? false, execute: options.execute ?? false };
    const exit = early ?? (unfinished ? undefined : this.#interpreter.turn(turn));
    if (exit === undefined) return this.#interpreter.debugExit(VECTOR.DB, DR6_BS);
    // A watchpoint that the step has hit is told together with the step; a breakpoint means no step was done.
    const executed = exit.kind === "debug" && exit.exception === VECTOR.DB && core.retired !== this.#before;
    return executed ? { ...exit, dr6: exit.dr6 | DR6_BS } : exit;
  }

  settle(): VmExit | undefined {
    this.#open();
    if (this.#stash !== undefined) return undefined;
    if (this.#interpreter.core.log.pending === undefined) return undefined;
    this.#generation++;
    const exit = this.#interpreter.resume();
    if (exit === undefined || exit.kind === "io-in" || exit.kind === "io-out") return exit;
    if (exit.kind === "mmio-read" || exit.kind === "mmio-write") return exit;
    // Not an access of the instruction, but what came of it: told when the guest is next let go.
    this.#stash = exit;
    return undefined;
  }

  kick(): void {
    this.#kicked = true;
  }

  setTraps(traps: Traps): void {
    this.#open();
    this.#interpreter.setSlots(traps.hardware);
    this.#interpreter.core.int3 = traps.int3;
  }

  idle(): "no" | "halted" | "halted-forever" {
    const { core, awake } = this.#interpreter;
    if (!core.halted || awake) return "no";
    return core.has(FLAG.IF) ? "halted" : "halted-forever";
  }

  registers(): Registers {
    this.#settled();
    const generation = this.#generation;
    return snapshot(this.#interpreter.core, () => this.#generation === generation);
  }

  setRegisters(values: RegisterValues): void {
    this.#settled();
    setRegisters(this.#interpreter.core, values);
  }

  cpuid(): readonly CpuidEntry[] {
    this.#open();
    return CPUID_LEAVES.map((leaf) => {
      const [eax, ebx, ecx, edx] = cpuid(leaf, this.#interpreter.core);
      return { function: leaf, index: 0, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
    });
  }

  msrs(): readonly number[] {
    this.#open();
    return msrIndices(this.#interpreter.core);
  }

  // MSRs are read and written to answer an access to one: nothing is settled here.
  readMsr(index: number): bigint {
    this.#open();
    const value = readMsr(this.#interpreter.core, index);
    if (value === undefined) throw noMsr(index, "the fake has no such MSR");
    return value;
  }

  writeMsr(index: number, value: bigint): void {
    this.#open();
    if (writeMsr(this.#interpreter.core, index, BigInt.asUintN(64, value))) return;
    throw noMsr(index, `the fake has no such MSR, or it does not take 0x${value.toString(16)}`);
  }

  xsave(): Uint8Array {
    this.#settled();
    return this.#interpreter.core.xsave.slice();
  }

  setXsave(area: Uint8Array): void {
    this.#settled();
    const own = this.#interpreter.core.xsave;
    if (area.length < 576) {
      throw new InputError(`An XSAVE area has at least 576 bytes; got ${area.length}`, {
        remedy: "change what xsave() gave, and set that",
      });
    }
    own.fill(0);
    own.set(area.subarray(0, own.length));
  }

  lapic(): never {
    throw noLapic();
  }

  setLapic(): never {
    throw noLapic();
  }

  events(): VcpuEvents {
    this.#settled();
    return readEvents(this.#interpreter.core);
  }

  setEvents(events: Partial<VcpuEvents>): void {
    this.#settled();
    writeEvents(this.#interpreter.core, events);
  }

  injectException(vector: number, errorCode?: number): void {
    this.#settled();
    if (!Number.isInteger(vector) || vector < 0 || vector > 31) {
      throw new InputError(`Exceptions have vectors 0 to 31; got ${vector}`, {
        remedy: "raise an interrupt input for the others",
      });
    }
    this.#interpreter.core.exception = { vector, ...(errorCode === undefined ? {} : { errorCode }) };
  }

  trapMsrs(indices: readonly number[]): void {
    this.#open();
    this.#interpreter.core.trappedMsrs = new Set(indices);
  }

  /** What is to be reported from now on. */
  report(wanted: readonly ReportRange[]): void {
    this.#open();
    this.#interpreter.core.reports.wanted = wanted;
  }

  /** Asks for an external interrupt. */
  request(vector: number): void {
    this.#interpreter.requests.add(vector);
  }

  /** Puts an interrupt controller on INTR, or takes it off. */
  wire(controller: InterruptAcknowledge | undefined): void {
    this.#interpreter.controller = controller;
  }

  /** Whether an event waits that the vCPU would take now, HLT or not. */
  get awake(): boolean {
    return this.#interpreter.awake;
  }

  /** Sends an NMI. */
  nmi(): void {
    this.#interpreter.core.nmiPending = true;
  }

  /** Back to power-on. */
  reset(): void {
    this.#open();
    this.#generation++;
    this.#stash = undefined;
    this.#interpreter.requests.clear();
    this.#interpreter.core.log.clear();
    this.#interpreter.core.reset();
  }

  /** Every later call says that the guest is closed. */
  close(): void {
    this.#closed = true;
  }

  /** Instructions retired when the present entry began. */
  #before = 0;

  /** What comes before the first instruction of an entry: a stashed exit, an open access, a kick. */
  #begin(): VmExit | undefined {
    this.#open();
    this.#generation++;
    this.#before = this.#interpreter.core.retired;
    const stash = this.#stash;
    this.#stash = undefined;
    if (stash !== undefined) return stash;
    const exit = this.#interpreter.resume();
    if (exit !== undefined) return exit;
    if (!this.#kicked) return undefined;
    this.#kicked = false;
    return { kind: "slice" };
  }

  #settled(): void {
    const exit = this.settle();
    if (exit !== undefined) this.#stash = exit;
  }

  #open(): void {
    if (this.#closed) throw new StateError("The guest is closed", "closed", { remedy: "open another one" });
  }
}

function noMsr(index: number, reason: string): UnsupportedError {
  return new UnsupportedError(`MSR 0x${index.toString(16)}`, reason, {
    remedy: "msrs() lists those there are",
  });
}

function noLapic(): UnsupportedError {
  return new UnsupportedError("lapic", "the fake has no local APIC", { remedy: "use the kvm backend" });
}
