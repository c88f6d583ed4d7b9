import type { Backend, BackendVcpu, MaybePromise, ParallelVcpus } from "./backend.ts";
import type { VmExit } from "./exit.ts";
import { breather, turn } from "./promise.ts";
import { SlicePace } from "./slice_pace.ts";
import type { StopCause } from "./stop.ts";

/** A stop, and which vCPU it concerns. */
export interface VcpuStop {
  readonly vcpu: BackendVcpu;
  readonly cause: StopCause;
}

/** A vCPU that is moved by instructions while the others run. */
export interface SteppedVcpu {
  readonly vcpu: BackendVcpu;
  /** Moves it by one instruction: a cause ends the run; "asleep" if it sleeps and executed nothing. */
  step(): MaybePromise<StopCause | "asleep" | undefined>;
}

/** What of the run loop a parallel run works with. */
export interface ParallelParts {
  readonly backend: Backend;
  readonly parallel: ParallelVcpus;
  /** What an exit means: a stop, or to go on. */
  judge(vcpu: BackendVcpu, exit: VmExit): MaybePromise<StopCause | undefined>;
  /**
   * The same for one that left while the machine was being stopped for another: an execute breakpoint is put back, to
   * be met again; what can't be done twice is judged.
   *
   * @returns A stop that is told next time, "again" for a breakpoint that was put back.
   */
  late(vcpu: BackendVcpu, exit: VmExit): Promise<StopCause | "again" | undefined>;
  /** Finishes an instruction in flight; gives a stop that its devices asked for. */
  settle(vcpu: BackendVcpu): Promise<StopCause | undefined>;
  /** Why a stop was asked for from outside. */
  request(): StopCause | undefined;
  /** What is done now and then: timers of devices, patches that the guest wrote over. */
  tend(): void;
  /** Milliseconds until a timer of a device is due; undefined if none waits. */
  due(): number | undefined;
  /** Runs a burst so that user code in it which never returns is stopped. */
  guarded<T>(burst: () => T): T;
}

/** How long the event loop is held while exits come; longer where its turn takes long. */
const BURST_MS = 5;
/** How long after an exit, or a doorbell, the thread is blocked for the next one: who blocks hears it soonest. */
const LIVELY_MS = 5;
/** How long it is blocked later, before it is waited in a way that leaves the event loop alive. */
const NEXT_MS = 0.3;
/** How long it is waited when nothing comes, before timers of devices and patches are looked at, and at most. */
const QUIET_MS = 1;
const QUIET_MOST_MS = 25;
/** How long the others run at least while one is stepped: it may wait for them. */
const BESIDE_MS = 1;
/** How long nothing comes before it is asked for the first time whether every vCPU sleeps for good, and at most. */
const ASLEEP_MS = 5;
const ASLEEP_MOST_MS = 100;

/** Runs vCPUs that each have a thread: answers whoever comes back, and stops the others when one stops. */
export class ParallelRun {
  readonly #parts: ParallelParts;
  /** Stops that came together with another: told at the next runs. */
  #left: VcpuStop[] = [];
  /** Where a vCPU stands before a breakpoint that was put back: the RIP of it. */
  readonly #again = new Map<BackendVcpu, bigint>();
  /** Whose exit is being judged. */
  #judging: BackendVcpu | undefined;
  #culprit: BackendVcpu | undefined;
  /** Who is started first: who comes behind the one that stopped last, which has its thread awake. */
  #first = 0;
  #quietSince = 0;
  #livelyUntil = 0;
  #askAfter = ASLEEP_MS;
  #rest = QUIET_MS;
  /** When it is to be done at the latest what is done now and then, and when the event loop has its turn. */
  #tendAt = 0;
  #turnAt = 0;
  readonly #pace = new SlicePace(BURST_MS);

  constructor(parts: ParallelParts) {
    this.#parts = parts;
  }

  /** Forgets whose exit was being judged: before a new run or step. */
  begin(): void {
    this.#judging = this.#culprit = undefined;
  }

  /** Whose exit was being judged when user code had to be ended. */
  get culprit(): BackendVcpu | undefined {
    return this.#culprit;
  }

  /** Looks at what was asked for now. */
  wake(): void {
    this.#parts.parallel.wake();
  }

  /** Whether `vcpu` stands before a breakpoint whose stop has not been told, so that it must not be stepped off. */
  owes(vcpu: BackendVcpu, rip: bigint): boolean {
    return this.#again.get(vcpu) === rip;
  }

  /** Forgets what has not been told: after a reset. */
  forget(): void {
    this.#left = [];
    this.#again.clear();
  }

  /**
   * Lets every vCPU run until one stops; then none runs.
   *
   * @returns Undefined if the vCPUs have no threads, or not any more.
   */
  async run(): Promise<VcpuStop | undefined> {
    const told = this.#untold();
    if (told !== undefined) return told;
    this.#again.clear();
    const { parallel } = this.#parts;
    if (!parallel.threaded) return undefined;
    await parallel.ready();
    if (!parallel.threaded) return undefined;
    return await this.#all(() => this.#untilStop()) ?? this.#untold();
  }

  /** The same while `stepped` does not run but is stepped, by itself and no longer than it is told to. */
  async beside(stepped: SteppedVcpu): Promise<VcpuStop> {
    const told = this.#untold();
    if (told !== undefined) return told;
    this.#again.clear();
    return await this.#all(() => this.#stepBeside(stepped), stepped.vcpu);
  }

  /** Starts every vCPU but `stepped`, and brings them back once `until` has given what it waits for. */
  async #all<T extends VcpuStop | undefined>(until: () => Promise<T>, stepped?: BackendVcpu): Promise<T> {
    const { parallel, backend } = this.#parts;
    const { vcpus } = backend;
    for (let i = 0; i < vcpus.length; i++) {
      const vcpu = vcpus[(this.#first + i) % vcpus.length];
      if (vcpu !== stepped) parallel.start(vcpu);
    }
    this.#active();
    let stopped: BackendVcpu | undefined;
    try {
      const stop = await until();
      stopped = stop?.vcpu;
      if (stopped !== undefined) this.#first = stopped.index + 1;
      return stop;
    } catch (error) {
      // A device or a condition that never returned.
      stopped = this.#culprit = this.#judging ?? stepped;
      throw error;
    } finally {
      await this.#stopOthers(stopped);
    }
  }

  /** The oldest stop that came together with another, unless its breakpoint was taken out meanwhile. */
  #untold(): VcpuStop | undefined {
    for (;;) {
      const next = this.#left.shift();
      if (next === undefined) return undefined;
      const { cause } = next;
      const breakpoint = "breakpoint" in cause ? cause.breakpoint : undefined;
      if (breakpoint === undefined || breakpoint.enabled) return next;
    }
  }

  /** Undefined once the only vCPU has lost its thread. */
  async #untilStop(): Promise<VcpuStop | undefined> {
    const { backend, parallel } = this.#parts;
    for (;;) {
      const met = await this.#guardedBurst();
      if (met !== undefined && met !== BUSY) return met;
      const due = this.#tend();
      const cause = this.#parts.request();
      if (cause !== undefined) return { vcpu: backend.vcpus[0], cause };
      if (!parallel.threaded) return undefined;
      const now = performance.now();
      if (met === BUSY || now < this.#livelyUntil) {
        if (now >= this.#turnAt) await this.#turn();
        continue;
      }
      if (performance.now() - this.#quietSince >= this.#askAfter) {
        if (await this.#allAsleep()) return { vcpu: backend.vcpus[0], cause: { kind: "halt" } };
      }
      // Looked at more and more seldom: each look costs something, and whoever has news wakes this up.
      await parallel.arrival(Math.max(0.1, Math.min(due, this.#rest)));
      this.#rest *= 2;
    }
  }

  /** Steps one vCPU and answers the others by turns. */
  async #stepBeside({ vcpu, step }: SteppedVcpu): Promise<VcpuStop> {
    const breathe = breather();
    const least = performance.now() + BESIDE_MS;
    let done: StopCause | undefined;
    for (;;) {
      const cause = done ?? this.#parts.request() ?? await step();
      if (cause !== undefined && cause !== "asleep") {
        if (cause.kind !== "step" || performance.now() >= least) return { vcpu, cause };
        done = cause;
      } else if (cause === "asleep" && performance.now() - this.#quietSince >= this.#askAfter) {
        if (await this.#allAsleep()) return { vcpu, cause: { kind: "halt" } };
      }
      const met = await this.#guardedBurst(done === undefined ? 0 : NEXT_MS);
      if (met !== undefined && met !== BUSY) {
        if (done === undefined) return met;
        // The steps were over already.
        this.#left.push(met);
        return { vcpu, cause: done };
      }
      this.#tend();
      await breathe();
    }
  }

  #guardedBurst(waitMs?: number): MaybePromise<VcpuStop | typeof BUSY | undefined> {
    try {
      return this.#parts.guarded(() => this.#burst(waitMs));
    } catch (error) {
      if (this.#judging !== undefined) throw error;
      // Nobody's code ran: a busy host kept this thread waiting for longer than a callback may take.
      return BUSY;
    }
  }

  /**
   * Answers exits for a while: a stop, BUSY if more may come at once, undefined if nothing came in `waitMs`; left out,
   * for as long as `#patience` says.
   */
  #burst(waitMs?: number): MaybePromise<VcpuStop | typeof BUSY | undefined> {
    const { parallel } = this.#parts;
    const end = performance.now() + BURST_MS;
    for (;;) {
      const arrival = parallel.next(waitMs ?? this.#patience(performance.now()));
      if (arrival === undefined) {
        if (!parallel.doorbells?.answer()) return undefined;
        this.#active();
        if (this.#parts.request() !== undefined || performance.now() > end) return BUSY;
        continue;
      }
      const { vcpu, exit } = arrival;
      if (exit.kind !== "slice") {
        this.#active();
        this.#judging = vcpu;
        const cause = this.#parts.judge(vcpu, exit);
        if (cause instanceof Promise) return cause.then((found) => this.#judged(vcpu, found) ?? BUSY);
        const stop = this.#judged(vcpu, cause);
        if (stop !== undefined) return stop;
      } else {
        this.#goOn(vcpu);
      }
      if (this.#parts.request() === undefined && performance.now() <= end) continue;
      // However many exits come, no doorbell waits for longer than a burst.
      parallel.doorbells?.answer(true);
      return BUSY;
    }
  }

  #judged(vcpu: BackendVcpu, cause: StopCause | undefined): VcpuStop | undefined {
    this.#judging = undefined;
    if (cause !== undefined) return { vcpu, cause };
    this.#goOn(vcpu);
    return undefined;
  }

  /** Unless a stop was asked for: it would have to come back at once. */
  #goOn(vcpu: BackendVcpu): void {
    if (this.#parts.request() === undefined) this.#parts.parallel.start(vcpu);
  }

  /** Does what is done now and then; gives milliseconds until it is to be done again, at most. */
  #tend(): number {
    this.#parts.tend();
    this.#tendAt = performance.now() + QUIET_MOST_MS;
    return Math.min(this.#parts.due() ?? QUIET_MOST_MS, QUIET_MOST_MS);
  }

  /** How long the thread is blocked for what comes next. */
  #patience(now: number): number {
    if (now >= this.#livelyUntil) return NEXT_MS;
    // Asked each time: what was answered last may have set a timer.
    const due = this.#parts.due() ?? QUIET_MOST_MS;
    return Math.max(0, Math.min(this.#livelyUntil - now, this.#turnAt - now, this.#tendAt - now, due));
  }

  /** The event loop's turn. */
  async #turn(): Promise<void> {
    this.#pace.ended(performance.now());
    await turn();
    const now = performance.now();
    this.#pace.begins(now);
    this.#turnAt = now + this.#pace.ms;
  }

  #active(): void {
    this.#quietSince = performance.now();
    this.#livelyUntil = this.#quietSince + LIVELY_MS;
    this.#askAfter = ASLEEP_MS;
    this.#rest = QUIET_MS;
  }

  /** Whether nothing can wake any vCPU; asked seldom, as each has to come back for it. */
  async #allAsleep(): Promise<boolean> {
    this.#quietSince = performance.now();
    this.#askAfter = Math.min(this.#askAfter * 2, ASLEEP_MOST_MS);
    for (const vcpu of this.#parts.backend.vcpus) {
      const idle = await vcpu.idle();
      if (idle !== "halted-forever" && idle !== "wait-for-sipi") return false;
    }
    return true;
  }

  /** Brings every vCPU back and finishes what each was at; `stopped` has told its stop. */
  async #stopOthers(stopped: BackendVcpu | undefined): Promise<void> {
    const { parallel, backend, late, settle } = this.#parts;
    parallel.hold();
    for (;;) {
      const arrival = parallel.next(0);
      if (arrival === undefined) break;
      const { vcpu, exit } = arrival;
      if (exit.kind === "slice") continue;
      const rest = await late(vcpu, exit);
      if (rest === "again") this.#again.set(vcpu, vcpu.rip);
      else if (rest !== undefined) this.#left.push({ vcpu, cause: rest });
    }
    // Whoever looks at the guest now finds done what it has rung for.
    parallel.doorbells?.answer(true);
    for (const vcpu of backend.vcpus) {
      if (vcpu === stopped) continue;
      const rest = await settle(vcpu);
      if (rest !== undefined) this.#left.push({ vcpu, cause: rest });
    }
  }
}

const BUSY = Symbol("more may come at once");
