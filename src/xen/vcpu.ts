import type { DomainCalls } from "../host/xen/domctl.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { BackendVcpu, MaybePromise, StepOptions, Traps, VcpuEvents } from "../vm/backend.ts";
import { InputError, StateError, UnsupportedError } from "../vm/errors.ts";
import type { VmExit } from "../vm/exit.ts";
import { FPU, type RegisterName, type Registers, type RegisterValues, VECTOR } from "../vm/registers.ts";
import * as xsave from "../x86/xsave.ts";
import { GuestContext } from "./guest_context.ts";
import { NotStarted } from "./not_started.ts";
import { checkedValues } from "./register_write.ts";
import { decodeExtended, type ExtendedState, snapshot } from "./registers.ts";
import type { DomainRunner } from "./runner.ts";

/** What the vCPUs of one domain have in common. */
export interface VcpuParts {
  readonly control: XenControl;
  readonly calls: DomainCalls;
  readonly domain: number;
  readonly runner: DomainRunner;
}

const EXTENDED: ReadonlySet<RegisterName> = new Set([...FPU, ...VECTOR]);
/** Bytes before the XSAVE area in the extended state. */
const HEAD = 16;

const EMPTY: ExtendedState = { xcr0: 0n, area: new Uint8Array(xsave.XSAVE_MINIMUM) };

/** What vCPUs of all kinds of domains share: running, the guest context, XSAVE state. */
export abstract class XenVcpu implements BackendVcpu {
  readonly index: number;
  #last: Registers | undefined;
  readonly #pv: boolean;
  /** While it waits to be started, and was looked at. */
  #waiting: NotStarted | undefined;
  protected readonly parts: VcpuParts;
  protected readonly context = new GuestContext();
  /** Grows with each register that is set. */
  protected writes = 0;
  /** How often XSAVE state was set, or all of it replaced. */
  protected extendedWrites = 0;

  constructor(index: number, parts: VcpuParts, pv: boolean) {
    this.index = index;
    this.parts = parts;
    this.#pv = pv;
  }

  /**
   * Whether it runs, or did. The first vCPU always is. Others wait for INIT and SIPI, and for their kernel's again after
   * it; those of a PV guest for their kernel to bring them up (VCPUOP_initialise).
   */
  get started(): boolean {
    if (this.index > 0 && !this.parts.calls.hasContext(this.parts.domain, this.index)) return false;
    this.#waiting = undefined;
    return true;
  }

  /** What there is of one that is not started. */
  protected get waiting(): NotStarted {
    return this.#waiting ??= new NotStarted(this.#pv);
  }

  /** @throws {StateError} While it has none of what is asked for. */
  protected needStarted(): void {
    if (this.started) return;
    throw new StateError(`vCPU ${this.index} waits to be started: it has no such state`, "not started", {
      remedy: this.#pv
        ? "let the guest's kernel run until it brings it up"
        : "let the first one run until it sends INIT and SIPI",
    });
  }

  /** The registers now; the domain is paused. */
  protected abstract read(): Registers;
  /** Sets registers that are no XSAVE state; nothing is set if one can't be. */
  protected abstract write(values: readonly (readonly [RegisterName, bigint])[]): void;

  run(): MaybePromise<VmExit> {
    return this.parts.runner.run(this.index);
  }

  step(options?: StepOptions): MaybePromise<VmExit> {
    return this.parts.runner.step(this.index, options);
  }

  settle(): MaybePromise<VmExit | undefined> {
    this.parts.runner.tryHold();
    return undefined;
  }

  /** Of a domain that is gone: those that were read last, or zeros. */
  registers(): Registers {
    const { runner } = this.parts;
    if (runner.tryHold()) return this.#last = runner.there(() => this.read());
    return this.#last ??= snapshot({ values: new Map(), extended: () => EMPTY, fresh: () => true });
  }

  get rip(): bigint {
    return this.registers().rip;
  }

  kick(): void {
    // A slice ends by itself within 5 ms.
  }

  setTraps(traps: Traps): void {
    this.parts.runner.setTraps(traps);
  }

  idle(): "no" | "halted-forever" | "wait-for-sipi" {
    // One that sleeps is woken by events of Xen's, which are none of ours to know.
    return this.started ? "no" : "wait-for-sipi";
  }

  setRegisters(values: RegisterValues): void {
    this.parts.runner.there(() => this.#setRegisters(values));
  }

  #setRegisters(values: RegisterValues): void {
    this.parts.runner.hold();
    const checked = checkedValues(values);
    const extended = checked.filter(([name]) => EXTENDED.has(name));
    this.write(checked.filter(([name]) => !EXTENDED.has(name)));
    if (extended.length === 0) return;
    this.extendedWrites++;
    const state = this.parts.calls.getExtendedState(this.parts.domain, this.index);
    if (state.length < HEAD + xsave.XSAVE_MINIMUM) {
      this.#setLegacy(extended as [xsave.XsaveName, bigint][]);
      return;
    }
    const area = state.subarray(HEAD);
    for (const [name, value] of extended) xsave.set(area, name as xsave.XsaveName, value);
    this.parts.runner.needLiving();
    this.parts.calls.setExtendedState(this.parts.domain, this.index, state);
    this.writes++;
  }

  /** A vCPU that never used its FPU has no XSAVE state to change: its first one comes with the guest context. */
  #setLegacy(values: readonly [xsave.XsaveName, bigint][]): void {
    const { area } = this.extended();
    for (const [name, value] of values) xsave.set(area, name, value);
    this.change((context) => context.setFpu(area.subarray(0, 512)));
  }

  xsave(): Uint8Array {
    const { runner } = this.parts;
    runner.hold();
    return runner.there(() => this.extended().area.slice());
  }

  setXsave(area: Uint8Array): void {
    this.parts.runner.hold();
    const state = this.parts.calls.getExtendedState(this.parts.domain, this.index);
    if (area.length !== state.length - HEAD) {
      throw new InputError(`This vCPU's XSAVE area has ${state.length - HEAD} bytes, not ${area.length}`, {
        remedy: "change what xsave() gave, and set that",
      });
    }
    state.set(area, HEAD);
    this.parts.runner.needLiving();
    this.parts.calls.setExtendedState(this.parts.domain, this.index, state);
    this.writes++;
    this.extendedWrites++;
  }

  trapMsrs(indices: readonly number[]): void {
    if (indices.length === 0) return;
    throw new UnsupportedError("msr-exits", "hvsh does not ask Xen for MSR events", {
      remedy: "break at the code that accesses it",
    });
  }

  setLapic(_page: Uint8Array): never {
    throw new UnsupportedError("setting the local APIC", "Xen takes it with a whole machine's state only", {
      remedy: "read it with lapic()",
    });
  }

  setEvents(_events: Partial<VcpuEvents>): never {
    throw new UnsupportedError("setting pending events", "Xen takes them with a whole machine's state only", {
      remedy: "use injectException()",
    });
  }

  abstract msrs(): readonly number[];
  abstract readMsr(index: number): bigint;
  abstract writeMsr(index: number, value: bigint): void;
  abstract lapic(): Uint8Array;
  abstract events(): VcpuEvents;
  abstract injectException(vector: number, errorCode?: number): void;

  /** XSAVE state now. */
  protected extended(): ExtendedState {
    const state = this.parts.calls.getExtendedState(this.parts.domain, this.index);
    this.parts.calls.getContext(this.parts.domain, this.index, this.context.bytes);
    return decodeExtended(state, this.context.fpu);
  }

  /**
   * Changes the guest context. Setting it makes Xen forget the AVX registers (vcpu_setup_fpu of its domain.c), so
   * that the XSAVE state is put back behind it.
   */
  protected change(body: (context: GuestContext) => void): void {
    const { control, calls, domain } = this.parts;
    calls.getContext(domain, this.index, this.context.bytes);
    const state = calls.getExtendedState(domain, this.index);
    body(this.context);
    this.parts.runner.needLiving();
    control.setContext(domain, this.index, this.context.bytes);
    if (state.length > HEAD) calls.setExtendedState(domain, this.index, state);
    this.writes++;
  }

  /** A number that is the same as long as the vCPU has not moved and nothing of it was set: both only ever grow. */
  protected get moment(): number {
    return this.parts.runner.generation + this.writes;
  }

  /**
   * One for what a snapshot reads late, FPU and vector registers among it: a debug register that is set as a breakpoint
   * is removed leaves that as it is.
   */
  protected get lateMoment(): number {
    return this.parts.runner.generation + this.extendedWrites;
  }
}
