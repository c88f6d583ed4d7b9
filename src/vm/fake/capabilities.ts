import { type Capability, type CapabilityName, noReports } from "../capabilities.ts";

function yes(touches: readonly string[] = []): Capability {
  return { usable: true, how: "interpreted", touches };
}

function no(reason: string): Capability {
  return { usable: false, how: "interpreted", touches: [], reason, remedy: "use the kvm backend" };
}

/** What the fake can do: the same on every host. */
export const FAKE_CAPABILITIES: ReadonlyMap<string, Capability> = new Map<CapabilityName, Capability>([
  ["single-step", yes()],
  ["single-step-user", yes()],
  ["breakpoint-hardware", yes()],
  ["watchpoint-hardware", yes()],
  ["breakpoint-int3", yes(["guest memory"])],
  ["breakpoint-int3-real", yes(["guest memory"])],
  ["breakpoint-hlt", yes(["guest memory"])],
  ["breakpoint-out", yes(["guest memory"])],
  ["watchpoint-page", yes()],
  ["step-masks-interrupts", yes()],
  ["step-beside", no("the fake's vCPUs take turns")],
  ["devices", yes()],
  ["msr-exits", yes()],
  ...noReports("the interpreter reports control registers and CPUID alone"),
  ["report-cr", yes()],
  ["report-cpuid", yes()],
  ["irqchip", no("the fake has no interrupt controllers of its own")],
  ["pit", no("the fake has no timer of its own")],
  ["interrupts", yes()],
  ["nmi", yes()],
  ["emulation-failure-bytes", yes()],
  ["vector", { ...yes(), how: "storage: no instruction of the interpreter touches these registers" }],
  ["lapic", no("the fake has no local APIC")],
  ["events", yes()],
  ["msrs", yes()],
  ["reset", yes()],
  ["a20", { ...yes(), how: "the second megabyte shows the first" }],
]);
