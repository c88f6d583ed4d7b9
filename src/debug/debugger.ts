import { spaceOf } from "../vm/address.ts";
import type { Backend, BackendVcpu } from "../vm/backend.ts";
import type { Buses } from "../vm/dispatch.ts";
import { type LoopClock, RunLoop } from "../vm/loop.ts";
import type { Vcpu } from "../vm/machine.ts";
import { then } from "../vm/promise.ts";
import { BreakpointSet } from "./breakpoints.ts";
import { RunControl } from "./control.ts";
import { guarded } from "./guard.ts";
import { GuardedPages } from "./guarded_pages.ts";
import { readLinear } from "./linear_memory.ts";
import { TrapSettings } from "./means.ts";
import { History } from "./history.ts";
import { HiddenMemory } from "./memory.ts";
import { Motions } from "./motions.ts";
import { Patches } from "./patches.ts";
import { Slots } from "./slots.ts";
import { Stepper } from "./stepper.ts";
import { AccessTrace } from "./trace.ts";
import { Traps } from "./traps.ts";
import { ManagedVcpu } from "./vcpu.ts";
import { WatchStepper } from "./watch_step.ts";

/** The parts of a debugger over one backend, put together. */
export interface Debugger {
  readonly memory: HiddenMemory;
  readonly vcpus: readonly Vcpu[];
  readonly breakpoints: BreakpointSet;
  readonly control: RunControl;
  readonly motions: Motions;
  readonly history: History;
  readonly trace: AccessTrace;
  readonly loop: RunLoop;
  /** Takes every trace of the debugger out of the guest. */
  detach(): Promise<void>;
}

/** Device time: runs while the guest does. */
export interface MachineClock extends LoopClock {
  pause(): void;
  resume(): void;
}

/** What may be left out. */
export interface DebuggerOptions {
  /** How long a condition may take to settle its promise, in milliseconds. */
  readonly patienceMs?: number;
  /** Whether devices and consoles run nothing but hvsh's own code, whose every call ends; they do not, if left out. */
  readonly bounded?: () => boolean;
}

/** Puts a debugger over `backend`, with devices on `buses`. */
export function createDebugger(
  backend: Backend,
  buses: Buses,
  clock: MachineClock,
  { patienceMs, bounded = () => false }: DebuggerOptions = {},
): Debugger {
  const patches = new Patches(backend.memory, () => loop.hold());
  const slots = new Slots();
  const pages = new GuardedPages(backend.memory);
  const settings = new TrapSettings(backend.vcpus, slots, patches);
  const memory = new HiddenMemory(backend, patches, buses.mmio);
  const trace = new AccessTrace(undefined, backend.now);
  const read = (gpa: bigint, into: Uint8Array) => memory.peek(gpa, into);
  const vcpus = backend.vcpus.map((_, index) =>
    new ManagedVcpu(backend, index, memory, () => control.requirePaused("this vCPU's state"))
  );
  const breakpoints: BreakpointSet = new BreakpointSet({
    backend,
    patches,
    slots,
    pages,
    settings,
    read,
    current: () => control.current,
    open: () => control.requireOpen("breakpoints"),
  });
  const traps: Traps = new Traps({
    backend,
    patches,
    slots,
    pages,
    breakpoints: breakpoints.all,
    accesses: breakpoints.accesses,
    vcpus,
    read,
    reader: (_vcpu: BackendVcpu, registers) => (address, length) => {
      const into = new Uint8Array(length);
      const at = BigInt.asUintN(64, address);
      const done = spaceOf(address, "gva") === "gpa"
        ? memory.peek(at, into)
        : readLinear(registers, memory, at, into);
      return then(done, () => into);
    },
    settle: (vcpu) => loop.settle(vcpu),
    unlessAsked: (answer) => loop.unlessAsked(answer),
    ...(patienceMs !== undefined && { patienceMs }),
    stepOff: (vcpu, registers, under) => stepper.leave(vcpu, registers, under),
  });
  // Without code of the user's there is nothing to end, and a limit costs a thread for each burst.
  const limited = <T>(burst: () => T): T =>
    breakpoints.all.size === 0 && bounded() ? burst() : guarded(burst);
  const loop: RunLoop = new RunLoop(backend, buses, traps, trace, limited, clock);
  const stepper: Stepper = new Stepper(loop, patches, read);
  const watches = new WatchStepper({ stepper, traps, watched: breakpoints.stepped, memory });
  const control: RunControl = new RunControl({
    backend,
    loop,
    stepper,
    patches,
    traps,
    breakpoints,
    watches,
    vcpus,
    clock,
  });
  const motions = new Motions({ backend, control, breakpoints, vcpus, loop });
  return {
    history: new History({ backend, control, loop }),
    memory,
    vcpus,
    breakpoints,
    control,
    motions,
    trace,
    loop,
    async detach() {
      await breakpoints.clear();
      await patches.clear();
    },
  };
}
