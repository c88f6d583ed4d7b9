/** Stopping and stepping PV guests by the stop stub. */

import { XEN } from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import { EventChannels } from "../host/xen/event_channels.ts";
import type { Traps } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { VmExit } from "../vm/exit.ts";
import type { RegisterName } from "../vm/registers.ts";
import { DebugRegisters } from "./debug_registers.ts";
import type { GuestContext } from "./guest_context.ts";
import { Others } from "./others.ts";
import type { QuickSteps, StopStrategy, VcpuEvent } from "./strategy.ts";
import type { Left, Marks } from "./marks.ts";
import { MASK_EVENTS, type Trap } from "./trap_table.ts";
import { findRoom, FRAME, FRAME_SIZE, FRAMED, PLACE, SELECTORS, STUB_SIZE, stubCode } from "./stub.ts";
import { readFlags } from "./domain.ts";
import { connectPort } from "./stub_port.ts";

const TF = 1n << 8n;
const PAGE = 4096n;
/** How far around the kernel's event entry room is looked for: Linux's text is smaller than 32 MiB. */
const REACH_PAGES = 8192;
/** How often a vCPU in the stub is looked at: now and then it has pushed a number that it takes back at once. */
const LOOKS = 16;
/** #DB and #BP: the vectors that are pointed at the stub. */
const VECTORS = [1, 3] as const;

/** What the strategy needs of a PV domain. */
export interface StopperParts {
  readonly control: XenControl;
  readonly domain: number;
  /** Who it is, as in its record. */
  readonly uuid: string;
  readonly vcpus: number;
  /** A vCPU's context now; undefined if the guest never brought it up. */
  read(vcpu: number): GuestContext | undefined;
  /** Changes a vCPU's context, if it has one; AVX registers stay. */
  change(vcpu: number, body: (context: GuestContext) => void): void;
  /** Reads at a linear address of the kernel's; false if it is not mapped. */
  readLinear(at: bigint, into: Uint8Array): boolean;
  /** Writes there, read-only pages too. */
  writeLinear(at: bigint, bytes: Uint8Array): void;
  /** Where it is written down what is in the domain. */
  readonly marks?: Marks;
  /** Where a linear address lies in guest-physical memory, by the tables of a context; undefined if it is not mapped. */
  physical(context: GuestContext, at: bigint): bigint | undefined;
  /** The page of a guest-physical address, to be used at once. */
  page(gpa: bigint): { read(at: number, into: Uint8Array): void; write(at: number, from: Uint8Array): void };
}

/** A vCPU that waits in the stub. */
interface Waiting {
  /** Linear address of the frame. */
  readonly at: bigint;
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  /** What was taken out of DR6; 0 if nothing was. */
  readonly dr6: bigint;
  /** Where the frame lies in guest-physical memory, where it is known to lie on one page. */
  readonly gpa?: bigint;
}

/** The stub in a PV guest. */
export class PvStopper implements StopStrategy {
  readonly #parts: StopperParts;
  readonly #channels = new EventChannels();
  readonly #port: number | undefined;
  readonly #place: bigint;
  readonly #original = new Uint8Array(STUB_SIZE);
  readonly #traps: [Trap, Trap][] = [];
  readonly #waiting = new Map<number, Waiting>();
  /** vCPUs that are stepped, and whether the guest itself had TF set. */
  readonly #stepping = new Map<number, boolean>();
  readonly #debugRegisters: DebugRegisters;
  readonly #others: Others;
  /** Where the page lies on which the last frame was found, as long as nothing but steps came between. */
  #stack: { readonly page: bigint; readonly cr3: bigint; readonly gpa: bigint } | undefined;
  #closed = false;

  /**
   * @param left Given where one is in the guest whose debugger is no more: it is taken over, to be closed at once.
   * @throws {UnsupportedError} If the guest's kernel has no room for the stub.
   */
  constructor(parts: StopperParts, left?: Left) {
    this.#parts = parts;
    const { marks } = parts;
    this.#debugRegisters = new DebugRegisters(
      parts.vcpus,
      parts.change,
      (own) => marks?.debugRegisters(own),
    );
    this.#others = new Others(parts, left?.down);
    this.quick = parts.vcpus > 1 ? undefined : {
      release: (vcpu) => this.#letGo(vcpu),
      // It looks by itself.
      tell: () => {},
      wait: (ms) => this.wait(ms),
      take: (vcpu) => this.#find(vcpu),
      mend: () => this.#channels.unmask(),
    };
    using cleanup = new DisposableStack();
    cleanup.use(this.#channels);
    if (left?.stub !== undefined) {
      const { place, original, traps } = left.stub;
      this.#place = place;
      this.#original.set(original);
      this.#traps.push(...traps.map(([debug, breakpoint]): [Trap, Trap] => [debug, breakpoint]));
      for (const [vcpu, own] of left.stepped) this.#stepping.set(vcpu, own);
      this.#debugRegisters.takeOver(left.registers);
      cleanup.move();
      return;
    }
    this.#place = this.#findPlace();
    const port = connectPort({
      domain: parts.domain,
      uuid: parts.uuid,
      exists: (domain) => readFlags(parts.control, domain) !== undefined,
      allocate: () => parts.control.allocateUnbound(parts.domain),
      bind: (guest) => this.#channels.bind(parts.domain, guest),
    });
    this.#port = port.ours;
    parts.readLinear(this.#place, this.#original);
    for (let vcpu = 0; vcpu < parts.vcpus; vcpu++) {
      const context = parts.read(vcpu);
      this.#traps.push(context === undefined ? [NO_TRAP, NO_TRAP] : [context.trap(1), context.trap(3)]);
    }
    this.#mark();
    parts.writeLinear(this.#place, stubCode(port.guest));
    for (let vcpu = 0; vcpu < parts.vcpus; vcpu++) {
      parts.change(vcpu, (context) => VECTORS.forEach((vector) => this.#point(context, vector)));
    }
    cleanup.move();
  }

  /** Where the context of a vCPU tells that it waits in the stub, it waits: there is no need to pause the domain. */
  readonly quick: QuickSteps | undefined;

  wait(ms: number): boolean {
    return this.#channels.wait(ms) !== undefined;
  }

  gather(): VcpuEvent[] {
    this.#stack = undefined;
    while (this.#channels.wait(0) !== undefined);
    return this.#arrived();
  }

  /**
   * A vCPU whose registers are not saved yet, or taken back already: RIP and RSP are the stub's, and what the guest has is
   * in its registers by half.
   */
  unsettled(): boolean {
    for (let vcpu = 0; vcpu < this.#parts.vcpus; vcpu++) {
      if (this.#waiting.has(vcpu)) continue;
      const context = this.#parts.read(vcpu);
      if (context !== undefined && this.covers(context.get("rip"))) return true;
    }
    return false;
  }

  release(kept: ReadonlySet<number>): void {
    for (const [vcpu, waiting] of this.#waiting) {
      // One that is down would not get out of the stub.
      if (kept.has(vcpu) || this.#others.holds(vcpu)) continue;
      this.#waiting.delete(vcpu);
      waiting.view.setBigUint64(FRAME.release, 0n, true);
      this.#parts.writeLinear(waiting.at, waiting.frame);
    }
  }

  /** A kernel that starts, or brings up a processor, sets its trap table anew. */
  refresh(): void {
    this.#debugRegisters.refresh();
    for (let vcpu = 0; vcpu < this.#parts.vcpus; vcpu++) {
      const context = this.#parts.read(vcpu);
      if (context === undefined) continue;
      if (VECTORS.every((vector) => this.covers(context.trap(vector).address))) continue;
      this.#parts.change(vcpu, (now) => {
        const anew = VECTORS.filter((vector) => !this.covers(now.trap(vector).address));
        for (const vector of anew) this.#traps[vcpu][VECTORS.indexOf(vector)] = now.trap(vector);
        this.#mark();
        for (const vector of anew) this.#point(now, vector);
      });
    }
  }

  setStepping(vcpu: number, on: boolean, execute = false): void {
    if (on) this.#others.hold(vcpu);
    else this.#others.letGo();
    if (!on || !execute) this.#debugRegisters.withhold(vcpu, on);
    if (on) this.#parts.marks?.step(vcpu, false);
    const flag = on || (this.#stepping.get(vcpu) ?? false);
    const waiting = this.#waiting.get(vcpu);
    let before = 0n;
    if (waiting !== undefined) {
      before = waiting.view.getBigUint64(FRAME.rflags, true);
      waiting.view.setBigUint64(FRAME.rflags, flag ? before | TF : before & ~TF, true);
    } else {
      this.#parts.change(vcpu, (context) => {
        before = context.get("rflags");
        context.set("rflags", flag ? before | TF : before & ~TF);
      });
    }
    const own = (before & TF) !== 0n;
    if (on && own) this.#parts.marks?.step(vcpu, true);
    if (on) this.#stepping.set(vcpu, own);
    else this.#stepping.delete(vcpu);
  }

  /** INT3 needs nothing but the stub. */
  setTraps(traps: Traps): void {
    this.#debugRegisters.set(traps.hardware);
  }

  /** Whether a vCPU waits in the stub. */
  holds(vcpu: number): boolean {
    return this.#waiting.has(vcpu);
  }

  /** The guest's own handler of a vector that is pointed at the stub. */
  ownTrap(vcpu: number, vector: number): Trap | undefined {
    const index = VECTORS.indexOf(vector as 1 | 3);
    return index < 0 ? undefined : this.#traps[vcpu][index];
  }

  /** Whether a linear address is the stub's. */
  covers(address: bigint): boolean {
    return address >= this.#place && address < this.#place + BigInt(STUB_SIZE);
  }

  /** A register that stands in a waiting vCPU's frame. */
  register(vcpu: number, name: RegisterName): bigint | undefined {
    const at = framed(name);
    const waiting = this.#waiting.get(vcpu);
    if (at === undefined || waiting === undefined) return undefined;
    if (SELECTORS.includes(name)) return BigInt(waiting.view.getUint16(at, true));
    const value = waiting.view.getBigUint64(at, true);
    const own = name === "rflags" ? this.#stepping.get(vcpu) : undefined;
    return own === undefined ? value : own ? value | TF : value & ~TF;
  }

  /** Sets one; false if it does not stand there. */
  setRegister(vcpu: number, name: RegisterName, value: bigint): boolean {
    const at = framed(name);
    const waiting = this.#waiting.get(vcpu);
    if (at === undefined || waiting === undefined) return false;
    if (SELECTORS.includes(name)) waiting.view.setUint16(at, Number(value), true);
    else waiting.view.setBigUint64(at, value, true);
    return true;
  }

  /** Hands a #DB or #BP to the guest's own handler, with the stack as Xen would have left it. */
  reflect(vcpu: number, vector: 1 | 3): void {
    const waiting = this.#waiting.get(vcpu);
    const own = this.#traps[vcpu][vector === 1 ? 0 : 1];
    if (waiting === undefined || own.address === 0n) {
      throw new UnsupportedError(
        "this exception",
        "a PV guest takes one from here only in place of one it raised",
      );
    }
    this.#waiting.delete(vcpu);
    const { view } = waiting;
    // RIP was put back to the INT3 for whoever asks; its handler expects it behind.
    if (vector === 3) view.setBigUint64(FRAME.rip, view.getBigUint64(FRAME.rip, true) + 1n, true);
    this.#parts.writeLinear(waiting.at, waiting.frame);
    this.#parts.change(vcpu, (context) => {
      for (const name of ["rax", "rsi", "rdi"] as const) {
        context.set(name, view.getBigUint64(FRAME[name], true));
      }
      if (waiting.dr6 !== 0n) context.set("dr6", waiting.dr6);
      context.set("rip", own.address);
      context.set("rsp", waiting.at + BigInt(FRAME.rcx));
    });
  }

  close(living: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    using _channels = this.#channels;
    if (!living) return;
    const { vcpus } = this.#parts;
    this.#others.letGo();
    this.gather();
    for (const vcpu of [...this.#stepping.keys()]) this.setStepping(vcpu, false);
    this.#debugRegisters.restore();
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      this.#parts.change(vcpu, (context) => {
        for (const [i, vector] of VECTORS.entries()) {
          // Of one that was brought up since it was last looked at, the guest's own are there still.
          if (this.covers(context.trap(vector).address)) context.setTrap(vector, this.#traps[vcpu][i]);
        }
        this.#restore(vcpu, context);
      });
    }
    if (this.#port !== undefined) this.#channels.unbind(this.#port);
    this.#parts.writeLinear(this.#place, this.#original);
    this.#parts.marks?.stopStub(undefined);
  }

  /** Before it is changed. */
  #mark(): void {
    this.#parts.marks?.stopStub({ place: this.#place, original: this.#original, traps: this.#traps });
  }

  /** Takes a waiting vCPU out of the stub by its context, so that the stub's bytes may go. */
  #restore(vcpu: number, context: GuestContext): void {
    const waiting = this.#waiting.get(vcpu);
    if (waiting === undefined) return;
    this.#waiting.delete(vcpu);
    const { view } = waiting;
    for (const name of FRAMED) {
      const at = FRAME[name];
      context.set(
        name,
        SELECTORS.includes(name) ? BigInt(view.getUint16(at, true)) : view.getBigUint64(at, true),
      );
    }
  }

  #point(context: GuestContext, vector: 1 | 3): void {
    const own = context.trap(vector);
    const offset = vector === 1 ? PLACE.debug : PLACE.breakpoint;
    // INT3 of user programs must be allowed: DPL 3.
    const flags = (vector === 3 ? 3 : own.flags & 3) | MASK_EVENTS;
    const cs = own.cs === 0 ? XEN.FLAT_KERNEL_CS64 : own.cs;
    context.setTrap(vector, { flags, cs, address: this.#place + BigInt(offset) });
  }

  /** Lets a vCPU go on whose domain is not paused. Nothing is called once that is done: see step_burst.ts. */
  #letGo(vcpu: number): void {
    const waiting = this.#waiting.get(vcpu)!;
    const { view, frame } = waiting;
    // It was found by `#find`.
    const gpa = waiting.gpa!;
    const page = this.#parts.page(gpa);
    const at = Number(gpa & PAGE - 1n);
    const rflags = view.getBigUint64(FRAME.rflags, true);
    // POPF and IRET may have taken it out.
    if (this.#stepping.has(vcpu) && (rflags & TF) === 0n) {
      view.setBigUint64(FRAME.rflags, rflags | TF, true);
      page.write(at + FRAME.rflags, frame.subarray(FRAME.rflags, FRAME.rflags + 8));
    }
    page.write(at, RELEASED);
    this.#waiting.delete(vcpu);
  }

  /** The stop of a vCPU whose domain is not paused, if it is plain to see. Nothing is called once it is taken. */
  #find(vcpu: number): VmExit | undefined {
    // What DR6 says is cleared for the next trap: that takes a pause.
    if (this.#debugRegisters.armed) return undefined;
    for (let look = 0; look < LOOKS; look++) {
      const context = this.#parts.read(vcpu);
      if (context === undefined || !this.#waits(context)) continue;
      const at = context.get("rsp");
      if ((at & PAGE - 1n) + BigInt(FRAME_SIZE) > PAGE) return undefined;
      const gpa = this.#frameAt(context, at);
      if (gpa === undefined) return undefined;
      const frame = new Uint8Array(FRAME_SIZE);
      this.#parts.page(gpa).read(Number(gpa & PAGE - 1n), frame);
      const view = new DataView(frame.buffer);
      const vector = view.getUint32(FRAME.release, true);
      if (vector === 3) return undefined;
      if (vector !== 1) continue;
      const exit: VmExit = {
        kind: "debug",
        exception: 1,
        dr6: 0n,
        pc: view.getBigUint64(FRAME.rip, true),
      };
      this.#waiting.set(vcpu, { at, frame, view, dr6: 0n, gpa });
      return exit;
    }
    return undefined;
  }

  /** Step by step the stack stays on one page: its tables are walked once, as the processor's TLB has it. */
  #frameAt(context: GuestContext, at: bigint): bigint | undefined {
    const offset = at & PAGE - 1n;
    const cr3 = context.tables;
    const last = this.#stack;
    if (last?.page === at - offset && last.cr3 === cr3) return last.gpa + offset;
    const gpa = this.#parts.physical(context, at);
    this.#stack = gpa === undefined ? undefined : { page: at - offset, cr3, gpa: gpa - offset };
    return gpa;
  }

  /** Whether a vCPU is where the stub's frame lies at RSP, but for a number that it pushes and pops. */
  #waits(context: GuestContext): boolean {
    const offset = context.get("rip") - this.#place;
    return offset >= BigInt(PLACE.saved) && offset < BigInt(PLACE.leaving);
  }

  /** vCPUs that wait in the stub and that nobody knows of yet. */
  #arrived(): VcpuEvent[] {
    const events: VcpuEvent[] = [];
    for (let vcpu = 0; vcpu < this.#parts.vcpus; vcpu++) {
      if (this.#waiting.has(vcpu)) continue;
      const context = this.#parts.read(vcpu);
      if (context === undefined || !this.#waits(context)) continue;
      const frame = new Uint8Array(FRAME_SIZE);
      const at = context.get("rsp");
      if (!this.#parts.readLinear(at, frame)) continue;
      const view = new DataView(frame.buffer);
      const vector = Number(view.getBigUint64(FRAME.release, true));
      // Released, but it has had no time to see it.
      if (vector !== 1 && vector !== 3) continue;
      if (vector === 3) view.setBigUint64(FRAME.rip, view.getBigUint64(FRAME.rip, true) - 1n, true);
      const pc = view.getBigUint64(FRAME.rip, true);
      const dr6 = vector === 1 ? this.#debugRegisters.takeCause(vcpu) : 0n;
      this.#waiting.set(vcpu, { at, frame, view, dr6 });
      events.push({ vcpu, exit: { kind: "debug", exception: vector, dr6, pc } });
    }
    return events;
  }

  /** Room for the stub in the kernel's text, as near to its event entry as there is some. */
  #findPlace(): bigint {
    // The first vCPU always has one.
    const context = this.#parts.read(0)!;
    const near = context.eventCallback !== 0n ? context.eventCallback : context.get("rip");
    const first = near - near % PAGE;
    const page = new Uint8Array(Number(PAGE));
    for (let distance = 0; distance < REACH_PAGES; distance++) {
      for (
        const at of distance === 0
          ? [first]
          : [first - BigInt(distance) * PAGE, first + BigInt(distance) * PAGE]
      ) {
        if (at < 0n || !this.#parts.readLinear(at, page)) continue;
        const found = findRoom(page);
        if (found >= 0) return at + BigInt(found);
      }
    }
    throw new UnsupportedError(
      "stopping this PV guest",
      `its kernel has no ${STUB_SIZE} bytes of padding (INT3) near 0x${near.toString(16)} for the stop stub`,
      { remedy: "leave that much room in a kernel of your own; look at the guest while it is paused" },
    );
  }
}

/** Of a vCPU that was never brought up. */
const NO_TRAP: Trap = { flags: 0, cs: 0, address: 0n };

/** The frame's first word, of a vCPU that may go on. */
const RELEASED = new Uint8Array(8);

function framed(name: RegisterName): number | undefined {
  return (FRAMED as readonly string[]).includes(name) ? FRAME[name as typeof FRAMED[number]] : undefined;
}
