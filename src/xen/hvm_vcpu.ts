import { ERRNO } from "../abi/errno.ts";
import { hvm_hw_cpu, HVM_SAVE, vm_event_regs_x86 } from "../abi/xen.ts";
import { HostError } from "../host/error.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import type { AccessRow, MaybePromise, StepBurst, StepOptions, VcpuEvents } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { then } from "../vm/promise.ts";
import type { VmExit } from "../vm/exit.ts";
import { GENERAL, type RegisterName, type Registers, type RegisterValues } from "../vm/registers.ts";
import { hideTrapFlag, stepByHand, stepsByProcessor } from "../x86/hand_step.ts";
import { bitness, linearRip } from "../x86/mode.ts";
import { walk } from "../x86/paging.ts";
import { cross, type InstructionLength } from "./crossing.ts";
import { finishedByXen, LOOK_AT } from "./emulated.ts";
import type { GuestContext } from "./guest_context.ts";
import { readRecord, RECORD_MSRS, recordIn, rightsOf, writeRecord } from "./hvm_record.ts";
import type { IoreqServer } from "./ioreq_server.ts";
import type { XenMemory } from "./memory.ts";
import type { Monitor } from "./monitor.ts";
import { snapshot, StepSnapshot, type StepSource } from "./registers.ts";
import type { SteppedGuest } from "./step_burst.ts";
import { type VcpuParts, XenVcpu } from "./vcpu.ts";
import { wake } from "./waking.ts";

/** What only HVM vCPUs need. */
export interface HvmParts extends VcpuParts {
  readonly model: DeviceModel;
  /** The domain's memory. */
  memory(): XenMemory;
  /** The vm_event listener, once there is one. */
  monitor(): Monitor | undefined;
  /** The device model, where hvsh is one. */
  server(): IoreqServer | undefined;
  /** Decodes; without it, some instructions can't be stepped. */
  readonly lengthOf?: InstructionLength;
}

/** What it takes to find the instruction under RIP. */
type CodeRegisters = Pick<
  Registers,
  "rip" | "rflags" | "cr0" | "cr3" | "cr4" | "efer" | "cs_base" | "cs_attributes"
>;

const GENERAL_NAMES: ReadonlySet<RegisterName> = new Set(GENERAL);
const IF = 1n << 9n;
/** CR0.PE. */
const PROTECTED = 1n;
/** DR6.BS: a single step (SDM vol. 3B, 17.2.3). */
const DR6_BS = 1n << 14n;
/** A vCPU of a busy host may wait that long for its turn. */
const HALT_MS = 2000;
/** OUT imm8, AL with its operand, and OUT DX, AL (SDM vol. 2B). */
const OUT_BYTES = 2n;
const OUT_IMMEDIATE = 0xe6;
const OUT_DX = 0xee;
const SLICE: VmExit = { kind: "slice" };
const { pending_event: PENDING, error_code: ERROR_CODE } = hvm_hw_cpu.offsets;

/** Where registers stand in an event, in 64-bit words. */
const WORD = (name: keyof typeof vm_event_regs_x86.offsets) => vm_event_regs_x86.offsets[name] >> 3;
const GENERAL_WORDS = GENERAL.map(WORD);
/** Where CS's access rights begin in the word of an event that has them; `hvm_hw_cpu` has the same twelve bits. */
const RIGHTS_SHIFT = BigInt(20 + 8 * (vm_event_regs_x86.offsets.cs & 7));
/** The base of CS shares a word with that of SS. */
const BASE_SHIFT = BigInt(8 * (vm_event_regs_x86.offsets.cs_base & 7));

/** A vCPU of an HVM or PVH domain. */
export class HvmVcpu extends XenVcpu {
  readonly #hvm: HvmParts;
  /** Whether it executed HLT with interrupts masked, and was not sent elsewhere since. */
  #halted = false;
  readonly #record = new Uint8Array(HVM_SAVE.CPU.length);
  /** The instruction being stepped is PUSHF, in real mode. */
  #hideFlag = false;
  /** When `#record` was fetched, and what was made of it. */
  #recordMoment = -1;
  #snapshot: { readonly moment: number; readonly registers: Registers } | undefined;
  readonly #code = new Uint8Array(LOOK_AT);
  readonly #source: StepSource;

  constructor(index: number, parts: HvmParts) {
    super(index, parts, false);
    this.#hvm = parts;
    const moments = () => this.moment;
    this.#source = {
      get moments() {
        return moments();
      },
      all: () => this.read(),
    };
  }

  protected read(): Registers {
    if (!this.started) return this.waiting.registers();
    const { moment, lateMoment: late } = this;
    if (this.#snapshot?.moment === moment) return this.#snapshot.registers;
    const values = this.#read();
    const monitor = this.#hvm.monitor();
    // What was set for the answer to an event is not in the record yet.
    if (monitor?.holds(this.index)) {
      for (const name of GENERAL) values.set(name, monitor.register(this.index, name)!);
    }
    const registers = snapshot({
      values,
      later: { names: ["cr8", "apic_base"], fetch: () => this.#lapicRegisters() },
      extended: () => this.extended(),
      fresh: () => this.lateMoment === late,
    });
    this.#snapshot = { moment, registers };
    return registers;
  }

  override run(): MaybePromise<VmExit> {
    // It sleeps on, as long as it is not sent elsewhere.
    if (this.#halted) return { kind: "halt" };
    return then(super.run(), (exit) => this.#noticed(exit));
  }

  /** What a single step does not get behind is crossed, where hvsh has the means; else it is refused: see emulated.ts. */
  override step(options?: StepOptions): MaybePromise<VmExit> {
    if (this.#halted) return { kind: "halt" };
    const { runner } = this.parts;
    runner.stand();
    const bare = () => then(super.step(options), (exit) => this.#noticed(exit));
    if (!runner.held) return bare();
    const request = this.#request;
    if (request !== undefined && !request.settled) {
      return then(this.settle(), (exit) => exit ?? this.#stepped());
    }
    // Each look at them is a request to Xen.
    const registers = this.registers();
    if ((registers.cr0 & PROTECTED) === 0n) {
      const how = stepByHand(this.#hand);
      if (how === "done") return this.#stepped();
      this.#hideFlag = how === "hide-flag";
    }
    const instruction = this.#underRip(registers);
    if (instruction === undefined) return bare();
    if (instruction === "HLT" && (registers.rflags & IF) === 0n) {
      return this.#noticed(runner.runOn(this.index, HALT_MS) ?? SLICE);
    }
    if (this.#hvm.lengthOf === undefined || this.#server === undefined) {
      return {
        kind: "unsupported",
        reason:
          `${instruction} can't be stepped here: Xen finishes it itself, and would hand the single step to the guest; ` +
          "continue to a place behind it",
      };
    }
    return then(this.#cross(), (exit) => exit ?? this.#stepped());
  }

  readonly row: AccessRow = {
    next: () => this.#halted ? undefined : this.parts.runner.nextAccess(this.index),
    mend: () => this.parts.runner.mend(),
  };

  burst(options: StepOptions): StepBurst | undefined {
    if (this.#halted || this.#request !== undefined) return undefined;
    return this.parts.runner.burst(this.index, options, this.#guest);
  }

  /** What a step's event tells is enough for the next one: a look at the vCPU is a hypercall. */
  readonly #guest: SteppedGuest = {
    plain: (standing) => this.#plain(standing),
    registers: () => {
      const monitor = this.#hvm.monitor()!;
      const flags = monitor.flagsOf(this.index);
      return new StepSnapshot(
        this.#source,
        monitor.words(this.index)!,
        GENERAL_WORDS,
        flags,
      ) as unknown as Registers;
    },
  };

  /** Whether the processor steps over the instruction under RIP, and what it does then is all there is to it. */
  #plain(standing: boolean): boolean {
    const now = standing ? this.#inEvent() : this.registers();
    const instruction = this.#underRip(now);
    return instruction === undefined &&
      ((now.cr0 & PROTECTED) !== 0n || stepsByProcessor(this.#code, now.rflags));
  }

  /** The registers that say where RIP is, as the event tells them that the vCPU waits in. */
  #inEvent(): CodeRegisters {
    const words = this.#hvm.monitor()!.words(this.index)!;
    const cs = words[WORD("cs")];
    return {
      rip: words[WORD("rip")],
      rflags: words[WORD("rflags")],
      cr0: words[WORD("cr0")],
      cr3: words[WORD("cr3")],
      cr4: words[WORD("cr4")],
      efer: words[WORD("msr_efer")],
      cs_base: words[WORD("cs_base")] >> BASE_SHIFT & 0xffff_ffffn,
      cs_attributes: rightsOf(Number(cs >> RIGHTS_SHIFT & 0xfffn), 0xffff),
    };
  }

  override settle(): MaybePromise<VmExit | undefined> {
    if (!this.parts.runner.tryHold()) return undefined;
    const request = this.#request;
    if (request === undefined) return undefined;
    const next = this.#server!.advance(this.index);
    if (next !== undefined) return next;
    if (!request.simple && !request.settled && this.#hvm.lengthOf !== undefined) return this.#cross();
    this.#settleSimple();
    return undefined;
  }

  /** Of one that waits for the answer to an access, its context tells it without a pause of the domain. */
  override get rip(): bigint {
    if (this.#request === undefined || this.parts.runner.held) return super.rip;
    this.readContext();
    return this.context.get("rip");
  }

  override registers(): Registers {
    this.#settleSimple();
    return super.registers();
  }

  /** Makes RAX what an IN gives, and RIP stands behind it already: nothing else is left of it. */
  #settleSimple(): void {
    const request = this.#request;
    if (request === undefined || !request.simple || request.settled || !this.parts.runner.held) return;
    // Its answer may not be in yet, where somebody looks in the middle of it.
    if (!request.complete) return;
    const change = this.#server!.settle(this.index);
    if (change !== undefined) this.change((context) => context.set("rax", change(context.get("rax"))));
  }

  #cross(): MaybePromise<VmExit | undefined> {
    const { runner } = this.parts;
    return cross({
      memory: this.#hvm.memory(),
      lengthOf: this.#hvm.lengthOf!,
      registers: () => super.registers(),
      setRip: (rip) => {
        this.#sentElsewhere();
        this.change((context) => context.set("rip", rip));
      },
      runOn: (ms) => runner.runOn(this.index, ms),
      settle: () => {
        this.#server!.advance(this.index);
        this.#server!.settle(this.index);
      },
    });
  }

  /** A step that ended without a #DB. */
  #stepped(): VmExit {
    return { kind: "debug", exception: 1, dr6: DR6_BS, pc: linearRip(super.registers()) };
  }

  #noticed(exit: VmExit): VmExit {
    if (exit.kind === "halt") this.#halted = true;
    if (exit.kind === "debug" && this.#hideFlag) {
      this.#hideFlag = false;
      hideTrapFlag(this.#hand);
    }
    return exit;
  }

  get #hand() {
    return {
      memory: this.#hvm.memory(),
      registers: () => super.registers(),
      setRegisters: (values: RegisterValues) => this.setRegisters(values),
    };
  }

  get #server(): IoreqServer | undefined {
    return this.#hvm.server();
  }

  get #request() {
    return this.#server?.request(this.index);
  }

  override idle(): "no" | "halted-forever" | "wait-for-sipi" {
    return this.#halted ? "halted-forever" : super.idle();
  }

  /**
   * For a domain that has shut down: whether it did since its last vCPU executed HLT with interrupts masked (hvm_hlt of
   * Xen's hvm.c). Its vCPUs are made to stand behind their HLT, as if they slept.
   */
  revive(): boolean {
    if (!this.started) return false;
    this.readContext();
    const { context } = this;
    const down = !context.online;
    if (!down || (context.get("rflags") & IF) !== 0n) return false;
    context.setOnline(true);
    this.parts.control.setContext(this.parts.domain, this.index, context.bytes);
    this.writes++;
    return true;
  }

  /** Forgets where it was: its state is set anew. */
  forget(): void {
    this.#server?.settle(this.index);
    this.#wake();
    this.writes++;
    this.extendedWrites++;
  }

  /** The general registers as they are in the vCPU now, whatever it reported, in the order of `GENERAL`. */
  general(): bigint[] {
    this.readContext();
    return GENERAL.map((name) => this.context.get(name));
  }

  /** RAX as it is in the vCPU now. */
  get rax(): bigint {
    this.readContext();
    return this.context.get("rax");
  }

  readContext(): void {
    this.parts.calls.getContext(this.parts.domain, this.index, this.context.bytes);
  }

  #underRip(registers: CodeRegisters): string | undefined {
    const code = this.#code;
    const at = linearRip(registers);
    // As far as the page goes: what lies behind may not be there.
    const part = Math.min(LOOK_AT, 4096 - Number(at & 0xfffn));
    code.fill(0, part);
    const { memory } = this.#hvm;
    const found = walk(registers, at, (gpa, into) => memory().read(gpa, into));
    if (found instanceof Promise || !found.ok) {
      code.fill(0);
      return undefined;
    }
    memory().read(found.gpa, code.subarray(0, part));
    const descriptors = this.#hvm.monitor()?.reports.descriptors ?? false;
    return finishedByXen(code, bitness(registers) === 64, descriptors);
  }

  msrs(): readonly number[] {
    return [...RECORD_MSRS.keys()];
  }

  readMsr(index: number): bigint {
    this.parts.runner.hold();
    this.needStarted();
    const member = this.#msr(index);
    this.parts.runner.there(() => this.#fetch());
    return new DataView(this.#record.buffer).getBigUint64(hvm_hw_cpu.offsets[member], true);
  }

  writeMsr(index: number, value: bigint): void {
    this.needStarted();
    const member = this.#msr(index);
    this.#changeImage((record) => {
      const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
      view.setBigUint64(hvm_hw_cpu.offsets[member], BigInt.asUintN(64, value), true);
    });
  }

  lapic(): Uint8Array {
    const { control, domain, runner } = this.parts;
    runner.hold();
    this.needStarted();
    const page = new Uint8Array(HVM_SAVE.LAPIC_REGS.length);
    runner.there(() => control.getRecord(domain, HVM_SAVE.LAPIC_REGS, this.index, page));
    return page;
  }

  /** The record has one pending event (VMCB's EVENTINJ: vector, type in bits 8..10, valid in 31), and no more. */
  events(): VcpuEvents {
    this.parts.runner.hold();
    this.needStarted();
    this.#fetch();
    const view = new DataView(this.#record.buffer);
    const event = view.getUint32(PENDING, true);
    const valid = event >>> 31 === 1;
    const type = event >> 8 & 7;
    const vector = event & 0xff;
    const withCode = (event & 1 << 11) !== 0;
    return {
      ...(valid && type === 3 && {
        exception: {
          vector,
          pending: false,
          ...(withCode && { errorCode: view.getUint32(ERROR_CODE, true) }),
        },
      }),
      ...(valid && (type === 0 || type === 4) && { interrupt: { vector, soft: type === 4 } }),
      shadow: 0,
      nmiPending: false,
      nmiInjected: valid && type === 2,
      nmiMasked: false,
      smm: false,
    };
  }

  injectException(vector: number, errorCode?: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 31) {
      throw new RangeError(`Exceptions have vectors 0 to 31, not ${vector}.`);
    }
    this.parts.runner.hold();
    this.parts.runner.needLiving();
    this.needStarted();
    this.#hvm.model.injectException(this.parts.domain, this.index, vector, errorCode);
    this.writes++;
  }

  protected write(values: readonly (readonly [RegisterName, bigint])[]): void {
    if (values.length === 0) return;
    this.#settleSimple();
    for (const [name] of values) {
      if (name === "xcr0" || name === "cr8" || name === "apic_base") {
        throw new UnsupportedError(name, "Xen does not let another domain set it", {
          remedy: "have the guest's own code set it",
        });
      }
    }
    if (!this.started) {
      this.waiting.set(values);
      this.writes++;
      return;
    }
    const monitor = this.#hvm.monitor();
    const waits = monitor?.holds(this.index) ?? false;
    const inRecord: (readonly [RegisterName, bigint])[] = [];
    for (const [name, value] of values) {
      if (waits && GENERAL_NAMES.has(name)) monitor!.setRegister(this.index, name, value);
      else inRecord.push([name, value]);
    }
    if (values.some(([name]) => name === "rip")) this.#wake();
    this.writes++;
    if (inRecord.length === 0) return;
    if (inRecord.every(([name]) => GENERAL_NAMES.has(name) || /^dr\d$/.test(name))) {
      this.change((context) => inRecord.forEach(([name, value]) => context.set(name, value)));
      return;
    }
    this.#changeImage((record) => {
      for (const [name, value] of inRecord) writeRecord(record, name, value);
    });
  }

  /** Who sends it elsewhere wants the instruction there to run: HLT's sleep ends. */
  #wake(): void {
    this.#sentElsewhere();
    this.#halted = false;
    const { control, domain } = this.parts;
    wake({ control, model: this.#hvm.model, domain, vcpu: this.index });
  }

  #sentElsewhere(): void {
    const request = this.#request;
    if (request !== undefined) request.moved = true;
  }

  /** For a vCPU behind an OUT to `port` that is answered: back to it, unless it is the guest's own and stands there still. */
  rewind(port: number): void {
    const registers = super.registers();
    const memory = this.#hvm.memory();
    const code = [OUT_BYTES, 1n].map((back) => {
      const found = walk(registers, linearRip(registers) - back, (gpa, into) => memory.read(gpa, into));
      const byte = new Uint8Array(1);
      if (!(found instanceof Promise) && found.ok) memory.read(found.gpa, byte);
      return byte[0];
    });
    const own = (code[0] === OUT_IMMEDIATE && code[1] === port) ||
      (code[1] === OUT_DX && (registers.rdx & 0xffffn) === BigInt(port));
    if (!own) this.change((context) => context.set("rip", registers.rip - OUT_BYTES));
  }

  /** Changes the context, if it has one. */
  changeContext(body: (context: GuestContext) => void): void {
    if (this.started) this.change(body);
  }

  /** Sets or clears RFLAGS.TF outside of an event; gives what it was. */
  setTrapFlag(on: boolean): boolean {
    const TF = 1n << 8n;
    let before = 0n;
    this.changeContext((context) => {
      before = context.get("rflags");
      context.set("rflags", on ? before | TF : before & ~TF);
    });
    return (before & TF) !== 0n;
  }

  /** A change of what only a whole image takes: control and segment registers, MSRs. */
  #changeImage(body: (record: Uint8Array) => void): void {
    const { control, domain, runner } = this.parts;
    runner.hold();
    const image = control.getImage(domain);
    const record = recordIn(image, HVM_SAVE.CPU.code, this.index);
    if (record !== undefined) {
      body(record);
      runner.needLiving();
      control.setImage(domain, image);
      this.writes++;
      return;
    }
    throw new UnsupportedError("this register", `the domain's state has no record of vCPU ${this.index}`);
  }

  #fetch(): void {
    if (this.#recordMoment === this.moment) return;
    const { control, domain, runner } = this.parts;
    const get = () => {
      control.getRecord(domain, HVM_SAVE.CPU, this.index, this.#record);
      this.#recordMoment = this.moment;
    };
    try {
      get();
    } catch (error) {
      // Xen has no record of a vCPU that is down: it met HLT for good as the domain was being paused.
      if (!(error instanceof HostError && error.errno === ERRNO.ENODATA && runner.revive())) throw error;
      this.#halted = true;
      get();
    }
  }

  #read(): Map<RegisterName, bigint> {
    this.#fetch();
    return readRecord(this.#record);
  }

  #lapicRegisters(): Map<RegisterName, bigint> {
    const state = new Uint8Array(HVM_SAVE.LAPIC.length);
    this.parts.control.getRecord(this.parts.domain, HVM_SAVE.LAPIC, this.index, state);
    // CR8 is the upper half of the task-priority register at 0x80 (SDM vol. 3A, 11.8.6).
    const priority = this.lapic()[0x80] >> 4;
    return new Map([["cr8", BigInt(priority)], [
      "apic_base",
      new DataView(state.buffer).getBigUint64(0, true),
    ]]);
  }

  #msr(index: number) {
    const member = RECORD_MSRS.get(index >>> 0);
    if (member !== undefined) return member;
    throw new UnsupportedError(`MSR 0x${index.toString(16)}`, "it does not stand in the domain's state", {
      remedy: "msrs() lists those there are",
    });
  }
}
