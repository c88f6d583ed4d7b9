import { AccessRows } from "./access_row.ts";
import type { AccessRow, Backend, BackendVcpu, MaybePromise, StepOptions } from "./backend.ts";
import { need } from "./capabilities.ts";
import type { Device } from "./device.ts";
import { type Buses, dispatch } from "./dispatch.ts";
import { answerMsr, deviceFault, stopOf } from "./answers.ts";
import { UnsupportedError } from "./errors.ts";
import { type AccessExit, type DebugExit, isAccess, type ReportExit, type VmExit } from "./exit.ts";
import { ParallelRun, type SteppedVcpu, type VcpuStop } from "./parallel_run.ts";
import { then, turn } from "./promise.ts";
import type { StopCause } from "./stop.ts";

export type { VcpuStop } from "./parallel_run.ts";

/** Every so many exits a burst looks at the clock, more often at its start; and what it lasts at most then. */
const BURST_CHECK = 256;
const BURST_MS = 50;

/** What `trap` says of an exit that is none of the debugger's. */
export const NOT_OURS = Symbol("not the debugger's");

/** An exit that may be a breakpoint: #DB, #BP, or what a patch in the guest's code forces. */
export type TrapExit = DebugExit | { readonly kind: "halt" } | AccessExit;

/** The debugger, as the run loop sees it. */
export interface Supervisor {
  /** Port whose OUT is a breakpoint's patch; -1 if there is none. */
  readonly trapPort: number;
  /** Whether `accessed` wants to be asked. */
  readonly watchesAccesses: boolean;
  /** Whether pages are read-only for the debugger's sake, so that MMIO writes may be its own. */
  readonly guardsPages: boolean;
  /**
   * An exit that may be a breakpoint: a stop, `undefined` to go on, or `NOT_OURS`.
   *
   * @param putBack Given while the machine is being stopped for another vCPU: an execute breakpoint is not judged, but
   * RIP stands before it, so that it will be met again, and this is called.
   */
  trap(
    vcpu: BackendVcpu,
    exit: TrapExit,
    putBack?: () => void,
  ): MaybePromise<StopCause | undefined | typeof NOT_OURS>;
  /** Before an access is answered: breakpoints look whether the guest has loaded code over them. */
  accessing(): void;
  /** After a device has answered an access. */
  accessed(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined>;
  /** What a hypervisor reports that the guest does: whether it stops. */
  reported(vcpu: BackendVcpu, exit: ReportExit): MaybePromise<StopCause | undefined>;
  /** At each end of a time slice. */
  sliceEnded(vcpu: BackendVcpu): void;
}

/** Keeps the newest accesses. */
export interface Recorder {
  access(vcpu: BackendVcpu, exit: AccessExit, device: Device | undefined): void;
  other(vcpu: BackendVcpu, exit: VmExit): void;
}

/** Timers of devices: polled between slices. */
export interface LoopClock {
  /** Runs the callbacks that are due. */
  poll(): unknown;
  /** Nanoseconds until the next one is due; undefined when none waits. */
  readonly next?: bigint;
}

/** Runs a machine's vCPUs until something stops it: devices answer accesses, the supervisor judges the rest. */
export class RunLoop {
  #request: StopCause | undefined;
  #asked: (() => void) | undefined;
  readonly #backend: Backend;
  readonly #buses: Buses;
  readonly #supervisor: Supervisor;
  readonly #recorder: Recorder;
  /** Runs a burst so that user code in it which never returns is stopped. */
  readonly #guarded: <T>(burst: () => T) => T;
  readonly #clock: LoopClock | undefined;
  readonly #rows: AccessRows;
  readonly #parallel: ParallelRun | undefined;
  /** Set while exits are judged that came when the machine was being stopped already. */
  #putBack: (() => void) | undefined;
  #bursting = false;
  #answering: AccessExit | undefined;

  constructor(
    backend: Backend,
    buses: Buses,
    supervisor: Supervisor,
    recorder: Recorder,
    guarded: <T>(burst: () => T) => T = (burst) => burst(),
    clock?: LoopClock,
  ) {
    this.#clock = clock;
    this.#backend = backend;
    this.#buses = buses;
    this.#supervisor = supervisor;
    this.#recorder = recorder;
    this.#guarded = guarded;
    this.#rows = new AccessRows({
      buses,
      guarded,
      answered: (vcpu, exit, device) => recorder.access(vcpu, exit, device),
      forDevices: (exit) => !supervisor.watchesAccesses && !this.#mayTrap(exit),
      stopping: () => this.#request !== undefined,
    });
    this.#parallel = backend.parallel && new ParallelRun({
      backend,
      parallel: backend.parallel,
      judge: (vcpu, exit) => this.#judge(vcpu, exit),
      late: (vcpu, exit) => this.#late(vcpu, exit),
      settle: (vcpu) => this.#settleQuietly(vcpu),
      request: () => this.#request,
      tend: () => {
        this.#supervisor.sliceEnded(backend.vcpus[0]);
        this.#clock?.poll();
      },
      due: () => {
        const next = this.#clock?.next;
        return next === undefined ? undefined : Number(next) / 1e6;
      },
      guarded: (burst) => this.#guardedly(burst),
    });
  }

  /** Brings every vCPU back that runs beside the caller: what the guest executes may be changed. */
  hold(): void {
    this.#backend.parallel?.hold();
  }

  /** Whether `vcpu` stands before a breakpoint whose stop has not been told. */
  owes(vcpu: BackendVcpu, rip: bigint): boolean {
    return this.#parallel?.owes(vcpu, rip) ?? false;
  }

  /** Forgets stops that have not been told: after a reset. */
  forget(): void {
    this.#parallel?.forget();
  }

  /** The vCPU whose exit was being answered when user code had to be ended, where it is known. */
  get culprit(): BackendVcpu | undefined {
    return this.#parallel?.culprit;
  }

  /** Why the loop was asked to stop, if it was. */
  get request(): StopCause | undefined {
    return this.#request;
  }

  /** Asks from outside (pause, a time limit, a device) for a stop at the next chance; the first cause counts. */
  ask(cause: StopCause): void {
    this.#request ??= cause;
    this.#asked?.();
    this.#parallel?.wake();
  }

  /** Forgets what was asked for: before a new run. */
  begin(): void {
    this.#request = undefined;
    this.#parallel?.begin();
  }

  /** Waits for `answer`, but no longer than until a stop is asked for: then `undefined`. */
  async unlessAsked<T>(answer: Promise<T>): Promise<T | undefined> {
    if (this.#request !== undefined) return undefined;
    const asked = new Promise<undefined>((resolve) => this.#asked = () => resolve(undefined));
    try {
      return await Promise.race([answer, asked]);
    } finally {
      this.#asked = undefined;
    }
  }

  /** Whose turn is first: who comes behind the one that stopped last, which would else stop again before the rest ran. */
  #first = 0;

  /** Lets every vCPU run, each for a slice in turn, until one stops. */
  async run(): Promise<VcpuStop> {
    for (;;) {
      const stop = await this.#parallel?.run() ?? await this.#runHere();
      if (stop !== undefined) return stop;
    }
  }

  /** The same on this thread; undefined as soon as the only vCPU has got one of its own. */
  async #runHere(): Promise<VcpuStop | undefined> {
    const { vcpus, parallel } = this.#backend;
    while (!parallel?.threaded) {
      let asleep = 0;
      for (let i = 0, first = this.#first; i < vcpus.length; i++) {
        const vcpu = vcpus[(first + i) % vcpus.length];
        // One that waits for SIPI would sleep through its slice while others have work.
        const started = vcpus.length === 1 || await vcpu.idle() !== "wait-for-sipi";
        const cause = started ? await this.#guardedBurst(vcpu) : ASLEEP;
        if (cause === ASLEEP) asleep++;
        else if (cause !== undefined) {
          this.#first = vcpu.index + 1;
          return { vcpu, cause };
        }
      }
      this.#clock?.poll();
      if (this.#request !== undefined) return { vcpu: vcpus[0], cause: this.#request };
      if (asleep === vcpus.length) await new Promise((resolve) => setTimeout(resolve, 1));
      else await turn();
    }
    return undefined;
  }

  /**
   * Steps one vCPU while every other one runs, until something stops one of them.
   *
   * @throws {UnsupportedError} If vCPUs do not run at the same time on this backend.
   */
  beside(stepped: SteppedVcpu): Promise<VcpuStop> {
    if (this.#parallel !== undefined) return this.#parallel.beside(stepped);
    need(this.#backend.capabilities, "step-beside");
    throw new UnsupportedError("step-beside", "vCPUs take turns on this backend", {
      remedy: "leave `others` out: they stand still meanwhile",
    });
  }

  /** Runs one instruction of `vcpu` to its end. `undefined` if nothing but the instruction happened. */
  step(vcpu: BackendVcpu, options?: StepOptions): MaybePromise<StopCause | undefined> {
    const exit = vcpu.step(options);
    return exit instanceof Promise
      ? exit.then((e) => this.finishStep(vcpu, e, options))
      : this.finishStep(vcpu, exit, options);
  }

  /** The same from the step's first exit on. */
  finishStep(vcpu: BackendVcpu, exit: VmExit, options?: StepOptions): MaybePromise<StopCause | undefined> {
    const { parallel } = this.#backend;
    if (parallel?.threaded) parallel.doorbells?.answer(true);
    // One that slept in HLT has been moved on.
    if (exit.kind === "debug" && this.#halted.size > 0) this.#halted.delete(vcpu);
    if (exit.kind === "debug" && exit.exception !== BP && hitsOf(exit) === 0) return undefined;
    const next = this.#afterStep(vcpu, exit, options);
    return next === AGAIN ? this.step(vcpu, options) : next;
  }

  /** Finishes what `vcpu` left half done, so that its registers and memory may be looked at and changed. */
  settle(vcpu: BackendVcpu): MaybePromise<void> {
    for (;;) {
      const exit = vcpu.settle();
      if (exit === undefined) return;
      if (exit instanceof Promise) {
        return exit.then((e) =>
          e === undefined ? undefined : (this.#answerQuietly(vcpu, e), this.settle(vcpu))
        );
      }
      this.#answerQuietly(vcpu, exit);
    }
  }

  /** The device that was answering when user code had to be ended; undefined if none was. */
  get answering(): string | undefined {
    const exit = this.#answering;
    if (exit === undefined || "index" in exit) return undefined;
    const range = "port" in exit ? this.#buses.port.find(exit.port) : this.#buses.mmio.find(exit.address);
    return range?.device.name;
  }

  #guardedBurst(vcpu: BackendVcpu): MaybePromise<StopCause | typeof ASLEEP | undefined> {
    return this.#guardedly(() => this.#burst(vcpu));
  }

  #guardedly<T>(burst: () => T): T {
    this.#answering = undefined;
    // Conditions and devices are ended one by one there, and not in the middle of what the backend does.
    if (this.#backend.slow) return burst();
    this.#bursting = true;
    try {
      return this.#guarded(burst);
    } finally {
      this.#bursting = false;
    }
  }

  /** Judges the exit of a vCPU that left while the machine was being stopped for another. */
  async #late(vcpu: BackendVcpu, exit: VmExit): Promise<StopCause | "again" | undefined> {
    // What its devices ask for is its own stop, whatever stopped the machine first.
    const asked = this.#request;
    this.#request = undefined;
    let again = false;
    this.#putBack = () => again = true;
    try {
      const cause = await this.#judge(vcpu, exit);
      return again ? "again" : cause;
    } catch (error) {
      return { kind: "fault", reason: error instanceof Error ? error.message : String(error), error };
    } finally {
      this.#putBack = undefined;
      this.#request = asked;
    }
  }

  /** Finishes what `vcpu` is at; gives a stop that a device asked for meanwhile. */
  async #settleQuietly(vcpu: BackendVcpu): Promise<StopCause | undefined> {
    const asked = this.#request;
    this.#request = undefined;
    try {
      await this.settle(vcpu);
      return this.#request;
    } finally {
      this.#request = asked;
    }
  }

  /**
   * One vCPU until the end of its slice (`undefined`), or a stop. KVM looks at no signal while a string instruction goes
   * on from one MMIO access to the next, 1024 times at most (Linux, x86_emulate_insn): on a slow host that takes
   * seconds, and the burst ends by itself before.
   */
  #burst(vcpu: BackendVcpu): MaybePromise<StopCause | typeof ASLEEP | undefined> {
    let exits = 0;
    let check = 2;
    const began = performance.now();
    for (;;) {
      if (++exits === check) {
        if (performance.now() - began > BURST_MS) return undefined;
        // Exits may take milliseconds each: the next look is no further away than the burst has come.
        check += Math.min(check, BURST_CHECK);
      }
      if (this.#request !== undefined || this.#backend.parallel?.threaded) return undefined;
      if (this.#halted.size > 0 && this.#halted.has(vcpu)) {
        if (!this.#backend.interrupts?.pending(vcpu.index)) return ASLEEP;
        this.#halted.delete(vcpu);
      }
      const exit = vcpu.run();
      if (exit instanceof Promise) return exit.then((e) => this.#afterRun(vcpu, e));
      if (exit.kind === "slice") return this.#slice(vcpu);
      const cause = vcpu.row === undefined ? this.#judge(vcpu, exit) : this.#inRow(vcpu, vcpu.row, exit);
      if (cause !== undefined) return cause;
    }
  }

  #inRow(vcpu: BackendVcpu, row: AccessRow, first: VmExit): MaybePromise<StopCause | undefined> {
    const met = this.#rows.answer(vcpu, row, first);
    if (met === undefined) return this.#request;
    return "cause" in met ? met.cause : this.#judge(vcpu, met.exit);
  }

  #afterRun(vcpu: BackendVcpu, exit: VmExit): MaybePromise<StopCause | typeof ASLEEP | undefined> {
    return exit.kind === "slice" ? this.#slice(vcpu) : this.#judge(vcpu, exit);
  }

  /** vCPUs that executed HLT with IF = 1 where the hypervisor has no irqchip to wake them. */
  readonly #halted = new Set<BackendVcpu>();

  #slice(vcpu: BackendVcpu): MaybePromise<StopCause | undefined> {
    this.#supervisor.sliceEnded(vcpu);
    return then(vcpu.idle(), (idle) => {
      if (idle !== "halted-forever") return undefined;
      return this.#backend.vcpus.length === 1 ? { kind: "halt" } : this.#allAsleep(vcpu);
    });
  }

  /** Whether `vcpu` sleeps for good: so do all others, or they wait for one that does not. */
  async #allAsleep(vcpu: BackendVcpu): Promise<StopCause | undefined> {
    for (const other of this.#backend.vcpus) {
      if (other === vcpu) continue;
      const idle = await other.idle();
      if (idle !== "halted-forever" && idle !== "wait-for-sipi") return undefined;
    }
    return { kind: "halt" };
  }

  /** Decides what an exit means; `undefined` goes on. */
  #judge(vcpu: BackendVcpu, exit: VmExit): MaybePromise<StopCause | undefined> {
    if (isAccess(exit)) return this.#access(vcpu, exit);
    this.#recorder.other(vcpu, exit);
    switch (exit.kind) {
      case "debug":
        return then(
          this.#supervisor.trap(vcpu, exit, this.#putBack),
          (verdict) => verdict === NOT_OURS ? this.#reflect(vcpu, exit) : verdict,
        );
      case "halt":
        return then(
          this.#supervisor.trap(vcpu, exit, this.#putBack),
          (verdict) => verdict === NOT_OURS ? this.#halt(vcpu) : verdict,
        );
      case "report":
        return this.#supervisor.reported(vcpu, exit);
      case "slice":
      case "irq-window":
        return undefined;
      default:
        return stopOf(exit);
    }
  }

  #access(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined> {
    if (this.#mayTrap(exit)) {
      return then(
        this.#supervisor.trap(vcpu, exit, this.#putBack),
        (verdict) => verdict === NOT_OURS ? this.#answer(vcpu, exit) : verdict,
      );
    }
    return this.#answer(vcpu, exit);
  }

  /** Whether it may be the debugger's doing. */
  #mayTrap(exit: AccessExit): boolean {
    const { trapPort, guardsPages } = this.#supervisor;
    return (exit.kind === "io-out" && exit.port === trapPort) || (exit.kind === "mmio-write" && guardsPages);
  }

  #answer(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined> {
    this.#supervisor.accessing();
    if ("index" in exit) {
      return then(answerMsr(vcpu, exit), () => this.#answered(vcpu, exit, undefined));
    }
    let device: Device | undefined;
    this.#answering = exit;
    try {
      device = this.#bursting
        ? dispatch(exit, this.#buses)
        : this.#guarded(() => dispatch(exit, this.#buses));
    } catch (error) {
      this.#answering = undefined;
      this.#recorder.access(vcpu, exit, undefined);
      return deviceFault(vcpu, exit, this.#buses, error);
    }
    this.#answering = undefined;
    return this.#answered(vcpu, exit, device);
  }

  #answered(
    vcpu: BackendVcpu,
    exit: AccessExit,
    device: Device | undefined,
  ): MaybePromise<StopCause | undefined> {
    this.#recorder.access(vcpu, exit, device);
    if (this.#supervisor.watchesAccesses) {
      return then(this.#supervisor.accessed(vcpu, exit), (cause) => cause ?? this.#request);
    }
    return this.#request;
  }

  /** Answers what turns up while settling: the machine stops anyway, so that its verdict is not asked. */
  #answerQuietly(vcpu: BackendVcpu, exit: VmExit): void {
    if (!isAccess(exit)) return;
    const cause = this.#answer(vcpu, exit);
    if (!(cause instanceof Promise) && cause !== undefined) this.ask(cause);
  }

  #afterStep(
    vcpu: BackendVcpu,
    exit: VmExit,
    options: StepOptions | undefined,
  ): MaybePromise<StopCause | undefined> | typeof AGAIN {
    if (exit.kind === "debug") return this.#stepped(vcpu, exit, options);
    if (exit.kind === "slice") {
      // A vCPU that sleeps for ever never executes the instruction that was to be stepped.
      return then(vcpu.idle(), (idle): MaybePromise<StopCause | undefined> => {
        if (options?.inTurn === true && idle !== "no") return undefined;
        // As one never does that waits for another vCPU, which stands still.
        if (idle === "halted-forever" || idle === "wait-for-sipi") return { kind: "halt" };
        return turn().then(() => this.#request ?? this.step(vcpu, options));
      });
    }
    // The next exit may come in the same object.
    const whole = isWhole(exit);
    const cause = this.#judge(vcpu, exit);
    if (cause instanceof Promise) {
      return cause.then((c) => c ?? (whole ? undefined : this.step(vcpu, options)));
    }
    if (cause !== undefined) return cause;
    return whole ? undefined : AGAIN;
  }

  /** A step is done; a watchpoint may have fired with it. The guest's own INT3 goes to its handler. */
  #stepped(
    vcpu: BackendVcpu,
    exit: DebugExit,
    options: StepOptions | undefined,
  ): MaybePromise<StopCause | undefined> {
    if (exit.exception === BP) return then(this.#reflect(vcpu, exit), () => this.step(vcpu, options));
    if (hitsOf(exit) === 0) return undefined;
    return then(
      this.#supervisor.trap(vcpu, exit),
      (verdict) => verdict === NOT_OURS ? undefined : verdict,
    );
  }

  /** The guest's own HLT, with nothing in the hypervisor to wake it (SDM vol. 2, HLT). */
  #halt(vcpu: BackendVcpu): MaybePromise<StopCause | undefined> {
    return then(vcpu.registers(), (registers) => {
      if ((registers.rflags & IF) === 0n && !this.#backend.interrupts?.pending(vcpu.index)) {
        return { kind: "halt" };
      }
      this.#halted.add(vcpu);
      return undefined;
    });
  }

  /** A #DB or #BP of the guest's own doing goes to its handler. */
  #reflect(vcpu: BackendVcpu, exit: DebugExit): MaybePromise<undefined> {
    return then(vcpu.injectException(exit.exception), () => undefined);
  }
}

/** Whether the instruction that was to be stepped is done: HLT with IF = 1, behind which the vCPU sleeps, is. */
function isWhole(exit: VmExit): boolean {
  return exit.kind === "halt" || (exit.kind === "report" && exit.done);
}

const IF = 1n << 9n;
/** DR6.B0 to B3: which debug registers matched (SDM vol. 3B, 17.2.3). */
const DR6_HITS = 0xfn;
/** Those of an exit, as a number. */
function hitsOf(exit: DebugExit): number {
  return exit.hits ?? Number(exit.dr6 & DR6_HITS);
}
/** The vector of INT3. */
const BP = 3;
const AGAIN = Symbol("the instruction is not finished");
const ASLEEP = Symbol("the vCPU sleeps until an interrupt");
