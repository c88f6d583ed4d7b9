import { threadMs } from "../host/clock.ts";
import type { StepOptions, Traps } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import type { KvmBackend } from "./backend.ts";

/** Processor modes in which features are tried. */
export type ProbeMode = "real" | "long" | "user";

/**
 * A tiny guest, as the probes see it: code is put at `PROBE.code` and entered in a mode, and the exit is told.
 * There is nothing of KVM in it, so that tests can give the probes a machine that lies.
 */
export interface ProbeMachine {
  /** Starts afresh: `code` at `PROBE.code`, general registers zero but for those given, no traps. */
  start(mode: ProbeMode, code: readonly number[], registers?: RegisterValues): void;
  /** Writes guest-physical memory. */
  poke(at: number, bytes: readonly number[]): void;
  /** Reads one byte of guest-physical memory. */
  peek(at: number): number;
  /** Makes the page at `at` read-only for the guest, or writable. */
  protect(at: number, readOnly: boolean): void;
  setTraps(traps: Traps): void;
  trapMsrs(indices: readonly number[]): void;
  /** Asks for an external interrupt. */
  interrupt(vector: number): void;
  nmi(): void;
  run(): VmExit;
  step(options?: StepOptions): VmExit;
  settle(): VmExit | undefined;
  registers(): Registers;
  setRegisters(values: RegisterValues): void;
  /** Milliseconds of a processor that entering the guest has had up to now. */
  processorMs(): number;
}

/** Places in the probe guest's memory: guest-physical, and linear at the same number. */
export const PROBE = {
  /** Where code is put and entered. */
  code: 0x1000,
  /** Data that probes write to, on a page of its own. */
  data: 0x6000,
  /** Top of a stack. */
  stack: 0x8000,
  /** An interrupt handler of real mode. */
  handler: 0x1800,
  /** A port that nothing in a kernel answers. */
  port: 0x42f,
  /** An address without memory, inside what the page tables map. */
  nothing: 0x18_0000,
} as const;

/** Bytes of memory that the probe guest has; the rest of the 2 MiB that its page tables map is a hole. */
export const PROBE_MEMORY = 0x1_0000;

const PML4 = 0x2000;
const PDPT = 0x3000;
const PD = 0x4000;
/** Present, writable, user; and PS for a page of 2 MiB (SDM vol. 3A, 5.5). */
const TABLE = 0x7;
const LARGE_PAGE = 0x87;

/** Segment access rights: code and data, as SDM vol. 3C, 25.4.1 has them. */
const RIGHTS = { code16: 0x9bn, data16: 0x93n, code64: 0xa09bn, data32: 0xc093n, dpl3: 0x60n } as const;

/** Segment and control registers for a mode. */
function modeRegisters(mode: ProbeMode): RegisterValues {
  const real = mode === "real";
  const user = mode === "user";
  const rights = (kernel: bigint) => user ? kernel | RIGHTS.dpl3 : kernel;
  const limit = real ? 0xffffn : 0xffff_ffffn;
  const code = {
    selector: real ? 0n : user ? 0x1bn : 0x8n,
    rights: real ? RIGHTS.code16 : rights(RIGHTS.code64),
  };
  const data = {
    selector: real ? 0n : user ? 0x23n : 0x10n,
    rights: real ? RIGHTS.data16 : rights(RIGHTS.data32),
  };
  const values: Record<string, bigint> = {
    cs: code.selector,
    cs_base: 0n,
    cs_limit: limit,
    cs_attributes: code.rights,
  };
  for (const name of ["ds", "es", "fs", "gs", "ss"]) {
    values[name] = data.selector;
    values[`${name}_base`] = 0n;
    values[`${name}_limit`] = limit;
    values[`${name}_attributes`] = data.rights;
  }
  if (real) return { ...values, cr0: 0x10n, cr3: 0n, cr4: 0n, efer: 0n, idtr_base: 0n, idtr_limit: 0xffffn };
  // CR0: PG, WP, NE, ET, PE. CR4: PAE. EFER: LMA, LME. No IDT: an exception is a triple fault.
  return {
    ...values,
    cr0: 0x8001_0031n,
    cr3: BigInt(PML4),
    cr4: 0x20n,
    efer: 0x500n,
    idtr_base: 0n,
    idtr_limit: 0n,
  };
}

/** The probe guest on KVM itself. */
export class KvmProbeMachine implements ProbeMachine {
  readonly #backend: KvmBackend;
  #broken = false;
  #protected = new Set<number>();

  /** @param backend A guest of `PROBE_MEMORY` bytes and one vCPU, without irqchip. */
  constructor(backend: KvmBackend) {
    this.#backend = backend;
  }

  get #vcpu() {
    return this.#backend.vcpus[0];
  }

  start(mode: ProbeMode, code: readonly number[], registers: RegisterValues = {}): void {
    // After a triple fault or a failed entry the vCPU's state is undefined.
    if (this.#broken) this.#backend.reset();
    this.#broken = false;
    this.#finish();
    for (const page of this.#protected) this.#backend.memory.protect(BigInt(page), 1, false);
    this.#protected.clear();
    this.#vcpu.setTraps({ hardware: [], int3: false });
    this.poke(PROBE.code, code);
    this.#qword(PML4, PDPT | TABLE);
    this.#qword(PDPT, PD | TABLE);
    this.#qword(PD, LARGE_PAGE);
    const zeros = Object.fromEntries(
      ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"].map((name) => [name, 0n]),
    );
    this.#vcpu.setRegisters({
      ...modeRegisters(mode),
      ...zeros,
      rip: BigInt(PROBE.code),
      rsp: BigInt(PROBE.stack),
      // IOPL 3 lets code at CPL 3 use ports.
      rflags: 0x3002n,
      ...registers,
    });
  }

  /** Finishes what an earlier probe left half done. */
  #finish(): void {
    for (let i = 0; i < 16 && this.#vcpu.settle() !== undefined; i++);
  }

  #qword(at: number, value: number): void {
    this.poke(at, [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, 0, 0, 0, 0, 0]);
  }

  poke(at: number, bytes: readonly number[]): void {
    this.#backend.memory.write(BigInt(at), Uint8Array.from(bytes));
  }

  peek(at: number): number {
    const into = new Uint8Array(1);
    this.#backend.memory.read(BigInt(at), into);
    return into[0];
  }

  protect(at: number, readOnly: boolean): void {
    this.#backend.memory.protect(BigInt(at), 1, readOnly);
    if (readOnly) this.#protected.add(at);
    else this.#protected.delete(at);
  }

  setTraps(traps: Traps): void {
    this.#vcpu.setTraps(traps);
  }

  trapMsrs(indices: readonly number[]): void {
    this.#vcpu.trapMsrs(indices);
  }

  interrupt(vector: number): void {
    this.#backend.interrupts.inject(0, vector);
  }

  nmi(): void {
    this.#backend.interrupts.nmi(0);
  }

  #watch(exit: VmExit): VmExit {
    switch (exit.kind) {
      case "shutdown":
      case "internal-error":
      case "fail-entry":
      case "unsupported":
        this.#broken = true;
    }
    return exit;
  }

  run(): VmExit {
    return this.#watch(this.#vcpu.run());
  }

  step(options?: StepOptions): VmExit {
    return this.#watch(this.#vcpu.step(options));
  }

  settle(): VmExit | undefined {
    return this.#vcpu.settle();
  }

  registers(): Registers {
    return this.#vcpu.registers();
  }

  setRegisters(values: RegisterValues): void {
    this.#vcpu.setRegisters(values);
  }

  /** KVM accounts the guest's time to the thread that entered it. */
  processorMs(): number {
    return threadMs();
  }
}
