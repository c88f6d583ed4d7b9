import { UnsupportedError } from "./errors.ts";

/** One thing a backend on this host can or can't do, and how that is known. */
export interface Capability {
  /** Whether it may be relied on. */
  readonly usable: boolean;
  /** How it is done, or how it was found out: "probe: fired at 0x1003", "KVM_CAP_SYNC_REGS". */
  readonly how: string;
  /** What using it changes in the guest: "guest memory", "DR7", ...; empty if nothing. */
  readonly touches: readonly string[];
  /** Why it is not usable. */
  readonly reason?: string;
  /** What a user can do about that. */
  readonly remedy?: string;
}

/**
 * The names every backend answers for. A backend may have more.
 *
 * - `single-step`: one instruction at a time at CPL 0; `single-step-user` at CPL 3.
 * - `breakpoint-hardware`: debug registers stop before an instruction; `watchpoint-hardware`: on data.
 * - `breakpoint-int3`: INT3 is reported to the debugger; `breakpoint-int3-real` in real mode.
 * - `breakpoint-hlt`, `breakpoint-out`: the patches that force an exit at CPL 0.
 * - `watchpoint-page`: pages can be made read-only for the guest, and a write to them is reported.
 * - `step-masks-interrupts`: a step does not enter an interrupt handler.
 * - `step-beside`: one vCPU can be stepped while the others run.
 * - `devices`: accesses reach TypeScript devices; `msr-exits`: so can MSR accesses.
 * - `report-cr`, `report-msr`: writes to control registers, to MSRs are reported; `report-cpuid`, `report-descriptor`: so
 *   are CPUID, accesses to the registers of descriptor tables; `report-request`: so is a guest's own request.
 * - `irqchip`, `pit`: interrupt controllers and timer in the hypervisor; `interrupts`, `nmi`: can be raised.
 * - `emulation-failure-bytes`: the bytes of an instruction the hypervisor can't emulate are told.
 * - `vector`: FPU, SSE and AVX registers; `lapic`, `events`, `msrs`: those groups.
 * - `reset`: the machine can be put back to its power-on state.
 * - `a20`: memory wraps at 1 MiB while the A20 gate is closed.
 */
export type CapabilityName =
  | "single-step"
  | "single-step-user"
  | "breakpoint-hardware"
  | "watchpoint-hardware"
  | "breakpoint-int3"
  | "breakpoint-int3-real"
  | "breakpoint-hlt"
  | "breakpoint-out"
  | "watchpoint-page"
  | "step-masks-interrupts"
  | "step-beside"
  | "devices"
  | "msr-exits"
  | "report-cr"
  | "report-msr"
  | "report-cpuid"
  | "report-descriptor"
  | "report-request"
  | "irqchip"
  | "pit"
  | "interrupts"
  | "nmi"
  | "emulation-failure-bytes"
  | "vector"
  | "lapic"
  | "events"
  | "msrs"
  | "reset"
  | "a20";

/** Capability by name. A missing name means: not usable, and nobody looked. */
export type Capabilities = ReadonlyMap<string, Capability>;

/** Whether `name` is usable. */
export function can(capabilities: Capabilities, name: CapabilityName | string): boolean {
  return capabilities.get(name)?.usable === true;
}

/**
 * Throws unless `name` is usable.
 *
 * @throws {UnsupportedError} If it is not; carries the capability's reason and remedy.
 */
export function need(capabilities: Capabilities, name: CapabilityName | string): void {
  const capability = capabilities.get(name);
  if (capability?.usable) return;
  throw new UnsupportedError(
    name,
    capability?.reason ?? "this backend does not offer it",
    { remedy: capability?.remedy ?? "see vm.capabilities for what there is" },
  );
}

const REPORTS = ["report-cr", "report-msr", "report-cpuid", "report-descriptor", "report-request"] as const;

/** What a backend says of reports that has none. @param reason Why. */
export function noReports(reason: string): [CapabilityName, Capability][] {
  const remedy = "open the guest on xen-pvh or xen-hvm; fake reports control registers and CPUID";
  return REPORTS.map((name) => [name, { usable: false, how: "not offered", touches: [], reason, remedy }]);
}
