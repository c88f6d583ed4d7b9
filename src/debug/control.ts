import type { BackendVcpu, MaybePromise, StepOptions } from "../vm/backend.ts";
import { checkOptions, checkTimeout } from "../vm/check.ts";
import { HvshError, InputError, StateError } from "../vm/errors.ts";
import type { VcpuStop } from "../vm/loop.ts";
import type { RunLimit, StepRequest, Vcpu } from "../vm/machine.ts";
import { then, Turns } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { Stop, StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import { guarded, isRunaway } from "./guard.ts";
import type { Patches } from "./patches.ts";
import { STEPPED, Steps, type StepsParts } from "./steps.ts";
import { StopFeed } from "./stop_feed.ts";
import { notNow } from "./vcpu.ts";

/** What run control works with. */
export interface ControlParts extends StepsParts {
  readonly patches: Patches;
  readonly vcpus: readonly Vcpu[];
  /** Device time; stands still while the guest does. */
  readonly clock: { pause(): void; resume(): void };
}

/** Starts and stops the guest, one thing at a time, and says what stopped it. */
export class RunControl {
  state: "paused" | "running" | "closed" = "paused";
  lastStop: Stop | undefined;
  readonly #parts: ControlParts;
  readonly #feed = new StopFeed();
  /** The newest stop of each vCPU, by index: where the user saw it stand. */
  #told: (Stop | undefined)[] = [];
  readonly #turns = new Turns();
  #running: Promise<Stop> | undefined;
  readonly #steps: Steps;

  constructor(parts: ControlParts) {
    this.#parts = parts;
    this.#steps = new Steps(parts);
  }

  /** The vCPU that stopped last, or the first. */
  get current(): BackendVcpu {
    return this.#parts.backend.vcpus[this.lastStop?.vcpu.index ?? 0];
  }

  /** @throws {StateError} Unless the machine stands still. */
  requirePaused(what: string): void {
    if (this.state !== "paused") throw notNow(this.state, what);
  }

  /** @throws {StateError} If the machine is closed. */
  requireOpen(what: string): void {
    if (this.state === "closed") throw notNow("closed", what);
  }

  stops(): AsyncIterableIterator<Stop> {
    return this.#feed.subscribe();
  }

  continue(limit: RunLimit = {}): Promise<Stop> {
    return this.run("continue", () => this.go(), limit);
  }

  step(request: number | StepRequest = 1): Promise<Stop> {
    if (request === 1 && this.state === "paused" && this.#parts.breakpoints.all.size === 0) {
      return this.#single();
    }
    const misspelt = typeof request === "number" ? undefined : wrongOption("step()", request, STEP_OPTIONS);
    if (misspelt !== undefined) return Promise.reject(misspelt);
    const { count = 1, vcpu, interrupts = false, others = "hold", each } = typeof request === "number"
      ? { count: request }
      : request;
    const { vcpus } = this.#parts.backend;
    if (others !== "hold" && others !== "run") {
      return Promise.reject(new InputError(`the others hold or run, they don't "${String(others)}"`));
    }
    const several = typeof vcpu === "object" ? (vcpu ?? []).map((index) => vcpus[index]) : [];
    const chosen = vcpu === undefined ? this.current : typeof vcpu === "object" ? several[0] : vcpus[vcpu];
    if (chosen === undefined || several.includes(undefined as unknown as BackendVcpu)) {
      return Promise.reject(new InputError(`there is no vCPU ${vcpu}`, { remedy: "see vm.vcpus" }));
    }
    if (several.length > 1 && (each !== undefined || others === "run")) {
      const what = each === undefined
        ? "the others run beside one vCPU"
        : "`each` looks at the steps of one vCPU";
      return Promise.reject(new InputError(what, { remedy: "name one" }));
    }
    if (!Number.isInteger(count) || count < 0) {
      return Promise.reject(new InputError(`a number of steps is a whole number, not ${count}`));
    }
    if (several.length > 1) {
      return this.run("step", () => this.#steps.severally(several, this.current, count, { interrupts }));
    }
    if (others === "run" && vcpus.length > 1 && this.#parts.watches.size === 0) {
      return this.run("step", () => this.#beside(chosen, count, { interrupts }, each));
    }
    // Device time does not move for one instruction: setting the clock going would cost a part of the step.
    const timeless = count === 1 && each === undefined;
    return this.run("step", () => this.#steps.run(chosen, count, { interrupts }, each), undefined, timeless);
  }

  /** Steps of one vCPU while the others run. */
  async #beside(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): Promise<VcpuStop> {
    const { backend, breakpoints, loop } = this.#parts;
    if (this.lastStop !== undefined && breakpoints.all.size > 0) {
      for (const other of backend.vcpus) {
        const cause = other === vcpu ? undefined : await this.#leave(other, false, false);
        if (cause !== undefined) return { vcpu: other, cause };
      }
    }
    // The others stand anew wherever they come to; this one may be stopped before its first step.
    this.#told = this.#told.map((stop, index) => index === vcpu.index ? stop : undefined);
    let left = count;
    const step = async () => {
      if (left === 0) return STEPPED;
      const { rip } = vcpu;
      const cause = await this.#steps.one(vcpu, { ...options, inTurn: true });
      if (cause !== undefined) return cause;
      if (vcpu.rip === rip && await vcpu.idle() !== "no") return "asleep";
      const end = each && await guarded(() => this.#steps.show(vcpu, each));
      return end ?? (--left === 0 ? STEPPED : undefined);
    };
    return await loop.beside({ vcpu, step });
  }

  /** One instruction of a guest without breakpoints: `run` by a shorter way, since scripts do it without end. */
  #single(): Promise<Stop> {
    const { loop } = this.#parts;
    const vcpu = this.current;
    this.state = "running";
    loop.begin();
    let cause: MaybePromise<StopCause | undefined>;
    try {
      cause = loop.step(vcpu, HELD);
      if (cause === undefined && loop.request === undefined) {
        const registers = vcpu.registers();
        if (!(registers instanceof Promise)) {
          this.state = "paused";
          return this.#turns.before(this.#tell(vcpu, STEPPED, registers));
        }
      }
    } catch (error) {
      cause = Promise.reject(error);
    }
    const met = cause;
    return this.#finish(
      () => then(met, (cause) => ({ vcpu, cause: cause ?? loop.request ?? STEPPED })),
      undefined,
      true,
    );
  }

  /** The next stop if the guest runs; the last one (or a new one) if it stands still. */
  async pause(): Promise<Stop> {
    this.requireOpen("pause");
    if (this.state === "running") {
      this.#parts.loop.ask({ kind: "pause" });
      for (const vcpu of this.#parts.backend.vcpus) vcpu.kick();
      // Asked by the run itself (a device, a condition), its promise is there a moment later, or it is over.
      await undefined;
      if (this.#running !== undefined) return await this.#running;
    }
    return this.lastStop ?? await this.#report({ vcpu: this.current, cause: { kind: "pause" } });
  }

  /** Forgets where the guest stood: after a reset. */
  forget(): void {
    this.lastStop = undefined;
    this.#told = [];
    this.#parts.loop.forget();
  }

  /** Ends a run with `gone`, and every `stops()`. */
  async close(): Promise<void> {
    if (this.#running !== undefined) {
      this.#parts.loop.ask({ kind: "gone", reason: "the machine was closed" });
      for (const vcpu of this.#parts.backend.vcpus) vcpu.kick();
      await this.#running.catch(() => undefined);
    }
    this.state = "closed";
    this.#feed.close();
  }

  /**
   * Runs `body` as the one thing that moves the guest, and reports its stop.
   *
   * @param timeless Whether device time stands still meanwhile.
   * @throws {StateError} If the guest runs or the machine is closed.
   */
  run(
    what: string,
    body: () => MaybePromise<VcpuStop>,
    limit?: RunLimit,
    timeless = false,
  ): Promise<Stop> {
    if (this.state !== "paused") return Promise.reject(notNow(this.state, what));
    const { loop, clock } = this.#parts;
    const { timeoutMs } = limit ?? {};
    const misspelt = limit && wrongOption(what, limit, RUN_OPTIONS);
    if (misspelt !== undefined) return Promise.reject(misspelt);
    try {
      checkTimeout(timeoutMs);
    } catch (error) {
      return Promise.reject(error);
    }
    this.state = "running";
    loop.begin();
    if (!timeless) clock.resume();
    const timer = timeoutMs === undefined || timeoutMs > LONGEST_TIMER_MS
      ? undefined
      : setTimeout(() => loop.ask({ kind: "timeout" }), timeoutMs);
    return this.#finish(body, timer, timeless);
  }

  /** Runs what was begun, and tells its stop. */
  #finish(
    body: () => MaybePromise<VcpuStop>,
    timer: ReturnType<typeof setTimeout> | undefined,
    timeless: boolean,
  ): Promise<Stop> {
    let stop: MaybePromise<Stop>;
    try {
      stop = this.#attempt(body);
    } catch (error) {
      // Not even the stop could be told: the hypervisor refuses the registers too.
      this.#ended(timer, timeless);
      return Promise.reject(error);
    }
    if (!(stop instanceof Promise)) {
      this.#ended(timer, timeless);
      return this.#turns.before(stop);
    }
    this.#running = stop.finally(() => this.#ended(timer, timeless));
    return this.#running.then((stop) => this.#turns.before(stop));
  }

  #ended(timer: ReturnType<typeof setTimeout> | undefined, timeless: boolean): void {
    if (timer !== undefined) clearTimeout(timer);
    if (!timeless) this.#parts.clock.pause();
    this.#running = undefined;
    if (this.state === "running") this.state = "paused";
  }

  #attempt(body: () => MaybePromise<VcpuStop>): MaybePromise<Stop> {
    try {
      const outcome = body();
      return outcome instanceof Promise
        ? outcome.catch((error) => this.#explain(error)).then((stopped) => this.#report(stopped))
        : this.#report(outcome);
    } catch (error) {
      return this.#report(this.#explain(error));
    }
  }

  /** One instruction, as `Steps.one` has it. For use inside `run`. */
  one(vcpu: BackendVcpu, options: StepOptions): MaybePromise<StopCause | undefined> {
    return this.#steps.one(vcpu, options);
  }

  /**
   * Off the breakpoint under RIP if the user saw the guest stand there, then free. For use inside `run`.
   *
   * @param stepped The vCPU that has been moved since the last stop: it stands anew wherever it is.
   */
  async go(stepped?: BackendVcpu): Promise<VcpuStop> {
    const { loop, breakpoints, backend, watches } = this.#parts;
    const vcpu = this.current;
    const bySteps = watches.size > 0;
    if ((this.lastStop !== undefined || stepped !== undefined || bySteps) && breakpoints.all.size > 0) {
      for (const one of backend.vcpus) {
        const cause = await this.#leave(one, one === stepped, bySteps && one === vcpu);
        if (cause !== undefined) return { vcpu: one, cause };
      }
    }
    // From now on every one of them stands anew wherever it comes to.
    this.#told = [];
    if (!bySteps) return await loop.run();
    for (;;) {
      const cause = await this.#steps.one(vcpu, { interrupts: true });
      if (cause !== undefined) return { vcpu, cause };
      if (watches.size === 0) return await loop.run();
      if (loop.request !== undefined) return { vcpu, cause: loop.request };
    }
  }

  /**
   * Steps off the breakpoint that a vCPU stands at.
   *
   * @param bySteps Whether it goes on by steps: the first of them leaves what is under RIP, whatever that is.
   */
  #leave(vcpu: BackendVcpu, anew: boolean, bySteps: boolean): MaybePromise<StopCause | undefined> {
    const { traps, stepper } = this.#parts;
    return then(vcpu.registers(), (registers) => {
      if (this.#parts.loop.owes(vcpu, registers.rip)) return undefined;
      const told = this.#told[vcpu.index];
      const address = linearRip(registers);
      // One that was stopped for another's sake, or was sent there, meets the breakpoint when it runs.
      if (!anew && (told === undefined || linearRip(told.registers) !== address)) {
        return bySteps ? traps.arrived(vcpu, registers, address) : stepper.clear(vcpu);
      }
      if (bySteps) return undefined;
      return then(
        traps.executeAt(registers, address),
        (found) => found.length === 0 ? stepper.clear(vcpu) : stepper.leave(vcpu, registers),
      );
    });
  }

  /** Makes the public Stop: instructions finished, patches looked after, one-shot breakpoints gone. */
  #report({ vcpu, cause }: VcpuStop): MaybePromise<Stop> {
    const { loop, patches } = this.#parts;
    const settled = loop.settle(vcpu);
    if (settled === undefined && patches.size === 0) {
      const registers = vcpu.registers();
      if (!(registers instanceof Promise)) return this.#publish(vcpu, cause, registers);
    }
    return then(
      settled,
      () =>
        then(
          patches.size === 0 ? undefined : patches.refresh(),
          () => then(vcpu.registers(), (registers) => this.#publish(vcpu, cause, registers)),
        ),
    );
  }

  #publish(vcpu: BackendVcpu, cause: StopCause, registers: Registers): MaybePromise<Stop> {
    const stop = this.#tell(vcpu, internalAsStep(cause), registers);
    const breakpoint = "breakpoint" in stop ? stop.breakpoint : undefined;
    if (breakpoint?.once) return breakpoint.remove().then(() => stop);
    return stop;
  }

  /** Tells everyone of a stop. */
  #tell(vcpu: BackendVcpu, told: StopCause, registers: Registers): Stop {
    const face = this.#parts.vcpus[vcpu.index];
    const stop: Stop = told.kind === "step"
      ? { kind: "step", vcpu: face, registers, rip: registers.rip }
      : { ...told, vcpu: face, registers, rip: registers.rip };
    this.lastStop = this.#told[vcpu.index] = stop;
    this.#feed.publish(stop);
    return stop;
  }

  /** What an exception out of the run means. Only a hypervisor's refusal is passed on as it is. */
  #explain(error: unknown): VcpuStop {
    const { traps, loop } = this.#parts;
    const vcpu = loop.culprit ?? this.current;
    const { showing } = this.#steps;
    this.#steps.showing = false;
    if (isRunaway(error)) {
      const who = showing
        ? "the callback `each` of step()"
        : traps.judging !== undefined
        ? `the condition of breakpoint ${traps.judging.id}`
        : loop.answering !== undefined
        ? `device ${loop.answering}`
        : "a callback";
      if (traps.judging !== undefined) traps.judging.matches++;
      traps.judging = undefined;
      const reason = `${who} did not return within 2 s and was ended`;
      const remedy = "mend it and continue";
      return {
        vcpu,
        cause: { kind: "fault", reason, error: new HvshError(reason, { cause: error, remedy }) },
      };
    }
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof StateError && error.state === "gone") {
      return { vcpu, cause: { kind: "gone", reason } };
    }
    return { vcpu, cause: { kind: "fault", reason, error } };
  }
}

/** What a timer can wait: 2^31 - 1 ms, 24 days. More is no limit. */
const LONGEST_TIMER_MS = 0x7fff_ffff;

/** Interrupts wait. */
const HELD: StepOptions = { interrupts: false };

/** Breakpoints of `runUntil` and its like have no number: reaching one is the end of a step. */
function internalAsStep(cause: StopCause): StopCause {
  return cause.kind === "breakpoint" && cause.breakpoint.id < 0 ? { kind: "step" } : cause;
}

const STEP_OPTIONS = ["count", "vcpu", "interrupts", "others", "each"];
const RUN_OPTIONS = ["timeoutMs", "vcpu", "interrupts"];

/** The error for an option that is not known, if there is one: these calls reject, they do not throw. */
function wrongOption(what: string, options: object, known: readonly string[]): unknown {
  try {
    checkOptions(what, options, known);
    return undefined;
  } catch (error) {
    return error;
  }
}
