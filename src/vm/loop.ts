import type { Backend, BackendVcpu, MaybePromise, StepOptions } from "./backend.ts";
import type { Device } from "./device.ts";
import { type Buses, dispatch } from "./dispatch.ts";
import { HvshError } from "./errors.ts";
import {
  type AccessExit,
  type DebugExit,
  isAccess,
  type MmioExit,
  type MsrExit,
  type PortExit,
  type VmExit,
} from "./exit.ts";
import { then, turn } from "./promise.ts";
import type { StopCause } from "./stop.ts";

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
  /** An exit that may be a breakpoint: a stop, `undefined` to go on, or `NOT_OURS`. */
  trap(vcpu: BackendVcpu, exit: TrapExit): MaybePromise<StopCause | undefined | typeof NOT_OURS>;
  /** After a device has answered an access. */
  accessed(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined>;
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
}

/** A stop, and which vCPU it concerns. */
export interface VcpuStop {
  readonly vcpu: BackendVcpu;
  readonly cause: StopCause;
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
  }

  /** Why the loop was asked to stop, if it was. */
  get request(): StopCause | undefined {
    return this.#request;
  }

  /** Asks from outside (pause, a time limit, a device) for a stop at the next chance; the first cause counts. */
  ask(cause: StopCause): void {
    this.#request ??= cause;
    this.#asked?.();
  }

  /** Forgets what was asked for: before a new run. */
  begin(): void {
    this.#request = undefined;
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

  /** Lets every vCPU run, each for a slice in turn, until one stops. */
  async run(): Promise<VcpuStop> {
    const { vcpus } = this.#backend;
    for (;;) {
      let asleep = 0;
      for (const vcpu of vcpus) {
        // One that waits for SIPI would sleep through its slice while others have work.
        const started = vcpus.length === 1 || await vcpu.idle() !== "wait-for-sipi";
        const cause = started ? await this.#guardedBurst(vcpu) : ASLEEP;
        if (cause === ASLEEP) asleep++;
        else if (cause !== undefined) return { vcpu, cause };
      }
      this.#clock?.poll();
      if (this.#request !== undefined) return { vcpu: vcpus[0], cause: this.#request };
      if (asleep === vcpus.length) await new Promise((resolve) => setTimeout(resolve, 1));
      else await turn();
    }
  }

  /** Runs one instruction of `vcpu` to its end. `undefined` if nothing but the instruction happened. */
  step(vcpu: BackendVcpu, options?: StepOptions): MaybePromise<StopCause | undefined> {
    for (;;) {
      const exit = vcpu.step(options);
      if (exit instanceof Promise) {
        return exit.then((e) => {
          const next = this.#afterStep(vcpu, e, options);
          return next === AGAIN ? this.step(vcpu, options) : next;
        });
      }
      if (exit.kind === "debug" && (exit.dr6 & DR6_HITS) === 0n && exit.exception !== BP) return undefined;
      const next = this.#afterStep(vcpu, exit, options);
      if (next !== AGAIN) return next;
    }
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
    this.#answering = undefined;
    this.#bursting = true;
    try {
      return this.#guarded(() => this.#burst(vcpu));
    } finally {
      this.#bursting = false;
    }
  }

  /** One vCPU until the end of its slice (`undefined`), or a stop. */
  #burst(vcpu: BackendVcpu): MaybePromise<StopCause | typeof ASLEEP | undefined> {
    for (;;) {
      if (this.#request !== undefined) return undefined;
      if (this.#halted.has(vcpu)) {
        if (!this.#backend.interrupts?.pending(vcpu.index)) return ASLEEP;
        this.#halted.delete(vcpu);
      }
      const exit = vcpu.run();
      if (exit instanceof Promise) return exit.then((e) => this.#afterRun(vcpu, e));
      if (exit.kind === "slice") return this.#slice(vcpu);
      const cause = this.#judge(vcpu, exit);
      if (cause !== undefined) return cause;
    }
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
          this.#supervisor.trap(vcpu, exit),
          (verdict) => verdict === NOT_OURS ? this.#reflect(vcpu, exit) : verdict,
        );
      case "halt":
        return then(
          this.#supervisor.trap(vcpu, exit),
          (verdict) => verdict === NOT_OURS ? this.#halt(vcpu) : verdict,
        );
      case "slice":
      case "irq-window":
        return undefined;
      case "shutdown":
        return { kind: "shutdown", reason: "triple-fault" };
      case "system-event":
        return exit.event === "other"
          ? { kind: "fault", reason: `the guest raised a system event: ${exit.detail}` }
          : { kind: "shutdown", reason: exit.event, detail: exit.detail };
      case "fail-entry":
        return {
          kind: "fault",
          reason: `the processor refused to enter the guest (reason 0x${exit.reason.toString(16)})`,
        };
      case "internal-error":
        return { kind: "fault", reason: exit.reason, ...(exit.bytes && { bytes: exit.bytes.slice() }) };
      case "exit":
        return { kind: "exit", code: exit.code };
      case "gone":
        return { kind: "gone", reason: exit.reason };
      case "unsupported":
        return { kind: "fault", reason: exit.reason };
      default:
        return exit satisfies never;
    }
  }

  #access(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined> {
    const supervisor = this.#supervisor;
    if (
      (exit.kind === "io-out" && exit.port === supervisor.trapPort) ||
      (exit.kind === "mmio-write" && supervisor.guardsPages)
    ) {
      return then(
        supervisor.trap(vcpu, exit),
        (verdict) => verdict === NOT_OURS ? this.#answer(vcpu, exit) : verdict,
      );
    }
    return this.#answer(vcpu, exit);
  }

  #answer(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined> {
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
        if (idle === "halted-forever") return { kind: "halt" };
        return turn().then(() => this.#request ?? this.step(vcpu, options));
      });
    }
    const cause = this.#judge(vcpu, exit);
    if (cause instanceof Promise) return cause.then((c) => c ?? this.step(vcpu, options));
    if (cause !== undefined) return cause;
    // HLT with IF = 1 is a whole instruction: the step is done, the vCPU sleeps.
    return exit.kind === "halt" ? undefined : AGAIN;
  }

  /** A step is done; a watchpoint may have fired with it. The guest's own INT3 goes to its handler. */
  #stepped(
    vcpu: BackendVcpu,
    exit: DebugExit,
    options: StepOptions | undefined,
  ): MaybePromise<StopCause | undefined> {
    if (exit.exception === BP) return then(this.#reflect(vcpu, exit), () => this.step(vcpu, options));
    if ((exit.hits ?? Number(exit.dr6 & DR6_HITS)) === 0) return undefined;
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

const IF = 1n << 9n;
/** DR6.B0 to B3: which debug registers matched (SDM vol. 3B, 17.2.3). */
const DR6_HITS = 0xfn;
/** The vector of INT3. */
const BP = 3;
const AGAIN = Symbol("the instruction is not finished");
const ASLEEP = Symbol("the vCPU sleeps until an interrupt");

/** An MSR a filter handed out is read or written for the guest; an unknown one gets #GP, as on hardware. */
function answerMsr(vcpu: BackendVcpu, exit: MsrExit): MaybePromise<void> {
  if (exit.reason !== "filter") return exit.fail();
  const view = new DataView(exit.data.buffer, exit.data.byteOffset, 8);
  try {
    const done = exit.kind === "msr-read"
      ? then(vcpu.readMsr(exit.index), (value) => view.setBigUint64(0, value, true))
      : vcpu.writeMsr(exit.index, view.getBigUint64(0, true));
    return done instanceof Promise ? done.catch(() => exit.fail()) : undefined;
  } catch {
    // The hypervisor refuses the MSR or the value: so would the processor, with #GP.
    return exit.fail();
  }
}

/** A device threw: the guest stands at the access, which counts as answered. */
function deviceFault(vcpu: BackendVcpu, exit: PortExit | MmioExit, buses: Buses, error: unknown): StopCause {
  const [bus, address] = "port" in exit ? [buses.port, exit.port] : [buses.mmio, exit.address];
  const name = bus.find(address)?.device.name ?? "a device";
  const direction = exit.kind === "io-in" || exit.kind === "mmio-read" ? "read" : "write";
  const where = `${direction} of ${exit.data.length} bytes at ${"port" in exit ? "port " : ""}0x${
    address.toString(16)
  }`;
  const message = error instanceof Error ? error.message : String(error);
  return {
    kind: "fault",
    reason: `device ${name} threw on a ${where}, RIP 0x${vcpu.rip.toString(16)}: ${message}`,
    error: new HvshError(`device ${name} threw: ${message}`, {
      cause: error,
      remedy: "mend the device and continue: the access counts as answered",
    }),
  };
}
