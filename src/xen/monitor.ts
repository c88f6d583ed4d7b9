/** Stopping and stepping HVM and PVH guests: Xen's vm_event ring (xen/vm_event.h), on which vCPUs report and wait. */

import { VM_EVENT, vm_event_debug, vm_event_regs_x86, VM_EVENT_RING, XEN } from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { EventChannels } from "../host/xen/event_channels.ts";
import type { Mapping } from "../host/mapping.ts";
import type { Traps } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { ReportExit } from "../vm/exit.ts";
import { GENERAL, type RegisterName } from "../vm/registers.ts";
import { DebugRegisters } from "./debug_registers.ts";
import type { GuestContext } from "./guest_context.ts";
import type { Left, Marks } from "./marks.ts";
import { Reported, reportIn } from "./reports.ts";
import type { VcpuEvent } from "./strategy.ts";

const REGS = vm_event_regs_x86.offsets;
const TF = 1n << 8n;
/** Slots of the ring: the largest power of two that fits the page (__RING_SIZE of xen/io/ring.h). */
const SLOTS = 8;

/** A vCPU that reported and waits for its answer. */
class Waiting {
  /** What it reported, changed to what it shall be answered. */
  readonly slot = new Uint8Array(VM_EVENT.size);
  readonly view = new DataView(this.slot.buffer);
  /** `struct vm_event_regs_x86` in it, as 64-bit words. */
  readonly words = new BigUint64Array(this.slot.buffer, VM_EVENT.data, vm_event_regs_x86.size >> 3);
  changed = false;
  /** Whether the instruction that it reported is Xen's to do when it goes on. */
  emulate = false;
}

/** What the monitor needs of the domain. */
export interface MonitorParts {
  readonly control: XenControl;
  readonly domain: number;
  readonly vcpus: number;
  /** What tells of events; the listener takes a port of it. */
  readonly channels: EventChannels;
  /** Changes a vCPU's context; AVX registers stay. */
  change(vcpu: number, body: (context: GuestContext) => void): void;
  /** A vCPU's general registers as Xen has them now, in the order of `GENERAL`. */
  general(vcpu: number): readonly bigint[];
  /** Sets or clears RFLAGS.TF of a vCPU that does not wait in an event; gives what it was. */
  setTrapFlag(vcpu: number, on: boolean): boolean;
  /** Where it is written down what is in the domain. */
  readonly marks?: Marks;
}

/** The one listener to a domain's vm_events. */
export class Monitor {
  readonly #parts: MonitorParts;
  readonly #ring: Mapping;
  readonly #view: DataView;
  readonly #port: number;
  readonly #slots: readonly Uint8Array<ArrayBuffer>[];
  readonly #waiting = new Map<number, Waiting>();
  /** Of vCPUs that do not wait, for the next time: they report without end. */
  readonly #idle: Waiting[] = [];
  /** vCPUs that are stepped, and whether the guest itself had TF set. */
  readonly #stepping = new Map<number, boolean>();
  readonly #debugRegisters: DebugRegisters;
  /** What is reported beside debug exceptions and INT3; to be changed while the domain is paused. */
  readonly reports: Reported;
  #consumed = 0;
  #produced = 0;
  #int3 = false;
  #closed = false;

  /** @throws {UnsupportedError} If the domain has another monitor, or its processor lacks what is needed. */
  constructor(parts: MonitorParts) {
    this.#parts = parts;
    this.#debugRegisters = new DebugRegisters(
      parts.vcpus,
      parts.change,
      (own) => parts.marks?.debugRegisters(own),
    );
    this.reports = new Reported(parts.control, parts.domain);
    const { control, domain } = parts;
    using cleanup = new DisposableStack();
    parts.marks?.listener(true);
    cleanup.defer(() => parts.marks?.listener(false));
    const { ring, port } = control.enableMonitor(domain);
    cleanup.defer(() => control.disableMonitor(domain));
    this.#ring = cleanup.use(ring);
    this.#view = new DataView(ring.buffer);
    const { ring: first } = VM_EVENT_RING;
    this.#slots = Array.from(
      { length: SLOTS },
      (_, i) => new Uint8Array(ring.buffer, first + VM_EVENT.size * i, VM_EVENT.size),
    );
    this.#port = parts.channels.bind(domain, port);
    cleanup.defer(() => parts.channels.unbind(this.#port));
    this.#initialise();
    if (!control.monitor(domain, "debug-exception", true)) {
      throw new UnsupportedError("single-step", "this Xen does not report debug exceptions of HVM guests", {
        remedy: "look at the guest while it is paused",
      });
    }
    cleanup.move();
  }

  /**
   * Takes the place of a listener whose process is no more, to be closed at once: vCPUs that it left waiting are answered
   * (vm_event_resume of Xen's vm_event.c lets those go that wait, and takes no notice of an answer to the others).
   */
  static takeOver(parts: MonitorParts, left: Left): Monitor {
    // It switches its events off, and lets those go that waited for room in the ring.
    parts.control.disableMonitor(parts.domain);
    const monitor = new Monitor(parts);
    monitor.#debugRegisters.takeOver(left.registers);
    for (const [vcpu, own] of left.stepped) if (!own) parts.setTrapFlag(vcpu, false);
    for (let vcpu = 0; vcpu < parts.vcpus; vcpu++) {
      const waiting = new Waiting();
      const { view } = waiting;
      view.setUint32(VM_EVENT.version, XEN.VM_EVENT_INTERFACE_VERSION, true);
      view.setUint32(VM_EVENT.vcpu_id, vcpu, true);
      view.setUint32(VM_EVENT.reason, XEN.VM_EVENT_REASON_DEBUG_EXCEPTION, true);
      monitor.#waiting.set(vcpu, waiting);
    }
    return monitor;
  }

  /**
   * SHARED_RING_INIT of xen/io/ring.h, which is the listener's to do: Xen sets up its own half alone, and the page may be
   * one that an earlier listener's ring was in.
   */
  #initialise(): void {
    new Uint8Array(this.#ring.buffer).fill(0);
    this.#setWord(VM_EVENT_RING.req_event, 1);
    this.#setWord(VM_EVENT_RING.rsp_event, 1);
  }

  /** Whether there is a report that was not taken yet. */
  get reported(): boolean {
    return this.#word(VM_EVENT_RING.req_prod) !== this.#consumed;
  }

  /** Which vCPUs have reported since it was last asked. The domain is paused. */
  gather(): VcpuEvent[] {
    const events: VcpuEvent[] = [];
    for (let event = this.#next(); event !== undefined; event = this.#next()) {
      if (event.exit.kind === "report") this.#caughtUp(event.vcpu, event.exit);
      events.push(event);
    }
    return events;
  }

  /** Answers every vCPU that waits but for those in `kept`. */
  release(kept: ReadonlySet<number> = NONE): void {
    for (const vcpu of [...this.#waiting.keys()]) {
      if (kept.has(vcpu)) continue;
      this.answer(vcpu);
      this.tell();
    }
  }

  /** Makes a vCPU report its next instruction, or no longer. The domain is paused. */
  setStepping(vcpu: number, on: boolean, execute = false): void {
    if (!on || !execute) this.#debugRegisters.withhold(vcpu, on);
    const waiting = this.#waiting.get(vcpu);
    if (on) {
      // Written down before it is set; that it is the guest's own is known only then.
      this.#parts.marks?.step(vcpu, false);
      const own = waiting === undefined
        ? this.#parts.setTrapFlag(vcpu, true)
        : this.#setWaitingFlag(waiting, true);
      this.#stepping.set(vcpu, own);
      if (own) this.#parts.marks?.step(vcpu, true);
      return;
    }
    const own = this.#stepping.get(vcpu) ?? false;
    this.#stepping.delete(vcpu);
    if (waiting === undefined) this.#parts.setTrapFlag(vcpu, own);
    else this.#setWaitingFlag(waiting, own);
  }

  /** What else shall be reported. The domain is paused. */
  setTraps(traps: Traps): void {
    this.#debugRegisters.set(traps.hardware);
    if (traps.int3 === this.#int3) return;
    const { control, domain } = this.#parts;
    if (!control.monitor(domain, "software-breakpoint", traps.int3)) {
      throw new UnsupportedError("breakpoint-int3", "this Xen does not report INT3 of HVM guests");
    }
    this.#int3 = traps.int3;
  }

  /** Sees to vCPUs that were started since. The domain is paused. */
  refresh(): void {
    this.#debugRegisters.refresh();
  }

  /** A register of a vCPU that waits in an event, as the event tells it. */
  register(vcpu: number, name: RegisterName): bigint | undefined {
    const waiting = this.#waiting.get(vcpu);
    const offset = offsetOf(name);
    if (name === "rflags" && waiting !== undefined) return this.flagsOf(vcpu);
    return waiting === undefined || offset === undefined
      ? undefined
      : waiting.view.getBigUint64(offset, true);
  }

  /** Whether a vCPU waits in an event. */
  holds(vcpu: number): boolean {
    return this.#waiting.has(vcpu);
  }

  /** Sets one of the general registers with the answer; false if the vCPU does not wait. */
  setRegister(vcpu: number, name: RegisterName, value: bigint): boolean {
    const waiting = this.#waiting.get(vcpu);
    const offset = offsetOf(name);
    if (waiting === undefined || offset === undefined) return false;
    waiting.view.setBigUint64(offset, value, true);
    waiting.changed = true;
    // Sent elsewhere, it has something else to do.
    if (name === "rip") waiting.emulate = false;
    return true;
  }

  /** Takes every trace out of the guest, unless it is gone. Idempotent. */
  close(living: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    const { control, domain, channels } = this.#parts;
    using cleanup = new DisposableStack();
    cleanup.use(this.#ring);
    cleanup.defer(() => channels.unbind(this.#port));
    if (!living) return;
    cleanup.defer(() => this.#parts.marks?.listener(false));
    cleanup.defer(() => control.disableMonitor(domain));
    if (this.#int3) control.monitor(domain, "software-breakpoint", false);
    control.monitor(domain, "debug-exception", false);
    this.reports.set([]);
    this.#debugRegisters.restore();
    // Whoever reported before the events were switched off waits still.
    this.gather();
    // Xen takes registers of an answer over when the vCPU is next run, and forgets them with the ring: a vCPU that had
    // just been stepped would keep RFLAGS.TF.
    for (const [vcpu, waiting] of this.#waiting) {
      // Without reports the instruction does not leave the guest any more.
      waiting.emulate = false;
      if (!waiting.changed) continue;
      this.#parts.change(vcpu, (context) => {
        for (const name of GENERAL) context.set(name, waiting.view.getBigUint64(offsetOf(name)!, true));
      });
      waiting.changed = false;
    }
    this.release();
  }

  /** The next report, whose vCPU waits from now on. Nothing is called once it is taken: see step_burst.ts. */
  #next(): VcpuEvent | undefined {
    if (!this.reported) return undefined;
    // Xen tells of the one behind it.
    this.#setWord(VM_EVENT_RING.req_event, this.#consumed + 2);
    const waiting = this.#idle.pop() ?? new Waiting();
    const { slot, view, words } = waiting;
    slot.set(this.#slots[this.#consumed % SLOTS]);
    const version = view.getUint32(VM_EVENT.version, true);
    if (version !== XEN.VM_EVENT_INTERFACE_VERSION) {
      throw new UnsupportedError("single-step", `this Xen reports events of version ${version}, not 7`);
    }
    const vcpu = view.getUint32(VM_EVENT.vcpu_id, true);
    const int3 = view.getUint32(VM_EVENT.reason, true) === XEN.VM_EVENT_REASON_SOFTWARE_BREAKPOINT;
    const pending = view.getBigUint64(VM_EVENT.u + vm_event_debug.offsets.pending_dbg, true);
    const pc = words[REGS.rip >> 3];
    // B0..B3 of a DR6 that the guest never cleared would look like watchpoints where none are armed.
    const cause = int3 ? 0n : (words[REGS.dr6 >> 3] | pending) & (this.#debugRegisters.armed ? ~0n : ~0xfn);
    const exit = reportIn(view) ?? { kind: "debug" as const, exception: int3 ? 3 : 1, dr6: cause, pc };
    const event: VcpuEvent = { vcpu, exit };
    waiting.changed = false;
    waiting.emulate = false;
    this.#waiting.set(vcpu, waiting);
    this.#consumed = this.#consumed + 1 >>> 0;
    return event;
  }

  /**
   * Xen reports in the middle of an instruction, and goes on to its end before the vCPU waits: what it has then is what
   * it shall be answered. But CPUID is left as it was, with its answer in the event alone, and an access to a descriptor
   * table's register is not done.
   */
  #caughtUp(vcpu: number, { space, done }: ReportExit): void {
    const waiting = this.#waiting.get(vcpu)!;
    waiting.emulate = !done;
    if (space === "cpuid") waiting.changed = true;
    if (space === "cpuid" || !done) return;
    const now = this.#parts.general(vcpu);
    GENERAL.forEach((name, i) => waiting.view.setBigUint64(offsetOf(name)!, now[i], true));
  }

  /** Takes the report of the one vCPU that may have one; undefined where it is `gather` that has to. */
  take(): VcpuEvent | undefined {
    const reason = this.#slots[this.#consumed % SLOTS][VM_EVENT.reason];
    return QUICK.has(reason) ? this.#next() : undefined;
  }

  /** Answers a vCPU that waits; it goes on once `tell` is called. Nothing is called once that is done: see step_burst.ts. */
  answer(vcpu: number): void {
    const waiting = this.#waiting.get(vcpu)!;
    const { slot, view } = waiting;
    // POPF and IRET may have taken it out.
    if (this.#stepping.has(vcpu) && (waiting.words[REGS.rflags >> 3] & TF) === 0n) {
      this.#setWaitingFlag(waiting, true);
    }
    const flags = XEN.VM_EVENT_FLAG_VCPU_PAUSED | (waiting.changed ? XEN.VM_EVENT_FLAG_SET_REGISTERS : 0) |
      (waiting.emulate ? XEN.VM_EVENT_FLAG_EMULATE : 0);
    view.setUint32(VM_EVENT.flags, flags, true);
    this.#slots[this.#produced % SLOTS].set(slot);
    const produced = this.#produced + 1 >>> 0;
    this.#idle.push(waiting);
    this.#view.setUint32(VM_EVENT_RING.rsp_prod, produced, true);
    this.#produced = produced;
    this.#waiting.delete(vcpu);
  }

  /** Has Xen look for answers. */
  tell(): void {
    this.#parts.channels.notify(this.#port);
  }

  /** What a vCPU that waits in an event reported: `struct vm_event_regs_x86`, in 64-bit words. */
  words(vcpu: number): BigUint64Array | undefined {
    return this.#waiting.get(vcpu)?.words;
  }

  /** Of a vCPU that is stepped: RFLAGS with the guest's own TF. */
  flagsOf(vcpu: number): bigint {
    const flags = this.#waiting.get(vcpu)!.words[REGS.rflags >> 3];
    const own = this.#stepping.get(vcpu);
    return own === undefined ? flags : own ? flags | TF : flags & ~TF;
  }

  /** Gives what TF was. */
  #setWaitingFlag(waiting: Waiting, on: boolean): boolean {
    const at = REGS.rflags >> 3;
    const rflags = waiting.words[at];
    waiting.words[at] = on ? rflags | TF : rflags & ~TF;
    waiting.changed = true;
    return (rflags & TF) !== 0n;
  }

  #word(at: number): number {
    return this.#view.getUint32(at, true);
  }

  #setWord(at: number, value: number): void {
    this.#view.setUint32(at, value >>> 0, true);
  }
}

const NONE: ReadonlySet<number> = new Set();
/** What can be taken while the domain runs. */
const QUICK: ReadonlySet<number> = new Set([
  XEN.VM_EVENT_REASON_DEBUG_EXCEPTION,
  XEN.VM_EVENT_REASON_SOFTWARE_BREAKPOINT,
]);

function offsetOf(name: RegisterName): number | undefined {
  const offset = (REGS as Readonly<Record<string, number>>)[name];
  return offset === undefined ? undefined : VM_EVENT.data + offset;
}
