import { HostError } from "../host/error.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { MaybePromise, StepOptions, Traps } from "../vm/backend.ts";
import { FaultError, HvshError, StateError } from "../vm/errors.ts";
import type { VmExit } from "../vm/exit.ts";
import { isTripleFault, readFlags, stateOf } from "./domain.ts";
import { type SteppedGuest, Steps } from "./step_burst.ts";
import type { StopStrategy } from "./strategy.ts";

/** A time slice: the longest that the event loop waits for a guest that reports nothing. */
const SLICE_MS = 5;
/** How long a vCPU may take through the stop stub's way in and out: some ten instructions, on a busy host. */
const SETTLE_MS = 2000;
/** How long a pause of somebody else's may be the beginning of the domain's end: `xl destroy` stops the device model then. */
const PATIENCE_MS = 3000;
/** DR6.BS: a single step (SDM vol. 3B, 17.2.3). */
const DR6_BS = 1n << 14n;

/** What the runner drives. */
export interface RunParts {
  readonly control: Pick<XenControl, "pause" | "unpause" | "listDomains">;
  readonly domain: number;
  /** Made when the guest shall first report something: looking at it, and letting it go, touches nothing. */
  strategy(): StopStrategy;
  /** Told whether the pause of ours is in the domain, or may be. */
  held?(on: boolean): void;
  /** Called before the guest goes on: what was read of it is of the past. */
  goesOn(stepping: boolean): void;
  /** Whether the domain is one of our own. */
  readonly own?: boolean;
  /** Whether a domain that has shut down only sleeps for good, and stands ready to be sent elsewhere now. */
  revived?(): boolean;
  /** How long a pause of somebody else's is waited out. */
  readonly patienceMs?: number;
}

/**
 * Pauses a domain and lets it go, with a pause count of our own: Xen counts pauses, and this holds one or none, so
 * that a domain that others paused stays paused. All vCPUs run when one does.
 */
export class DomainRunner {
  /** Grows whenever the guest goes on. */
  generation = 0;
  readonly #parts: RunParts;
  #held = false;
  #closed = false;
  #strategy: StopStrategy | undefined;
  #stash = new Map<number, VmExit>();
  /** The vCPU whose step is under way. */
  #stepping: number | undefined;
  /** Since when it is seen paused by somebody else while it should run. */
  #pausedSince: number | undefined;
  /** Steps of it without a pause between them. */
  #burst: Steps | undefined;

  constructor(parts: RunParts) {
    this.#parts = parts;
  }

  /** @throws {StateError} If the machine is closed. */
  alive(): void {
    if (!this.#closed) return;
    throw new StateError("The machine is closed", "closed", { remedy: "attach to the domain again" });
  }

  /** Makes the domain stand still, and every vCPU with it. */
  hold(): void {
    this.alive();
    this.#pause();
    if (this.#stepping !== undefined) this.#endStep();
  }

  /** Pauses the domain where its vCPU is held behind a step of `burst` already: the next one begins anew. */
  stand(): void {
    if (this.#burst?.standing) this.tryHold();
  }

  /** Whether the domain is paused by us. */
  get held(): boolean {
    return this.#held;
  }

  /** The same, but false where there is no domain any more that could be paused. */
  tryHold(): boolean {
    this.alive();
    if (!this.#held && !this.#living) return false;
    this.hold();
    return true;
  }

  /** As `hold`, for a domain that has shut down and is about to be brought back. */
  holdAgain(): void {
    if (!this.#held) this.#addPause();
  }

  /** Our pause is told of before it is there, and until it is gone: who is killed between the two is not forgotten. */
  #addPause(): void {
    const { control, domain, held } = this.#parts;
    held?.(true);
    control.pause(domain);
    this.#held = true;
  }

  #takePauseBack(): void {
    const { control, domain, held } = this.#parts;
    this.#held = false;
    control.unpause(domain);
    held?.(false);
  }

  /** Brings back a domain that shut down as its last vCPU executed HLT for good; false if it has not. */
  revive(): boolean {
    return this.#parts.revived?.() ?? false;
  }

  /** Forgets what stopped: the state of every vCPU is set anew. */
  forget(): void {
    if (this.#stepping !== undefined) this.#endStep();
    this.#stash.clear();
    this.generation++;
  }

  #pause(): void {
    if (this.#held) return;
    this.needLiving();
    const { domain } = this.#parts;
    this.#addPause();
    this.#gather();
    // Some instructions of the stub's are before or behind it: it is let go until it stands where it can be looked at.
    const end = performance.now() + SETTLE_MS;
    while (this.#strategy?.unsettled?.()) {
      if (performance.now() > end) {
        throw new StateError(`Domain ${domain} does not come out of the stop stub`, "running", {
          remedy: "somebody else may hold it paused: see `domains`, and try again",
        });
      }
      this.#takePauseBack();
      this.#strategy.wait(1);
      this.needLiving();
      this.#addPause();
      this.#gather();
    }
  }

  #gather(): void {
    for (const { vcpu, exit } of this.#strategy?.gather() ?? []) this.#stash.set(vcpu, exit);
  }

  /** The strategy, set up at its first use. */
  get strategy(): StopStrategy {
    this.hold();
    return this.#ready;
  }

  /** Tells every vCPU's strategy what to report; one that has nothing to report is not set up for it. */
  setTraps(traps: Traps): void {
    this.alive();
    const armed = traps.int3 || traps.out || traps.hardware.some((trap) => trap !== undefined);
    if (!armed && this.#strategy === undefined) return;
    this.strategy.setTraps(traps);
  }

  get #ready(): StopStrategy {
    return this.#strategy ??= this.#parts.strategy();
  }

  /** Lets the domain run for a slice; gives what the vCPU stopped for. */
  run(vcpu: number): MaybePromise<VmExit> {
    return this.#unlessGone(() => this.#run(vcpu));
  }

  /** A domain may be destroyed between any two calls: then that is what is told, and not which of them failed. */
  #unlessGone<T>(body: () => T): T | VmExit {
    this.alive();
    try {
      return body();
    } catch (error) {
      if (!this.#isGone(error)) throw error;
      return this.#over() ?? SLICE;
    }
  }

  #isGone(error: unknown): boolean {
    return (error instanceof HvshError || error instanceof HostError) && !this.#living;
  }

  #run(vcpu: number): MaybePromise<VmExit> {
    if (this.#stepping !== undefined && !this.tryHold()) return this.#over() ?? SLICE;
    const more = this.#take(vcpu) ?? this.#strategy?.advance?.(vcpu);
    if (more !== undefined) return more;
    // Another one has something to tell: the domain waits until it has.
    if (this.#stash.size > 0) return SLICE;
    if (this.#held && !this.#living) return this.#over() ?? SLICE;
    if (this.#held) this.#letGo(false);
    else this.#strategy?.answer?.(vcpu);
    // One vCPU waits for all of them.
    if (vcpu !== 0) return SLICE;
    if (this.#strategy === undefined) {
      // Nothing to report was asked for: the guest is left alone, and looked at now and then.
      return this.#over() ?? new Promise((resolve) => setTimeout(() => resolve(SLICE), SLICE_MS));
    }
    if (!this.#strategy.wait(SLICE_MS)) return this.#over() ?? SLICE;
    const access = this.#strategy.access?.();
    if (access !== undefined) {
      if (access.vcpu === vcpu) return access.exit;
      this.#stash.set(access.vcpu, access.exit);
      return SLICE;
    }
    this.hold();
    return this.#take(vcpu) ?? SLICE;
  }

  /**
   * The next access of a vCPU whose last one was answered, in a domain that is not held; undefined where it is `run` that
   * has to tell. It is taken when this returns: it may be ended anywhere, and `mend` called then.
   */
  nextAccess(vcpu: number): VmExit | undefined {
    try {
      return this.#nextAccess(vcpu);
    } catch (error) {
      if (!this.#isGone(error)) throw error;
      return undefined;
    }
  }

  #nextAccess(vcpu: number): VmExit | undefined {
    const strategy = this.#strategy;
    if (
      strategy?.access === undefined || this.#held || this.#stepping !== undefined || this.#stash.size > 0
    ) {
      return undefined;
    }
    const more = strategy.advance?.(vcpu);
    if (more !== undefined) return more;
    strategy.answer?.(vcpu);
    if (!strategy.wait(SLICE_MS)) return undefined;
    const access = strategy.access();
    if (access === undefined || access.vcpu === vcpu) return access?.exit;
    this.#stash.set(access.vcpu, access.exit);
    return undefined;
  }

  /** After `nextAccess` was ended in its middle. */
  mend(): void {
    this.#strategy?.mend?.();
  }

  /** Runs one instruction of a vCPU; the others run meanwhile, which Xen has no way to forbid. */
  step(vcpu: number, options: StepOptions = {}): VmExit {
    return this.#unlessGone(() => this.#step(vcpu, options));
  }

  #step(vcpu: number, options: StepOptions): VmExit {
    this.stand();
    const more = this.#take(vcpu) ?? this.#strategy?.advance?.(vcpu);
    if (more !== undefined) return more;
    if (!this.#living) return this.#over() ?? SLICE;
    if (this.#burst !== undefined) {
      // It may have stopped meanwhile, where only a pause tells of it.
      this.#burst = undefined;
      this.#pause();
      const exit = this.#take(vcpu);
      if (exit !== undefined) return this.#stepped(vcpu, exit);
    }
    if (this.#stepping !== vcpu) {
      this.hold();
      this.strategy.setStepping(vcpu, true, options.execute === true);
      this.#stepping = vcpu;
    }
    const end = performance.now() + SLICE_MS;
    for (;;) {
      this.#letGo(true);
      if (!this.#strategy!.wait(Math.max(0, Math.ceil(end - performance.now())))) {
        return this.#over() ?? SLICE;
      }
      this.#pause();
      const exit = this.#take(vcpu);
      // Another vCPU stopped: it waits until its turn, and this one goes on.
      if (exit === undefined) continue;
      return this.#stepped(vcpu, exit);
    }
  }

  #stepped(vcpu: number, exit: VmExit): VmExit {
    this.#stepping = undefined;
    this.#strategy!.setStepping(vcpu, false);
    return exit.kind === "debug" && exit.exception === 1 ? { ...exit, dr6: exit.dr6 | DR6_BS } : exit;
  }

  /**
   * Steps in a row of the domain's only vCPU, the first of which begins here. The domain is not paused between them, and
   * not behind them, until somebody looks (`hold`).
   *
   * @returns Undefined where `step` has to be called.
   */
  burst(vcpu: number, options: StepOptions, guest: SteppedGuest): Steps | undefined {
    this.alive();
    try {
      return this.#begin(vcpu, options, guest);
    } catch (error) {
      if (!this.#isGone(error)) throw error;
      return undefined;
    }
  }

  #begin(vcpu: number, options: StepOptions, guest: SteppedGuest): Steps | undefined {
    const burst = this.#burst;
    if (burst !== undefined) {
      if (burst.standing && !guest.plain(true)) return undefined;
      burst.done = 0;
      return burst;
    }
    if (this.#stepping !== undefined || this.#stash.size > 0 || !this.tryHold() || !guest.plain(false)) {
      return undefined;
    }
    const { strategy } = this;
    const { quick } = strategy;
    if (quick === undefined) return undefined;
    strategy.setStepping(vcpu, true, options.execute === true);
    this.#stepping = vcpu;
    this.#letGo(true);
    return this.#burst = new Steps({
      vcpu,
      quick,
      guest,
      moves: () => this.#moves(true),
      gone: (error) => this.#isGone(error),
    });
  }

  /**
   * Lets the domain go until the vCPU stops, with nothing armed for it.
   *
   * @returns Undefined if it has not within `ms`; the domain is paused again then.
   */
  runOn(vcpu: number, ms: number): VmExit | undefined {
    return this.#unlessGone(() => this.#runOn(vcpu, ms));
  }

  #runOn(vcpu: number, ms: number): VmExit | undefined {
    if (this.#stepping !== undefined) this.hold();
    const end = performance.now() + ms;
    for (;;) {
      this.#letGo(true);
      const stopped = this.#strategy!.wait(
        Math.min(SLICE_MS, Math.max(0, Math.ceil(end - performance.now()))),
      );
      const over = stopped ? undefined : this.#over();
      if (over !== undefined) return over;
      this.#pause();
      const exit = this.#take(vcpu);
      if (exit !== undefined) return exit;
      if (performance.now() > end) return undefined;
    }
  }

  /**
   * To be asked before each change of a domain. Xen 4.17 sets the context of an HVM vCPU whose domain is being destroyed
   * through a null pointer (hvmemul_cancel), which takes the whole host down. The moment between question and change
   * remains; it is as short as it can be made from outside.
   *
   * @throws {StateError} If the domain is gone, or being destroyed.
   */
  needLiving(): void {
    if (this.#living) return;
    throw new StateError(`Domain ${this.#parts.domain} is gone, or being destroyed`, "gone", {
      remedy: "attach to another one; `domains` lists them",
    });
  }

  /**
   * Does what needs the domain: what fails because there is none any more is told as that, and not as the call that failed.
   *
   * @throws {StateError} If the domain is gone, or the machine closed.
   */
  there<T>(body: () => T): T {
    this.alive();
    try {
      return body();
    } catch (error) {
      if (error instanceof FaultError || error instanceof HostError) this.needLiving();
      throw error;
    }
  }

  /** Takes every trace out of the guest and lets it go on. Idempotent. */
  close(): void {
    if (this.#closed) return;
    const living = this.#living;
    try {
      if (living) this.hold();
      this.#strategy?.close(living);
    } finally {
      this.#closed = true;
      if (this.#held && this.#living) this.#takePauseBack();
      this.#held = false;
    }
  }

  get #living(): boolean {
    const flags = readFlags(this.#parts.control, this.#parts.domain);
    return flags !== undefined && stateOf(flags) !== "dying";
  }

  #letGo(stepping: boolean): void {
    if (!this.#held) return;
    const strategy = stepping ? this.#ready : this.#strategy;
    this.#moves(stepping);
    if (!stepping) strategy?.refresh();
    strategy?.release(new Set(this.#stash.keys()));
    this.#takePauseBack();
  }

  #moves(stepping: boolean): void {
    this.generation++;
    this.#parts.goesOn(stepping);
  }

  /** Why the domain will report nothing more, if so. */
  #over(): VmExit | undefined {
    const { control, domain } = this.#parts;
    const flags = readFlags(control, domain);
    if (flags === undefined) return this.#lost(`domain ${domain} was destroyed`);
    const state = stateOf(flags);
    switch (state) {
      case "running":
      case "blocked":
        this.#pausedSince = undefined;
        return undefined;
      case "paused": {
        if (this.#held) return undefined;
        // Toolstacks pause a domain before they destroy it: then that is what is told.
        this.#pausedSince ??= performance.now();
        const patience = this.#parts.patienceMs ?? PATIENCE_MS;
        if (performance.now() - this.#pausedSince < patience) return undefined;
        this.#pausedSince = undefined;
        return {
          kind: "unsupported",
          reason: `domain ${domain} was paused by someone else, too: \`xl unpause ${domain}\` lets it go`,
        };
      }
      case "dying":
        return this.#lost(`domain ${domain} is being destroyed`);
      case "poweroff":
        if (this.#parts.revived?.()) return { kind: "halt" };
        return { kind: "system-event", event: "poweroff", detail: "SHUTDOWN_poweroff" };
      case "reboot":
        if (this.#parts.own && isTripleFault(flags)) return { kind: "shutdown" };
        return { kind: "system-event", event: "reset", detail: "SHUTDOWN_reboot" };
      case "suspend":
        return { kind: "system-event", event: "other", detail: "SHUTDOWN_suspend: the guest was suspended" };
      case "crashed":
        return { kind: "system-event", event: "crash", detail: "SHUTDOWN_crash" };
      default:
        return state satisfies never;
    }
  }

  /** Our pause went with the domain: it is not held any more, and what was read of it last is all there is. */
  #lost(reason: string): VmExit {
    this.#held = false;
    return { kind: "gone", reason };
  }

  #endStep(): void {
    const vcpu = this.#stepping!;
    this.#stepping = undefined;
    this.#burst = undefined;
    // It may have come to its end just before the pause; then its stop is no news.
    this.#stash.delete(vcpu);
    this.#strategy?.setStepping(vcpu, false);
  }

  #take(vcpu: number): VmExit | undefined {
    const exit = this.#stash.get(vcpu);
    this.#stash.delete(vcpu);
    return exit;
  }
}

const SLICE: VmExit = { kind: "slice" };
