import type { BackendVcpu, CpuidEntry, MaybePromise, StepOptions, Traps, VcpuEvents } from "../vm/backend.ts";
import { HvshError, UnsupportedError } from "../vm/errors.ts";
import type { DebugExit, VmExit } from "../vm/exit.ts";
import type { RegisterName, Registers, RegisterValues } from "../vm/registers.ts";
import { linearRip } from "../x86/mode.ts";
import { GoneError } from "./gone.ts";
import type { Machine } from "./machine.ts";
import { textOf } from "./packets.ts";
import { planWrite } from "./register_plan.ts";
import { asRegisters, Snapshot } from "./snapshot.ts";
import { SIGABRT, SIGINT, SIGQUIT, SIGTRAP, type StopReply } from "./stop_reply.ts";

/** How long the guest runs at most before the event loop gets its turn. */
const SLICE_MS = 5;
/** DR6.BS: a single step is done. */
const BS = 1n << 14n;
const IF = 1n << 9n;
const SLICE: VmExit = { kind: "slice" };
const RECORDING_ENDS: VmExit = { kind: "unsupported", reason: "the recording ends here" };

/** MSRs that stubs show as registers. */
const MSRS: ReadonlyMap<number, RegisterName | "k_gs_base"> = new Map<number, RegisterName | "k_gs_base">([
  [0xc000_0080, "efer"],
  [0xc000_0100, "fs_base"],
  [0xc000_0101, "gs_base"],
  [0xc000_0102, "k_gs_base"],
]);

/** One vCPU of a guest behind a stub. All of them run and stop together. */
export class RemoteVcpu implements BackendVcpu {
  readonly index: number;
  readonly #machine: Machine;
  #latest: Snapshot | undefined;
  /** A step was begun, and its end has not been told. */
  #stepping = false;
  /** Slices since the guest was last stopped: how often it is asked whether it sleeps. */
  #slices = 0;
  /** It was seen in HLT with interrupts off in the slice before. */
  #maybeAsleep = false;
  /**
   * The next stop may tell of nothing that the guest did. After a step that a watchpoint told of, QEMU's translator tells
   * of it again, without the watchpoint, before it lets the guest go on: the step's end and the watchpoint are two debug
   * events to it.
   */
  #echo = false;
  /** The answer to `g` when the guest was let go on from there. */
  #echoOf: string | undefined;

  constructor(index: number, machine: Machine) {
    this.index = index;
    this.#machine = machine;
    machine.session.beforeRunning(() => {
      this.#latest?.materialise();
      this.#latest = undefined;
      if (this.#echo) this.#echoOf = this.#general();
    });
  }

  get rip(): bigint {
    return this.registers().rip;
  }

  run(): MaybePromise<VmExit> {
    return this.#guarded((): MaybePromise<VmExit> => {
      this.#stepping = false;
      const { session } = this.#machine;
      const waiting = this.#machine.takeExit(this.index);
      if (waiting !== undefined) return waiting;
      const kept = session.running ? undefined : session.kept();
      const exit = kept && this.#told(kept);
      // It stopped by itself while it was asked to: that is told before it runs on, unless its breakpoint is no more.
      if (exit !== undefined && !(exit.kind === "unsupported" && isTrap(kept!))) return exit;
      if (!session.running) {
        this.#slices = 0;
        this.#maybeAsleep = false;
        if (this.#machine.history?.arm(false) === false) return RECORDING_ENDS;
        session.resume();
      }
      const reply = this.#machine.wait(SLICE_MS / session.threads.length);
      if (reply !== undefined) return this.#told(reply);
      return this.#machine.history?.stalled ? this.#pass(false) : this.#runsOn();
    });
  }

  step({ interrupts = false }: StepOptions = {}): MaybePromise<VmExit> {
    return this.#guarded((): MaybePromise<VmExit> => {
      const { session } = this.#machine;
      const waiting = this.#machine.takeExit(this.index);
      if (waiting !== undefined) return waiting;
      if (!this.#stepping || !session.running) {
        session.halt();
        session.forgetStop();
        if (this.#machine.history?.arm(true) === false) return RECORDING_ENDS;
        session.resumeStep(this, interrupts);
        this.#stepping = true;
      }
      const reply = this.#machine.wait(SLICE_MS);
      if (reply !== undefined) {
        this.#stepping = false;
        return this.#told(reply, true);
      }
      if (this.#machine.exited !== undefined) return this.#runsOn();
      if (this.#machine.history?.stalled) {
        this.#stepping = false;
        return this.#pass(true);
      }
      // HLT is a whole instruction, but the stub does not stop a vCPU that sleeps.
      if (this.#machine.dump(this.index)?.halted !== true) return SLICE;
      session.halt();
      this.#stepping = false;
      return this.#stepDone(0);
    });
  }

  settle(): VmExit | undefined {
    this.#unlessGone(() => this.#machine.session.halt(), undefined);
    this.#stepping = false;
    return undefined;
  }

  /** Nothing to do: a run is over after its slice. */
  kick(): void {}

  setTraps(traps: Traps): void {
    this.#unlessGone(() => {
      this.#machine.session.halt();
      // The stub's breakpoints are those of all vCPUs.
      if (this.index === 0) this.#machine.traps.set(traps);
    }, undefined);
  }

  idle(): "no" | "halted" | "halted-forever" {
    return this.#unlessGone(() => this.#idle(), "no");
  }

  #idle(): "no" | "halted" | "halted-forever" {
    const { session } = this.#machine;
    if (!session.running) return "no";
    // At once, and then less and less often: asking costs the guest a part of its slice.
    const slice = this.#slices++;
    if ((slice & (slice - 1)) !== 0 && slice % 8 !== 0 && !this.#maybeAsleep) return "no";
    const dump = this.#machine.dump(this.index);
    const before = this.#maybeAsleep;
    this.#maybeAsleep = dump?.halted === true && ((dump.values.get("rflags") ?? IF) & IF) === 0n;
    if (dump?.halted !== true) return "no";
    // A reset or a power-off that the guest asked for just before is told by QEMU a moment later: only what still
    // sleeps a slice later sleeps for good.
    return this.#maybeAsleep && before ? "halted-forever" : "halted";
  }

  registers(): Registers {
    this.#unlessGone(() => this.#machine.session.halt(), undefined);
    this.#latest ??= new Snapshot(this.#machine.source(this.index));
    return asRegisters(this.#latest);
  }

  setRegisters(values: RegisterValues): void {
    const { session } = this.#machine;
    session.halt();
    planWrite(this.#machine, this.index, this.registers(), values);
    this.changed();
  }

  /** Something other than running changed it: snapshots of before are of the past. */
  changed(): void {
    this.#latest?.complete();
    this.#latest = undefined;
    this.#machine.session.generation++;
  }

  msrs(): readonly number[] {
    const values = this.registers();
    return [...MSRS].filter(([, name]) => name === "k_gs_base" || values[name] !== undefined).map(([index]) =>
      index
    );
  }

  readMsr(index: number): bigint {
    const name = this.#msr(index);
    if (name !== "k_gs_base") return this.registers()[name];
    const value = this.#machine.file.extra(name, this.#machine.general(this.index));
    return value ?? this.#noMsr(index);
  }

  writeMsr(index: number, value: bigint): void {
    const name = this.#msr(index);
    if (name !== "k_gs_base") return this.setRegisters({ [name]: value });
    const { session, file } = this.#machine;
    session.halt();
    session.select(this.index);
    session.command(file.write(name, value) ?? this.#noMsr(index));
    this.changed();
  }

  cpuid(): readonly CpuidEntry[] {
    return this.#machine.refuse("cpuid");
  }

  xsave(): Uint8Array {
    return this.#machine.refuse("xsave");
  }

  setXsave(_area: Uint8Array): void {
    this.#machine.refuse("xsave");
  }

  lapic(): Uint8Array {
    return this.#machine.refuse("lapic");
  }

  setLapic(_page: Uint8Array): void {
    this.#machine.refuse("lapic");
  }

  events(): VcpuEvents {
    return this.#machine.refuse("events");
  }

  setEvents(_events: Partial<VcpuEvents>): void {
    this.#machine.refuse("events");
  }

  injectException(_vector: number, _errorCode?: number): void {
    this.#machine.refuse("exceptions");
  }

  trapMsrs(indices: readonly number[]): void {
    if (indices.length > 0) this.#machine.refuse("msr-exits");
  }

  /** Does something that a guest which is gone needs no more; that it is gone is the next run's to tell. */
  #unlessGone<T>(body: () => T, otherwise: T): T {
    if (this.#machine.isLost) return otherwise;
    try {
      return body();
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      this.#machine.lost(error.message);
      return otherwise;
    }
  }

  /** Takes a replay that does not go on past its next instruction. */
  async #pass(stepped: boolean): Promise<VmExit> {
    const { session, history } = this.#machine;
    try {
      session.halt();
      // Late, but it came.
      const reply = session.kept();
      if (reply !== undefined) return this.#told(reply, stepped);
      const told = stepped && history!.moved ? undefined : await history!.pass();
      if (told !== undefined) return this.trapped(told, stepped);
      return stepped ? this.#stepDone(0) : this.#arrived();
    } catch (error) {
      if (error instanceof GoneError) return this.#machine.lost(error.message);
      if (!(error instanceof HvshError)) throw error;
      return { kind: "unsupported", reason: `${error.message}: ${error.remedy}` };
    }
  }

  /** What it would have met where it stands now. */
  #arrived(): VmExit {
    const exit = this.trapped({ kind: "signal", signal: SIGTRAP }, false);
    return exit.kind === "debug" ? exit : SLICE;
  }

  /** A guest that is gone is an exit, whatever was asked of it. */
  #guarded(body: () => MaybePromise<VmExit>): MaybePromise<VmExit> {
    try {
      return this.#machine.gone ?? body();
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      return this.#machine.lost(error.message);
    }
  }

  /** Nothing stopped it in this slice, but its debug-exit port may have been written. */
  #runsOn(): VmExit {
    const code = this.#machine.exited;
    if (code === undefined) return SLICE;
    this.#machine.exited = undefined;
    this.#machine.session.halt();
    return { kind: "exit", code };
  }

  /** A stop reply as an exit; one of another vCPU is kept until that one is asked. */
  #told(reply: StopReply, stepped = false): VmExit {
    const { session } = this.#machine;
    if (reply.kind === "ended") return this.#machine.lost(reply.reason);
    const index = reply.thread === undefined ? this.index : session.threads.indexOf(reply.thread);
    if (reply.signal === SIGQUIT) return this.#machine.shutDown();
    if (reply.signal === SIGINT) {
      // It runs on by the next slice, unless it may not.
      const met = this.#machine.history?.met() ?? false;
      if (met !== false) return met === true ? SLICE : this.trapped(met, false);
      return { kind: "unsupported", reason: "the guest was paused by somebody else" };
    }
    if (reply.signal === SIGABRT) {
      return {
        kind: "internal-error",
        suberror: 0,
        reason: "QEMU met an internal error and stopped the guest",
      };
    }
    if (reply.signal !== SIGTRAP) {
      return { kind: "unsupported", reason: `the stub stopped the guest with signal ${reply.signal}` };
    }
    if (this.#machine.vcpus[index >= 0 ? index : this.index].#again(reply)) return SLICE;
    if (index !== this.index && index >= 0) {
      this.#machine.keepExit(index, this.#machine.vcpus[index].trapped(reply, false));
      return SLICE;
    }
    return this.trapped(reply, stepped);
  }

  /** The next stop may tell of nothing that the guest did: it is gone on from that. */
  echoes(): void {
    this.#echo = true;
  }

  /** Whether that tells of a guest that did nothing; it is to go on then. */
  #again({ watch }: StopReply & { kind: "signal" }): boolean {
    const told = this.#echo && watch === undefined && this.#echoOf === this.#general();
    this.#echo = false;
    return told;
  }

  #general(): string {
    return textOf(this.#machine.general(this.index));
  }

  /** SIGTRAP on this vCPU: a step's end, or which breakpoints. */
  trapped(reply: StopReply & { kind: "signal" }, stepped: boolean): VmExit {
    const { traps } = this.#machine;
    if (stepped) {
      if (reply.watch === undefined) return this.#stepDone(0);
      this.echoes();
      return this.#stepDone(traps.explain(reply, -1n).hits);
    }
    const pc = linearRip(this.registers());
    const { hits, other } = traps.explain(reply, pc);
    if (hits === 0 && !other) {
      return { kind: "unsupported", reason: "the stub reports a breakpoint that hvsh did not set" };
    }
    return { kind: "debug", exception: 1, dr6: BigInt(hits), hits, pc, ...(other && { remote: true }) };
  }

  #stepDone(hits: number): DebugExit {
    return new StepDone(this, hits);
  }

  #msr(index: number): RegisterName | "k_gs_base" {
    return MSRS.get(index) ?? this.#noMsr(index);
  }

  #noMsr(index: number): never {
    throw new UnsupportedError(`MSR 0x${index.toString(16)}`, "the stub does not show it", {
      remedy: "see msrs() for those that it shows",
    });
  }
}

function isTrap(reply: StopReply): boolean {
  return reply.kind === "signal" && reply.signal === SIGTRAP;
}

/** The end of a step; where it led is asked for by few. */
class StepDone implements DebugExit {
  readonly kind = "debug";
  readonly exception = 1;
  readonly dr6: bigint;
  readonly hits: number;
  readonly #vcpu: RemoteVcpu;

  constructor(vcpu: RemoteVcpu, hits: number) {
    this.#vcpu = vcpu;
    this.hits = hits;
    this.dr6 = hits === 0 ? BS : BS | BigInt(hits);
  }

  get pc(): bigint {
    return linearRip(this.#vcpu.registers());
  }
}
