import type { StepBurst, StepOptions, VcpuEvents } from "../vm/backend.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { GENERAL, type RegisterName, type Registers } from "../vm/registers.ts";
import { isCanonical } from "../x86/mode.ts";
import { GENERAL_WORDS, GuestContext } from "./guest_context.ts";
import type { PhysicalToMachine } from "./p2m.ts";
import type { PvStopper } from "./pv_stopper.ts";
import { snapshot, StepSnapshot, type StepSource } from "./registers.ts";
import type { SteppedGuest } from "./step_burst.ts";
import { FRAMED } from "./stub.ts";
import { trapGates } from "./trap_table.ts";
import { type VcpuParts, XenVcpu } from "./vcpu.ts";

/** What only PV vCPUs need. */
export interface PvParts extends VcpuParts {
  readonly p2m: PhysicalToMachine;
  /** The stop stub, once it is in. */
  stopper(): PvStopper | undefined;
}

const SETTABLE = new Set<RegisterName>([
  ...GENERAL,
  ...(["cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base"] as const),
  ...(["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"] as const),
]);
/** A context in which one of these is not canonical is refused as a whole (arch_set_info_guest). */
const ADDRESSES = new Set<RegisterName>(["rip", "rsp", "fs_base", "gs_base"]);
const LINEAR_BITS = 48;

/** MSRs that stand in the context, as registers. */
const MSRS: ReadonlyMap<number, RegisterName> = new Map([[0xc000_0100, "fs_base"], [0xc000_0101, "gs_base"]]);

/** Where the context has the general registers that a vCPU in the stub has in its frame. */
const FRAMED_WORDS = GENERAL.flatMap((name, i) =>
  (FRAMED as readonly string[]).includes(name) ? [[GENERAL_WORDS[i], name] as const] : []
);

/** A vCPU of a PV domain. */
export class PvVcpu extends XenVcpu {
  readonly #pv: PvParts;
  readonly #source: StepSource;
  readonly #guest: SteppedGuest;
  #snapshot: { readonly moment: number; readonly registers: Registers } | undefined;

  constructor(index: number, parts: PvParts) {
    super(index, parts, true);
    this.#pv = parts;
    const moments = () => this.moment;
    this.#source = {
      get moments() {
        return moments();
      },
      all: () => this.read(),
    };
    this.#guest = { plain: () => true, registers: () => this.#behindStep() };
  }

  burst(options: StepOptions): StepBurst | undefined {
    return this.parts.runner.burst(this.index, options, this.#guest);
  }

  /** The general registers, from the context by which the vCPU was found in the stub, and from its frame there. */
  #behindStep(): Registers {
    const stopper = this.#pv.stopper()!;
    const { words } = this.context;
    for (const [place, name] of FRAMED_WORDS) words[place] = stopper.register(this.index, name)!;
    return new StepSnapshot(this.#source, words, GENERAL_WORDS) as unknown as Registers;
  }

  protected read(): Registers {
    const { moment, lateMoment: late } = this;
    if (this.#snapshot?.moment === moment) return this.#snapshot.registers;
    if (!this.started) return this.waiting.registers();
    const values = this.readContext().values();
    const stopper = this.#pv.stopper();
    if (stopper?.holds(this.index)) {
      for (const name of FRAMED) values.set(name, stopper.register(this.index, name)!);
    }
    const registers = snapshot({
      values,
      extended: () => this.extended(),
      fresh: () => this.lateMoment === late,
      physicalOf: this.#pv.p2m.physicalOf,
    });
    this.#snapshot = { moment, registers };
    return registers;
  }

  /** What a page walk needs. The kernel's tables: they map the user's memory too. */
  paging() {
    return { ...this.readContext().paging(), physicalOf: this.#pv.p2m.physicalOf };
  }

  /** The context, if it has one. */
  findContext(): GuestContext | undefined {
    return this.started ? this.readContext() : undefined;
  }

  /** The context as Xen has it: that of the stub while the vCPU waits there. */
  readContext(): GuestContext {
    this.parts.calls.getContext(this.parts.domain, this.index, this.context.bytes);
    return this.context;
  }

  /** Changes it, if there is one. */
  changeContext(body: (context: GuestContext) => void): void {
    if (this.started) this.change(body);
  }

  msrs(): readonly number[] {
    return [...MSRS.keys()];
  }

  readMsr(index: number): bigint {
    return this.registers()[msr(index)];
  }

  writeMsr(index: number, value: bigint): void {
    this.setRegisters({ [msr(index)]: BigInt.asUintN(64, value) });
  }

  lapic(): never {
    throw new UnsupportedError("lapic", "a PV guest has no local APIC: it has event channels", {
      remedy: "see docs/xen.md",
    });
  }

  trapTable(): Uint8Array {
    this.parts.runner.hold();
    this.needStarted();
    const context = this.readContext();
    const stopper = this.#pv.stopper();
    return trapGates((vector) => stopper?.ownTrap(this.index, vector) ?? context.trap(vector));
  }

  events(): VcpuEvents {
    this.parts.runner.hold();
    return { shadow: 0, nmiPending: false, nmiInjected: false, nmiMasked: false, smm: false };
  }

  injectException(vector: number): void {
    this.parts.runner.hold();
    const stopper = this.#pv.stopper();
    if ((vector !== 1 && vector !== 3) || stopper === undefined) {
      throw new UnsupportedError(
        "injectException",
        "Xen has no call for it on PV guests; #DB and #BP that the guest raised itself are passed on",
        { remedy: "set RIP and the stack as its handler expects them" },
      );
    }
    stopper.reflect(this.index, vector);
  }

  protected write(values: readonly (readonly [RegisterName, bigint])[]): void {
    const fixed = values.find(([name]) => !SETTABLE.has(name));
    if (fixed !== undefined) {
      throw new UnsupportedError(
        fixed[0],
        "Xen keeps it for a PV guest, and lets nobody set it from outside",
        {
          remedy: "have the guest's own code set it by its hypercall",
        },
      );
    }
    const wild = values.find(([name, value]) => ADDRESSES.has(name) && !isCanonical(value, LINEAR_BITS));
    if (wild !== undefined) {
      const [name, value] = wild;
      throw new InputError(`${name} of a PV guest can't be 0x${value.toString(16)}: it is not canonical`, {
        remedy: "bits 47 to 63 must be equal",
      });
    }
    if (!this.started) {
      this.waiting.set(values);
      this.writes++;
      return;
    }
    const stopper = this.#pv.stopper();
    const rest = values.filter(([name, value]) => !stopper?.setRegister(this.index, name, value));
    this.writes++;
    if (rest.length > 0) this.change((context) => rest.forEach(([name, value]) => context.set(name, value)));
  }
}

function msr(index: number): RegisterName {
  const name = MSRS.get(index >>> 0);
  if (name !== undefined) return name;
  throw new UnsupportedError(`MSR 0x${index.toString(16)}`, "it does not stand in a PV vCPU's context", {
    remedy: "msrs() lists those there are",
  });
}
