import type { Backend, BackendVcpu, MaybePromise, StepBurst, StepOptions } from "../vm/backend.ts";
import { checkOptions, checkTimeout } from "../vm/check.ts";
import { HvshError, InputError } from "../vm/errors.ts";
import type { RunLoop, VcpuStop } from "../vm/loop.ts";
import type { RunLimit, StepRequest, Vcpu } from "../vm/machine.ts";
import type { VmExit } from "../vm/exit.ts";
import { breather, then, turn, Turns } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { Stop, StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import type { BreakpointSet } from "./breakpoints.ts";
import { guarded, isRunaway } from "./guard.ts";
import { inTurn } from "./in_turn.ts";
import type { Patches } from "./patches.ts";
import type { Stepper } from "./stepper.ts";
import { StopFeed } from "./stop_feed.ts";
import type { Traps } from "./traps.ts";
import { notNow } from "./vcpu.ts";
import type { WatchStepper } from "./watch_step.ts";

/** What run control works with. */
export interface ControlParts {
  readonly backend: Backend;
  readonly loop: RunLoop;
  readonly stepper: Stepper;
  readonly patches: Patches;
  readonly traps: Traps;
  readonly breakpoints: BreakpointSet;
  readonly watches: WatchStepper;
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
  /** Whether the user's `each` looks at a step now: whom to blame if it never returns. */
  #showing = false;

  constructor(parts: ControlParts) {
    this.#parts = parts;
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
    if (several.length > 1) return this.run("step", () => this.#severally(several, count, { interrupts }));
    if (others === "run" && vcpus.length > 1 && this.#parts.watches.size === 0) {
      return this.run("step", () => this.#beside(chosen, count, { interrupts }, each));
    }
    // Device time does not move for one instruction: setting the clock going would cost a part of the step.
    const timeless = count === 1 && each === undefined;
    return this.run("step", () => this.#steps(chosen, count, { interrupts }, each), undefined, timeless);
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
      const cause = await this.one(vcpu, { ...options, inTurn: true });
      if (cause !== undefined) return cause;
      if (vcpu.rip === rip && await vcpu.idle() !== "no") return "asleep";
      const end = each && await guarded(() => this.#shown(vcpu, each));
      return end ?? (--left === 0 ? STEPPED : undefined);
    };
    return await loop.beside({ vcpu, step });
  }

  async #severally(vcpus: readonly BackendVcpu[], count: number, options: StepOptions): Promise<VcpuStop> {
    const { loop } = this.#parts;
    const mover = {
      one: (vcpu: BackendVcpu, how: StepOptions) => this.one(vcpu, how),
      get request() {
        return loop.request;
      },
    };
    // Behind the one that stopped last, which would else stop again before the rest had a turn.
    const next = vcpus.indexOf(this.current) + 1;
    const order = [...vcpus.slice(next), ...vcpus.slice(0, next)];
    return await inTurn(mover, order, count, options) ?? { vcpu: vcpus[0], cause: STEPPED };
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
      const cause = await this.one(vcpu, { interrupts: true });
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

  /** Steps of one vCPU, with a turn of the event loop whenever it has waited long enough. */
  #steps(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): MaybePromise<VcpuStop> {
    if (vcpu.burst !== undefined) return this.#bursts(vcpu, count, options, each);
    // Where a step is slow the limit is for `each` alone: it would end what the backend does in the middle.
    return each === undefined || this.#parts.backend.slow
      ? this.#batch(vcpu, count, options, each)
      : guarded(() => this.#batch(vcpu, count, options, each));
  }

  /** The same where a step takes long: one by one, or in bursts where there is nothing to look after between them. */
  async #bursts(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): Promise<VcpuStop> {
    const { loop, breakpoints } = this.#parts;
    const breathe = breather();
    for (let left = count; left > 0;) {
      const burst = breakpoints.all.size === 0 ? vcpu.burst!(options) : undefined;
      let cause: StopCause | undefined;
      let one = true;
      if (burst === undefined) cause = await this.one(vcpu, options);
      else {
        const { exit, refused } = this.#burst(burst, left, each);
        left -= burst.done;
        if (refused) return { vcpu, cause: STEPPED };
        if (exit !== undefined) cause = await loop.finishStep(vcpu, exit, options);
        else one = false;
      }
      cause ??= loop.request;
      if (one) {
        left--;
        if (cause === undefined && each !== undefined) cause = await this.#shown(vcpu, each);
      }
      if (cause !== undefined) return { vcpu, cause };
      await breathe();
    }
    return { vcpu, cause: STEPPED };
  }

  /** One burst: one limit for all that `each` does in it, since setting one takes longer than a step. */
  #burst(burst: StepBurst, count: number, each: StepRequest["each"]): { exit?: VmExit; refused: boolean } {
    const { loop, breakpoints } = this.#parts;
    const end = performance.now() + BURST_MS;
    let refused = false;
    const run = () =>
      burst.run(count, (registers) => {
        // `each` is to have the whole limit, whatever the backend took of this one.
        if (performance.now() >= end) return undefined;
        refused = each !== undefined && this.#ask(each, registers) !== undefined;
        return !refused && loop.request === undefined && breakpoints.all.size === 0 &&
          performance.now() < end;
      });
    if (each === undefined) return { exit: run(), refused };
    try {
      return { exit: guarded(run), refused };
    } catch (error) {
      burst.mend();
      // A host that stood still for two seconds: no callback is to blame, and nothing is lost.
      if (isRunaway(error) && !this.#showing) return { refused: false };
      throw error;
    }
  }

  #batch(
    vcpu: BackendVcpu,
    count: number,
    options: StepOptions,
    each: StepRequest["each"],
  ): MaybePromise<VcpuStop> {
    const { loop, breakpoints } = this.#parts;
    let refused = false;
    const watch = each && ((registers: Registers) => {
      refused = this.#ask(each, registers) !== undefined;
      return !refused && loop.request === undefined && breakpoints.all.size === 0;
    });
    let stride = 1;
    let check = count - stride;
    let checked = count > 1 ? performance.now() : 0;
    const end = checked + TURN_MS;
    for (let left = count; left > 0;) {
      // The clock costs a part of a step: it is looked at ever more seldom while steps are quick.
      if (left === check) {
        const now = performance.now();
        if (now >= end) {
          const rest = left;
          return turn().then(() =>
            loop.request === undefined
              ? this.#steps(vcpu, rest, options, each)
              : { vcpu, cause: loop.request }
          );
        }
        stride = now - checked < QUICK_MS ? Math.min(stride * 2, LONGEST_STRIDE) : 1;
        checked = now;
        check = left - stride;
      }
      let cause: MaybePromise<StopCause | undefined>;
      if (vcpu.steps === undefined || breakpoints.all.size > 0) {
        cause = this.one(vcpu, options);
        left--;
      } else {
        const { done, exit } = vcpu.steps(Math.min(left, left - check), options, watch);
        left -= done;
        if (refused) return { vcpu, cause: STEPPED };
        if (loop.request !== undefined) return { vcpu, cause: loop.request };
        if (exit === undefined) continue;
        cause = loop.finishStep(vcpu, exit, options);
        left--;
      }
      if (!(cause instanceof Promise)) {
        cause ??= loop.request;
        if (cause === undefined && each !== undefined) cause = this.#shown(vcpu, each);
      } else {
        cause = cause.then((c) => c ?? loop.request ?? (each && guarded(() => this.#shown(vcpu, each))));
      }
      if (cause instanceof Promise) {
        const rest = left;
        return cause.then((c) =>
          c === undefined ? this.#steps(vcpu, rest, options, each) : { vcpu, cause: c }
        );
      }
      if (cause !== undefined) return { vcpu, cause };
    }
    return { vcpu, cause: STEPPED };
  }

  /** Shows the registers after a step to the caller's `each`, which may end the steps. */
  #shown(vcpu: BackendVcpu, each: NonNullable<StepRequest["each"]>): MaybePromise<StopCause | undefined> {
    const registers = vcpu.registers();
    return registers instanceof Promise
      ? registers.then((r) => guarded(() => this.#ask(each, r)))
      : this.#ask(each, registers);
  }

  #ask(each: NonNullable<StepRequest["each"]>, registers: Registers): StopCause | undefined {
    this.#showing = true;
    const goOn = this.#parts.backend.slow ? guarded(() => each(registers)) : each(registers);
    this.#showing = false;
    return goOn === false ? STEPPED : undefined;
  }

  /** One instruction, then the watchpoints it touched and the breakpoint it landed on. */
  one(vcpu: BackendVcpu, options: StepOptions): MaybePromise<StopCause | undefined> {
    const { stepper, breakpoints, watches } = this.#parts;
    if (breakpoints.all.size === 0) return stepper.step(vcpu, options);
    const watching = watches.size > 0;
    const stepped = watching ? watches.step(vcpu, options) : stepper.step(vcpu, options);
    return then(stepped, (cause) => cause ?? this.#arrive(vcpu));
  }

  #arrive(vcpu: BackendVcpu): MaybePromise<StopCause | undefined> {
    return then(
      vcpu.registers(),
      (registers) => this.#parts.traps.arrived(vcpu, registers, linearRip(registers)),
    );
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
    const showing = this.#showing;
    this.#showing = false;
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
    return { vcpu, cause: { kind: "fault", reason, error } };
  }
}

/** What a timer can wait: 2^31 - 1 ms, 24 days. More is no limit. */
const LONGEST_TIMER_MS = 0x7fff_ffff;

/** How long the event loop may wait for its turn while instructions are stepped. */
const TURN_MS = 5;
/** The same where each step takes a good part of a millisecond. */
const BURST_MS = 20;
/** Steps that took less than this in all are quick. */
const QUICK_MS = 1;
/** How many steps may go without a look at the clock: each may take a tenth of a second and `each` not be ended. */
const LONGEST_STRIDE = 16;

/** Interrupts wait. */
const HELD: StepOptions = { interrupts: false };
const STEPPED: StopCause = { kind: "step" };

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
