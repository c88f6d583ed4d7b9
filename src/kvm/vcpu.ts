import { ERRNO } from "../abi/errno.ts";
import { errno } from "../host/libc.ts";
import type { BackendVcpu, StepOptions, StepRun, Traps, VcpuEvents } from "../vm/backend.ts";
import type { InterruptAcknowledge } from "../vm/device.ts";
import { StateError } from "../vm/errors.ts";
import { type InternalErrorExit, isAccess, type VmExit } from "../vm/exit.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import { standsAtHlt, standsBehindHlt } from "./at_hlt.ts";
import { machineClosed } from "./closed.ts";
import { completeInstruction } from "./complete.ts";
import { FLAG, kvm_regs, kvm_sregs } from "./abi.ts";
import { DebugModes, MODE } from "./debug_modes.ts";
import { ExitDecoder, HALT, SLICE } from "./exit.ts";
import { enterHandler, hideTrapFlag, stepByHand } from "../x86/hand_step.ts";
import { LateSleep } from "./late_sleep.ts";
import { PendingInterrupts } from "./pending.ts";
import { capturePowerOn, type PowerOnState, restorePowerOn } from "./power_on.ts";
import { planWrite } from "./register_write.ts";
import { Snapshots } from "./registers.ts";
import { AT } from "./run_page.ts";
import type { ThreadOf } from "./thread_choice.ts";
import { VcpuEntry } from "./vcpu_entry.ts";
import type { VcpuContext } from "./vcpu_groups.ts";
import type { VcpuFd } from "./vcpu_fd.ts";

const RIP = AT.regs / 8 + kvm_regs.offsets.rip / 8;
/** RIP's low half, of the page's 32-bit words. */
const LOW_RIP = RIP * 2;
const CR8 = kvm_sregs.offsets.cr8;
const CR0 = AT.sregs / 8 + kvm_sregs.offsets.cr0 / 8;
/** CR0.PE. */
const PROTECTED = 1n;

/** Steps that the debugger has no part in: breakpoints are told as ever. */
const TO_WINDOW = MODE.step | MODE.execute;

/** One vCPU on KVM. */
export class KvmVcpu extends VcpuEntry implements BackendVcpu, Disposable {
  /** What brought it back, while that waits to be taken: it was parked for something that was asked of it. */
  #arrived: VmExit | undefined;
  readonly #decoder: ExitDecoder;
  readonly #powerOn: PowerOnState;
  #closed = false;
  readonly #modes: DebugModes;
  /** Whether the last entry may have ended with the vCPU asleep in KVM: EINTR, or HLT stepped over. */
  #mayIdle = true;
  /** An access was reported, and its instruction is not finished. */
  #inFlight = false;
  /** The access in flight was reported by `step`. */
  #stepping = false;
  /** An exit that an implied settle met, to be answered before anything else. */
  #unanswered: VmExit | undefined;
  #kicked = false;
  /** The last entry ended in HLT, without an in-kernel irqchip. */
  #halted = false;
  readonly #late = new LateSleep();
  readonly #pending: PendingInterrupts;
  /** The instruction being stepped is PUSHF, in real mode. */
  #hideFlag = false;
  readonly #snapshots: Snapshots;
  /** The newest snapshot: of now as long as the state's generation is still the same. */
  #taken: Registers | undefined;
  #takenAt = -1;
  /** See `#losesSteps`; asked for at the first step. */
  #loses: boolean | undefined;

  /** Whether this KVM misses moments in which the guest takes interrupts; asked for when one waits. */
  #misses: boolean | undefined;

  /** Takes over a new vCPU's descriptor. @throws {HostError} If KVM refuses something. */
  constructor(
    index: number,
    fd: VcpuFd,
    cpuid: Uint8Array<ArrayBuffer>,
    context: VcpuContext,
    threadOf?: ThreadOf,
  ) {
    super(index, fd, cpuid, context, threadOf);
    this.#modes = new DebugModes(context.debugFlags);
    using cleanup = new DisposableStack();
    cleanup.use(this.page);
    this.#decoder = new ExitDecoder(this.page);
    this.#snapshots = new Snapshots(this.page);
    this.#pending = new PendingInterrupts(this.page, fd);
    this.#powerOn = capturePowerOn(fd, context);
    cleanup.move();
  }

  get rip(): bigint {
    return this.page.words64[RIP];
  }

  run(): VmExit {
    if (this.#unanswered !== undefined) this.#refuseUnanswered();
    if (this.search.left > 0) {
      const met = this.#toWindow();
      if (met !== undefined) return met;
    }
    this.#leaveSteps();
    this.#stepping = false;
    return this.#enter(true);
  }

  step(options: StepOptions = {}): VmExit {
    if (this.#unanswered !== undefined) this.#refuseUnanswered();
    if (this.#inFlight) {
      const ofStep = this.#stepping;
      const more = this.settle();
      if (more !== undefined) {
        this.#stepping = ofStep;
        return more;
      }
      // The access was the step's own instruction, and now it is done.
      if (ofStep) return this.#decoder.stepDone(this.#linearRip());
    }
    this.#late.from = this.page.words32[LOW_RIP];
    const offer = options.interrupts === true;
    const mode = this.#stepMode(options);
    if (this.#losesSteps) return this.#carefulStep(mode, offer);
    if (this.#modes.now !== mode) this.#setMode(mode);
    this.#stepping = true;
    const exit = this.#enter(offer);
    return exit.kind === "debug" && !this.context.irqchip && this.#overHlt() ? this.#left(HALT) : exit;
  }

  steps(count: number, options: StepOptions, watch?: (registers: Registers) => boolean): StepRun {
    const plain = this.#unanswered === undefined && !this.#inFlight && this.thread === undefined &&
      !this.#losesSteps && options.interrupts !== true;
    if (!plain) return { done: 0, exit: this.step(options) };
    this.alive();
    const mode = this.#stepMode(options);
    if (this.#modes.now !== mode) this.#setMode(mode);
    this.#stepping = true;
    this.#mayIdle = true;
    this.#halted = false;
    this.#pending.nmi = false;
    this.armSlice();
    return this.#stepsInARow(count, watch);
  }

  /**
   * The steps of `steps`, once all is set. A method of its own, with little in it and in what it calls: the compiler
   * then makes one piece of it all, and a call less is felt behind an exit, which leaves no branch predicted.
   */
  #stepsInARow(count: number, watch?: (registers: Registers) => boolean): StepRun {
    const { state } = this;
    const late = this.#late;
    const { words32 } = this.page;
    const alone = !this.context.irqchip;
    for (let done = 0; done < count;) {
      late.from = words32[LOW_RIP];
      state.entering();
      if (this.enterHere() < 0) return { done, exit: this.#interrupted(errno()) };
      if (!this.#decoder.stepped) {
        const exit = this.#decoder.decode();
        if (exit.kind !== "internal-error" || !this.#completed(exit)) return { done, exit: this.#left(exit) };
        return { done, exit: this.#decoder.stepDone(this.#linearRip()) };
      }
      if (alone && this.#overHlt()) return { done, exit: this.#left(HALT) };
      done++;
      if (watch !== undefined && !watch(this.#taking())) return { done };
    }
    return { done: count };
  }

  #stepMode(options: StepOptions): number {
    return MODE.step | (options.interrupts === true ? 0 : MODE.blockInterrupts) |
      (options.execute === true ? MODE.execute : 0);
  }

  /** Whether a probe saw that this host's single step is the trap flag and no more. */
  get #losesSteps(): boolean {
    return this.#loses ??= ["single-step-handlers", "single-step-popf"].some((name) =>
      this.context.capabilities().get(name)?.usable === false
    );
  }

  /** A step where the guest may clear the trap flag, by POPF or on its way into a handler: it is set for each anew. */
  #carefulStep(mode: number, offer: boolean): VmExit {
    this.alive();
    this.state.needSregs();
    const real = (this.page.words64[CR0] & PROTECTED) === 0n;
    const offered = offer && this.#pending.takable;
    // In this mode already: the step's time slice was over before its instruction was.
    if (this.#modes.now !== mode) {
      const how = real && !offered ? stepByHand(this.#hand) : "processor";
      if (how === "done") return this.#decoder.stepDone(this.#linearRip());
      this.#hideFlag = how === "hide-flag";
      this.#setMode(mode);
    }
    this.#stepping = true;
    const exit = this.#enter(offer, real && offered ? mode : undefined);
    if (exit.kind !== "debug") return exit;
    if (this.#hideFlag) hideTrapFlag(this.#hand);
    this.#modes.now = MODE.unknown;
    return exit;
  }

  get #hand() {
    return {
      memory: this.context.memory,
      registers: () => this.registers(),
      setRegisters: (values: RegisterValues) => this.setRegisters(values),
    };
  }

  settle(): VmExit | undefined {
    const met = this.#unanswered;
    if (met !== undefined) {
      this.#unanswered = undefined;
      return met;
    }
    // Whatever ended the step, the next one is a step of its own.
    if (this.#loses === true && this.#modes.now !== MODE.run) this.#modes.now = MODE.unknown;
    if (!this.#inFlight) return undefined;
    this.#inFlight = false;
    this.state.entering();
    const { bytes } = this.page;
    bytes[AT.immediateExit] = 1;
    const result = this.kvmRun();
    const failed = result < 0 ? this.failure() : 0;
    bytes[AT.immediateExit] = this.#kicked ? 1 : 0;
    if (result < 0) {
      // EINTR is what immediate_exit gives once the instruction is finished.
      if (failed === ERRNO.EINTR || failed === ERRNO.EAGAIN) return undefined;
      throw this.fd.runFailed(this.index, failed);
    }
    const exit = this.#decoder.decode();
    // A single step's end: the instruction is done.
    if (exit.kind === "debug" || exit.kind === "slice" || exit.kind === "irq-window") return undefined;
    this.#inFlight = isAccess(exit);
    return exit;
  }

  /**
   * One entry, or several when the guest only left so that an interrupt could be given to it.
   *
   * @param byHand Given for a step in real mode that takes an interrupt without the processor: its debug mode.
   */
  #enter(offer: boolean, byHand?: number): VmExit {
    if (this.#closed) throw machineClosed();
    const { bytes } = this.page;
    let asked = false;
    const give = byHand === undefined ? undefined : this.#giver(byHand);
    for (;;) {
      const asking = this.#pending.waiting && this.#pending.offer(offer, asked, give);
      if (asking) bytes[AT.immediateExit] = 1;
      this.armSlice();
      this.state.entering();
      this.#inFlight = false;
      this.#halted = false;
      this.#pending.nmi = false;
      const result = this.kvmRun();
      if (asking) {
        asked = true;
        bytes[AT.immediateExit] = this.#kicked ? 1 : 0;
        if (result < 0 && this.failure() === ERRNO.EINTR) continue;
      }
      this.#mayIdle = result < 0 || this.#stepping;
      if (result < 0) {
        const failed = this.failure();
        if (failed === ERRNO.EINTR && !this.#kicked && this.heard()) continue;
        const wanted = this.#kicked || this.#stepping;
        const over = this.#interrupted(failed);
        if (!wanted && this.#missesWindow()) this.search.begin();
        return over;
      }
      const exit = this.#decoder.decode();
      if (exit.kind === "irq-window") {
        bytes[AT.requestInterruptWindow] = 0;
        if (this.#pending.waiting) continue;
      }
      if (exit.kind === "halt" && (offer && this.#pending.takable || this.#sleptLate())) continue;
      if (exit.kind === "internal-error" && this.#completed(exit)) {
        if (this.#stepping) return this.#decoder.stepDone(this.#linearRip());
        continue;
      }
      return this.#left(exit);
    }
  }

  /** At the end of a slice: whether an interrupt waits that KVM would not give the guest, and it is time to look. */
  #missesWindow(): boolean {
    if (this.#pending.interruptsOn || this.thread !== undefined || !this.search.due()) return false;
    const waits = this.context.irqchip ? this.context.interruptWaits() : this.#pending.waiting;
    if (!waits) return false;
    return this.#misses ??= this.context.capabilities().get("interrupt-windows")?.usable === false;
  }

  /**
   * Steps to where the guest takes interrupts: behind an instruction with IF set before and after it, as the one behind
   * STI is no such place. Gives what it left for meanwhile; if nothing, the next entry brings the interrupt.
   */
  #toWindow(): VmExit | undefined {
    this.alive();
    if (this.#modes.now !== TO_WINDOW) this.#setMode(TO_WINDOW);
    this.#stepping = false;
    while (this.search.left > 0) {
      const open = this.#pending.interruptsOn;
      // A step over HLT is not to be had: such a KVM lets the guest sleep on behind it, in the middle of a handler. And
      // HLT is a place where it gives interrupts by itself.
      if (open && standsAtHlt(this.registers(), this.context.memory)) {
        this.search.stepped(true);
        break;
      }
      this.armSlice();
      this.state.entering();
      this.#inFlight = false;
      this.#halted = false;
      if (this.kvmRun() < 0) {
        this.#mayIdle = true;
        const failed = this.failure();
        if (failed === ERRNO.EINTR && !this.#kicked && this.heard()) continue;
        return this.#interrupted(failed);
      }
      this.search.stepped(open && this.#pending.interruptsOn);
      if (this.#decoder.stepped) continue;
      const exit = this.#decoder.decode();
      if (exit.kind !== "internal-error" || !this.#completed(exit)) return this.#left(exit);
    }
    return undefined;
  }

  /** Notes what an exit left behind. */
  #left(exit: VmExit): VmExit {
    this.#inFlight = isAccess(exit);
    this.#halted = exit.kind === "halt";
    return exit;
  }

  /** Whether what KVM could not do is done. */
  #completed({ bytes }: InternalErrorExit): boolean {
    if (bytes === undefined) return false;
    const events = () => this.events();
    const setEvents = (change: Partial<VcpuEvents>) => this.setEvents(change);
    return completeInstruction({ ...this.#hand, events, setEvents }, bytes);
  }

  /** Delivers an interrupt in real mode without the processor. A method of its own: `#enter` makes no closure so. */
  #giver(mode: number): (vector: number) => void {
    return (vector) => {
      if (!enterHandler(this.#hand, vector, this.rip)) this.fd.interrupt(vector);
      this.#setMode(mode);
    };
  }

  /** KVM_RUN gave -1 with an errno: a signal, a kick, a vCPU that waits to be started, or a real failure. */
  #interrupted(failed: number): VmExit {
    if (failed !== ERRNO.EINTR && failed !== ERRNO.EAGAIN) throw this.fd.runFailed(this.index, failed);
    if (this.#kicked) {
      this.#kicked = false;
      this.page.bytes[AT.immediateExit] = 0;
    }
    this.sliceOver();
    return SLICE;
  }

  /** Whether it has a thread of its own now. */
  get apart(): boolean {
    return this.thread !== undefined;
  }

  /** Lets it run in its thread: `collect` gives the exit once it is `back`. Without a thread it stays where it is. */
  launch(): void {
    if (this.#unanswered !== undefined || this.#arrived !== undefined) this.#refuseUnanswered();
    this.alive();
    const { thread } = this;
    if (thread === undefined) return;
    this.#leaveSteps();
    this.armSlice();
    this.#stepping = false;
    this.state.entering();
    this.#inFlight = false;
    thread.start();
  }

  /** Whether it was launched and its exit has not been collected. */
  get launched(): boolean {
    return this.#arrived !== undefined || this.thread?.started === true;
  }

  /** Whether its thread is out of the guest. */
  get back(): boolean {
    return this.thread?.back ?? true;
  }

  /** What it came back for. */
  collect(): VmExit {
    this.park();
    const exit = this.#arrived ?? SLICE;
    this.#arrived = undefined;
    return exit.kind === "internal-error" && this.#completed(exit) ? SLICE : exit;
  }

  /** Makes sure that it does not run: its exit waits for `collect`, as its registers may be asked for before. */
  park(): void {
    const thread = this.thread;
    if (thread === undefined || !thread.started) return;
    thread.park();
    const { death } = thread;
    const result = thread.take();
    this.#mayIdle = result < 0;
    const exit: VmExit = death !== undefined
      ? { kind: "unsupported", reason: death }
      : result < 0
      ? this.#interrupted(thread.errno)
      : this.#decoder.decode();
    this.#inFlight = isAccess(exit);
    this.#arrived = exit;
    thread.taken();
  }

  #refuseUnanswered(): never {
    throw new StateError(
      "An instruction is half done and waits for the answer to another access.",
      "in flight",
      {
        remedy: "Call settle() and answer what it gives until it gives nothing.",
      },
    );
  }

  protected override alive(): void {
    if (this.#closed) throw machineClosed();
  }

  protected override settled(): void {
    this.alive();
    this.park();
    // What it came back for waits to be answered: the instruction stays half done, registers are those before it.
    if (this.#arrived !== undefined) return;
    if (this.#inFlight) this.#unanswered = this.settle();
    if (this.#unanswered !== undefined) this.#refuseUnanswered();
  }

  #linearRip(): bigint {
    this.state.needSregs();
    const csBase = this.page.words64[AT.sregs / 8];
    return BigInt.asUintN(64, csBase + this.rip);
  }

  /** To where it runs freely. A HLT that was stepped over last puts it to sleep now, if KVM has not done so. */
  #leaveSteps(): void {
    if (this.#modes.now === MODE.run) return;
    this.#setMode(MODE.run);
    if (this.context.irqchip && this.#overHlt()) this.fd.setMpState(FLAG.MP_STATE_HALTED);
    this.#late.leaveSteps();
  }

  /** Whether the last step was over HLT. Without an irqchip that is asked before a patch may stand in its place. */
  #overHlt(): boolean {
    return this.#late.byOne(this.page.words32[LOW_RIP]) &&
      standsBehindHlt(this.registers(), this.context.memory);
  }

  /** Whether it fell asleep for a HLT of before, and may go on. */
  #sleptLate(): boolean {
    if (!this.#late.owed || standsBehindHlt(this.registers(), this.context.memory)) return false;
    this.#late.owed = false;
    return true;
  }

  #setMode(mode: number): void {
    if (this.#closed) throw machineClosed();
    this.state.flush();
    this.fd.setGuestDebug(this.#modes.encode(mode));
    this.#modes.now = mode;
  }

  kick(): void {
    if (this.#closed) return;
    if (this.thread?.started === true) return this.thread.kick();
    this.#kicked = true;
    this.page.bytes[AT.immediateExit] = 1;
  }

  setTraps(traps: Traps): void {
    // One that runs takes them over when it is started again.
    this.park();
    this.#modes.traps = traps;
  }

  idle(): "no" | "halted" | "halted-forever" | "wait-for-sipi" {
    if (this.#closed) throw machineClosed();
    this.park();
    const open = this.#pending.interruptsOn;
    if (!this.context.irqchip) return !this.#halted ? "no" : open ? "halted" : "halted-forever";
    switch (this.fd.getMpState()) {
      case FLAG.MP_STATE_UNINITIALIZED:
      case FLAG.MP_STATE_INIT_RECEIVED:
        return "wait-for-sipi";
      case FLAG.MP_STATE_HALTED:
        if (!this.#sleptLate()) return open ? "halted" : "halted-forever";
        this.fd.setMpState(FLAG.MP_STATE_RUNNABLE);
        return "no";
      default:
        return "no";
    }
  }

  registers(): Registers {
    this.settled();
    return this.#taken === undefined || this.#takenAt !== this.state.generation
      ? this.#snapshot()
      : this.#taken;
  }

  #snapshot(): Registers {
    this.state.needSregs();
    this.#takenAt = this.state.generation;
    return this.#taken = this.#taking();
  }

  /** A snapshot for somebody who looks at it now: what did not come with the exit is fetched if it is asked for. */
  #taking(): Registers {
    return this.#snapshots.take(this.state, this.state.sregsFresh);
  }

  setRegisters(values: RegisterValues): void {
    const plan = planWrite(values);
    this.settled();
    if (this.#arrived !== undefined && this.#inFlight) this.#refuseUnanswered();
    if (plan.size === 0) return;
    this.state.write(plan);
    if (!this.context.irqchip && values.cr8 !== undefined) {
      // Without an in-kernel LAPIC KVM takes CR8 from here at each entry (api.rst, struct kvm_run).
      this.page.words64[AT.cr8 / 8] = this.page.words64[(AT.sregs + CR8) / 8];
    }
    if (values.rip !== undefined) {
      this.#late.forget();
      this.#wake();
    }
    // KVM puts TF into RFLAGS when a step is asked for, at the RIP of that moment: it has to be asked again.
    if (this.#modes.now !== MODE.run) this.#modes.now = MODE.unknown;
  }

  /** A debugger that moves RIP wants the instruction there to run: HLT's sleep ends. */
  #wake(): void {
    this.#halted = false;
    if (this.context.irqchip && this.#mayIdle && this.fd.getMpState() === FLAG.MP_STATE_HALTED) {
      this.fd.setMpState(FLAG.MP_STATE_RUNNABLE);
    }
  }

  /** Queues an external interrupt, for a machine without an in-kernel irqchip. */
  request(vector: number): void {
    this.#pending.request(vector);
  }

  /** Puts an interrupt controller on INTR, or takes it off. */
  wire(controller: InterruptAcknowledge | undefined): void {
    this.#pending.controller = controller;
  }

  /** Whether something waits that the guest can take at its next entry, for one that sleeps in HLT. */
  get pending(): boolean {
    return this.#pending.nmi || this.#pending.takable;
  }

  /** Sends an NMI. @throws {HostError} */
  nmi(): void {
    this.settled();
    this.fd.nmi();
    this.#pending.nmi = true;
  }

  /** Back to the state in which KVM made this vCPU. */
  reset(): void {
    if (this.#closed) throw machineClosed();
    this.park();
    this.#arrived = undefined;
    // What is in flight is finished with whatever its data holds; the bound is for string instructions on devices.
    for (let i = 0; i < 4096 && (this.#inFlight || this.#unanswered !== undefined); i++) this.settle();
    this.#inFlight = false;
    this.#unanswered = undefined;
    this.#halted = false;
    this.#late.forget();
    this.#pending.clear();
    this.state.discard();
    restorePowerOn(this.fd, this.context, this.#powerOn);
    this.state.reload();
    this.page.words64[AT.cr8 / 8] = this.page.words64[(AT.sregs + CR8) / 8];
    if (this.#modes.now !== MODE.run) this.#modes.now = MODE.unknown;
  }

  /** Unmaps the shared page and closes the descriptor; doing it twice is harmless. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.thread?.park();
    this.#closed = true;
    this.#inFlight = false;
    this.#unanswered = undefined;
    this.state.generation++;
    this.release();
  }
}
