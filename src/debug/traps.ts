import type { Backend, BackendVcpu, MaybePromise } from "../vm/backend.ts";
import type { AccessHit, AccessSpace } from "../vm/breakpoint.ts";
import type { Vcpu } from "../vm/machine.ts";
import type { AccessExit, DebugExit, MmioExit, ReportExit } from "../vm/exit.ts";
import { NOT_OURS, type Supervisor, type TrapExit } from "../vm/loop.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import { linearRip } from "../x86/mode.ts";
import type { ManagedBreakpoint } from "./breakpoint.ts";
import type { GuardedPages } from "./guarded_pages.ts";
import { ConditionHit, type ConditionReader, judge, judgeAll } from "./hit.ts";
import { physical } from "./linear.ts";
import type { Patch, Patches, PatchKind } from "./patches.ts";
import type { Slots } from "./slots.ts";

/** What the supervisor works with; made by the debugger. */
export interface TrapParts {
  readonly backend: Backend;
  readonly patches: Patches;
  readonly slots: Slots;
  readonly pages: GuardedPages;
  /** Every breakpoint there is, by id. */
  readonly breakpoints: ReadonlyMap<number, ManagedBreakpoint>;
  /** Breaks on ports, MMIO and MSRs. */
  readonly accesses: ReadonlySet<ManagedBreakpoint>;
  /** The public face of a vCPU. */
  readonly vcpus: readonly Vcpu[];
  /** Reads guest-physical memory, breakpoints hidden. */
  readonly read: (gpa: bigint, into: Uint8Array) => MaybePromise<void>;
  /** Reads for conditions on a vCPU. */
  readonly reader: (vcpu: BackendVcpu, registers: Registers) => ConditionReader;
  /** Finishes an instruction in flight. */
  readonly settle: (vcpu: BackendVcpu) => MaybePromise<void>;
  /** Waits for an asynchronous condition, but not for ever: a pause or a time limit ends it. */
  readonly unlessAsked: <T>(answer: Promise<T>) => Promise<T | undefined>;
  /** How long it is waited for at most, in milliseconds; 10 s if left out. */
  readonly patienceMs?: number;
  /** Runs the instruction under the vCPU's RIP without its breakpoints. */
  readonly stepOff: (
    vcpu: BackendVcpu,
    registers: Registers,
    under?: Patch,
  ) => MaybePromise<StopCause | undefined>;
}

/** What an access break is told of an access. */
type Access = Omit<AccessHit, "vcpu" | "registers" | "hits">;

/** How long an asynchronous condition is waited for, in milliseconds: it blocks the guest, but nobody else. */
const PATIENCE_MS = 10_000;

/** DR6.BS: a single step. */
const DR6_BS = 1n << 14n;

/** How far behind the patch RIP stands when the exit arrives. */
const BEHIND: Readonly<Record<PatchKind, bigint>> = { int3: 0n, hlt: 1n, out: 2n };

/** Decides which exits are breakpoints, and whether those stop. */
export class Traps implements Supervisor {
  /** Which breakpoint's condition runs now: whom to blame if it never returns. */
  judging: ManagedBreakpoint | undefined;
  readonly #parts: TrapParts;

  constructor(parts: TrapParts) {
    this.#parts = parts;
  }

  get trapPort(): number {
    return this.#parts.patches.trapPort;
  }

  get watchesAccesses(): boolean {
    return this.#parts.accesses.size > 0;
  }

  get guardsPages(): boolean {
    return this.#parts.pages.size > 0;
  }

  sliceEnded(_vcpu: BackendVcpu): void {
    if (this.#parts.patches.size > 0) this.#parts.patches.refresh();
  }

  /** A loader that reads its disk by ports runs what it has read before a slice ends. */
  accessing(): void {
    if (this.#parts.patches.size > 0) this.#parts.patches.refreshLive();
  }

  trap(
    vcpu: BackendVcpu,
    exit: TrapExit,
    putBack?: () => void,
  ): MaybePromise<StopCause | undefined | typeof NOT_OURS> {
    switch (exit.kind) {
      case "debug":
        return exit.exception === 3
          ? this.#patched(vcpu, "int3", putBack)
          : this.#debugged(vcpu, exit, putBack);
      case "halt":
        return this.#patched(vcpu, "hlt", putBack);
      case "io-out":
        return then(this.#parts.settle(vcpu), () => this.#patched(vcpu, "out", putBack));
      case "mmio-write":
        return this.#parts.pages.has(exit.address) ? this.#pageWritten(vcpu, exit) : NOT_OURS;
      default:
        return NOT_OURS;
    }
  }

  /** Access breaks at an access that a device (or nobody) has answered. */
  accessed(vcpu: BackendVcpu, exit: AccessExit): MaybePromise<StopCause | undefined> {
    const space = "port" in exit ? "port" : "index" in exit ? "msr" : "mmio";
    const address = BigInt("port" in exit ? exit.port : "index" in exit ? exit.index : exit.address);
    const write = exit.kind === "io-out" || exit.kind === "mmio-write" || exit.kind === "msr-write";
    const length = "port" in exit ? exit.size : "index" in exit ? 1 : exit.data.length;
    const hit = this.#accessesAt(space, address, length, write);
    if (hit.length === 0) return undefined;
    const access: Access = { space, address, write, data: exit.data.slice() };
    return then(this.#parts.settle(vcpu), () => this.#judgeAccess(vcpu, hit, access));
  }

  /** Access breaks at what the hypervisor reports. */
  reported(vcpu: BackendVcpu, exit: ReportExit): MaybePromise<StopCause | undefined> {
    const { space, write } = exit;
    const address = BigInt(exit.address);
    const hit = this.#accessesAt(space, address, 1, write);
    if (hit.length === 0) return undefined;
    const before = exit.before?.slice();
    return this.#judgeAccess(vcpu, hit, {
      space,
      address,
      write,
      data: exit.data.slice(),
      ...(before && { before }),
    });
  }

  #accessesAt(space: AccessSpace, address: bigint, length: number, write: boolean): ManagedBreakpoint[] {
    return [...this.#parts.accesses].filter((b) =>
      b.space === space && b.covers(address, length) &&
      (b.direction === undefined || (b.direction === "write") === write)
    );
  }

  #judgeAccess(
    vcpu: BackendVcpu,
    hit: readonly ManagedBreakpoint[],
    access: Access,
  ): MaybePromise<StopCause | undefined> {
    return then(vcpu.registers(), (registers) =>
      this.#judgeAll(hit, (breakpoint) => {
        const makeHit = (): AccessHit => ({
          vcpu: this.#parts.vcpus[vcpu.index],
          registers,
          hits: breakpoint.hits,
          ...access,
        });
        const cause = (): StopCause => ({ kind: "access", ...access, breakpoint });
        return judge(breakpoint, vcpu.index, registers, makeHit, cause);
      }));
  }

  /** Judges the execute breakpoints at the instruction under RIP, for steps that land on one. */
  arrived(vcpu: BackendVcpu, registers: Registers, address: bigint): MaybePromise<StopCause | undefined> {
    return then(
      this.executeAt(registers, address),
      (found) => found.length === 0 ? undefined : this.#judgeExecute(vcpu, registers, found),
    );
  }

  /** The enabled execute breakpoints at a linear address, given linearly or physically. */
  executeAt(registers: Registers, address: bigint): MaybePromise<ManagedBreakpoint[]> {
    const found: ManagedBreakpoint[] = [];
    let needsGpa = false;
    for (const breakpoint of this.#parts.breakpoints.values()) {
      if (breakpoint.access !== "execute" || !breakpoint.enabled) continue;
      if (breakpoint.space === "gva" && breakpoint.at === address) found.push(breakpoint);
      needsGpa ||= breakpoint.space === "gpa";
    }
    if (!needsGpa) return found;
    return then(physical(registers, address, this.#parts.read), (gpa) => {
      for (const breakpoint of this.#parts.breakpoints.values()) {
        const { space, at, access, enabled } = breakpoint;
        if (space === "gpa" && at === gpa && access === "execute" && enabled) found.push(breakpoint);
      }
      return found;
    });
  }

  /** Watchpoints for which `touched` says that the last instruction touched them. */
  watched(
    vcpu: BackendVcpu,
    registers: Registers,
    touched: readonly {
      breakpoint: ManagedBreakpoint;
      address: bigint;
      before?: Uint8Array;
      after?: Uint8Array;
    }[],
  ): MaybePromise<StopCause | undefined> {
    return this.#judgeAll(touched.map((t) => t.breakpoint), (breakpoint) => {
      const { address, before, after } = touched.find((t) => t.breakpoint === breakpoint)!;
      const cause = (): StopCause => ({
        kind: "watchpoint",
        breakpoint,
        address,
        ...(before && { before }),
        ...(after && { after }),
      });
      return judge(breakpoint, vcpu.index, registers, () => this.#hit(vcpu, registers, breakpoint), cause);
    });
  }

  /** An exit that a patch may have forced: RIP goes back to the breakpoint. */
  #patched(
    vcpu: BackendVcpu,
    kind: PatchKind,
    putBack?: () => void,
  ): MaybePromise<StopCause | undefined | typeof NOT_OURS> {
    const { patches } = this.#parts;
    if (patches.size === 0) return NOT_OURS;
    return then(vcpu.registers(), (behind) => {
      const rip = wrapRip(behind, behind.rip - BEHIND[kind]);
      const address = linearRip(rip === behind.rip ? behind : moved(behind, rip));
      return then(this.#patchAt(behind, address, kind), (patch) => {
        if (patch === undefined) return NOT_OURS;
        const back = rip === behind.rip ? undefined : vcpu.setRegisters({ rip });
        return then(
          back,
          () =>
            then(vcpu.registers(), (registers) => this.#executed(vcpu, registers, address, patch, putBack)),
        );
      });
    });
  }

  #patchAt(registers: Registers, address: bigint, kind: PatchKind): MaybePromise<Patch | undefined> {
    // A breakpoint that was given by this linear address: no need to walk the page tables for it.
    for (const { at, space, how, enabled, gpa } of this.#parts.breakpoints.values()) {
      if (at !== address || how !== kind || !enabled || space !== "gva" || gpa === undefined) continue;
      const patch = this.#parts.patches.at(gpa);
      if (patch?.inserted) return patch;
    }
    return then(physical(registers, address, this.#parts.read), (gpa) => {
      const patch = this.#parts.patches.at(gpa);
      return patch?.kind === kind && patch.inserted ? patch : undefined;
    });
  }

  /** #DB: a debug register, or the guest's own doing. */
  #debugged(
    vcpu: BackendVcpu,
    exit: DebugExit,
    putBack?: () => void,
  ): MaybePromise<StopCause | undefined | typeof NOT_OURS> {
    // After a step, B0..B3 may also name execute traps that were not armed (SDM vol. 3B, 17.2.3).
    const stepped = (exit.dr6 & DR6_BS) !== 0n;
    const fired = this.#parts.slots.traps.filter((trap, slot) =>
      trap && (exit.dr6 >> BigInt(slot) & 1n) === 1n && !(stepped && trap.access === "execute")
    );
    if (fired.length === 0 && exit.remote !== true) return NOT_OURS;
    return then(vcpu.registers(), (registers) => {
      const data = fired.filter((trap) => trap!.access !== "execute");
      if (data.length === 0) {
        return this.#executed(vcpu, registers, linearRip(registers), undefined, putBack);
      }
      const touched = [...this.#parts.breakpoints.values()].filter((b) =>
        b.how === "hardware" && b.enabled &&
        data.some((trap) => trap!.address === b.at && trap!.access === b.access)
      ).map((breakpoint) => ({ breakpoint, address: breakpoint.at }));
      return this.watched(vcpu, registers, touched);
    });
  }

  /** The vCPU stands before an instruction with a breakpoint on it: judge, and if none stops, step off. */
  #executed(
    vcpu: BackendVcpu,
    registers: Registers,
    address: bigint,
    under?: Patch,
    putBack?: () => void,
  ): MaybePromise<StopCause | undefined> {
    if (putBack !== undefined) {
      putBack();
      return undefined;
    }
    return then(
      this.executeAt(registers, address),
      (found) =>
        then(
          found.length === 0 ? undefined : this.#judgeExecute(vcpu, registers, found),
          (cause) => cause ?? this.#parts.stepOff(vcpu, registers, under),
        ),
    );
  }

  #judgeExecute(
    vcpu: BackendVcpu,
    registers: Registers,
    found: readonly ManagedBreakpoint[],
  ): MaybePromise<StopCause | undefined> {
    return this.#judgeAll(found, (breakpoint) =>
      judge(
        breakpoint,
        vcpu.index,
        registers,
        () => this.#hit(vcpu, registers, breakpoint),
        () => ({ kind: "breakpoint", breakpoint }),
      ));
  }

  /** A write to a guarded page is done for the guest, whether it is watched or only a neighbour. */
  #pageWritten(vcpu: BackendVcpu, exit: MmioExit): MaybePromise<StopCause | undefined> {
    const { patches } = this.#parts;
    const hit = this.#watchesAt(exit.address, exit.data.length);
    const written = () => patches.deposit(exit.address, exit.data.slice());
    if (hit.length === 0) return then(written(), () => undefined);
    return then(
      this.#contents(hit),
      (before) =>
        then(
          written(),
          () =>
            then(this.#contents(hit), (after) =>
              then(this.#parts.settle(vcpu), () =>
                then(vcpu.registers(), (registers) =>
                  this.watched(
                    vcpu,
                    registers,
                    hit.map((breakpoint, i) => ({
                      breakpoint,
                      address: breakpoint.at,
                      before: before[i],
                      after: after[i],
                    })),
                  )))),
        ),
    );
  }

  /** The bytes that page watchpoints watch. */
  #contents(watches: readonly ManagedBreakpoint[]): MaybePromise<Uint8Array[]> {
    let done = undefined as MaybePromise<void>;
    const contents = watches.map(({ gpa, size }) => {
      const bytes = new Uint8Array(Number(size));
      done = then(done, () => this.#parts.read(gpa!, bytes));
      return bytes;
    });
    return then(done, () => contents);
  }

  /** Page watchpoints that cover any of `length` guest-physical bytes. */
  #watchesAt(gpa: bigint, length: number): ManagedBreakpoint[] {
    return [...this.#parts.breakpoints.values()].filter((b) =>
      b.how === "page" && b.enabled && b.gpa !== undefined && b.gpa < gpa + BigInt(length) &&
      gpa < b.gpa + b.size
    );
  }

  #judgeAll(
    breakpoints: readonly ManagedBreakpoint[],
    one: (breakpoint: ManagedBreakpoint) => MaybePromise<StopCause | undefined>,
  ): MaybePromise<StopCause | undefined> {
    return judgeAll(breakpoints, (breakpoint) => {
      this.judging = breakpoint;
      const verdict = one(breakpoint);
      const patient = verdict instanceof Promise ? this.#patiently(verdict, breakpoint) : verdict;
      return then(patient, (cause) => {
        this.judging = undefined;
        return cause;
      });
    });
  }

  /** Waits for an answer until a pause or a time limit, and no longer than a condition may take. */
  async #patiently(
    verdict: Promise<StopCause | undefined>,
    { id, condition }: ManagedBreakpoint,
  ): Promise<StopCause | undefined> {
    const { unlessAsked, patienceMs = PATIENCE_MS } = this.#parts;
    if (condition === undefined) return await unlessAsked(verdict);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<StopCause>((resolve) => {
      const reason = `the condition of breakpoint ${id} did not answer within ${patienceMs / 1000} s; ` +
        "its promise has to settle";
      timer = setTimeout(() => resolve({ kind: "fault", reason }), patienceMs);
    });
    try {
      return await unlessAsked(Promise.race([verdict, late]));
    } finally {
      clearTimeout(timer);
    }
  }

  #hit(vcpu: BackendVcpu, registers: Registers, breakpoint: ManagedBreakpoint): ConditionHit {
    const reader = this.#parts.reader(vcpu, registers);
    return new ConditionHit(this.#parts.vcpus[vcpu.index], registers, breakpoint, reader);
  }
}

/** RIP moved back wraps at the width of IP, EIP or RIP. */
function wrapRip(registers: Registers, rip: bigint): bigint {
  return rip >= 0n ? rip : BigInt.asUintN((registers.cs_attributes & 1n << 14n) !== 0n ? 32 : 16, rip);
}

/** What `linearRip` needs of `registers`, at another RIP. */
function moved(registers: Registers, rip: bigint) {
  const { cs_base, cr0, efer, rflags, cs_attributes } = registers;
  return { cs_base, cr0, efer, rflags, cs_attributes, rip };
}
