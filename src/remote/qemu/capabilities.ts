import { type Capability, type CapabilityName, noReports } from "../../vm/capabilities.ts";

/** A capability by name, as rows. */
type Rows = [CapabilityName | string, Capability][];

function yes(how: string, touches: readonly string[] = []): Capability {
  return { usable: true, how, touches };
}

function no(reason: string, remedy = "use the kvm backend"): Capability {
  return { usable: false, how: "by the nature of the GDB remote protocol", touches: [], reason, remedy };
}

/** What any stub can do; `physical` says whether it reads guest-physical memory. */
export function stubCapabilities(stub: string): Map<string, Capability> {
  const rows: Rows = [
    ["single-step", yes(`vCont;s of ${stub}`)],
    ["single-step-user", yes(`vCont;s of ${stub}`)],
    ["step-beside", no("hvsh has the stub step one vCPU while the others stand still")],
    ["breakpoint-hardware", yes(`Z1 of ${stub}`)],
    ["watchpoint-hardware", yes(`Z2 and Z4 of ${stub}`)],
    ["breakpoint-remote", yes(`Z0 of ${stub}`)],
    [
      "breakpoint-int3",
      no("the stub keeps software breakpoints itself", 'kind: "software" takes the stub\'s'),
    ],
    [
      "breakpoint-int3-real",
      no("the stub keeps software breakpoints itself", 'kind: "software" takes the stub\'s'),
    ],
    ["breakpoint-hlt", no("HLT does not come to the debugger")],
    ["breakpoint-out", no("port accesses do not come to the debugger")],
    ["watchpoint-page", no("a stub can't make pages read-only")],
    [
      "devices",
      no(
        "the guest's devices are QEMU's own: port and MMIO accesses do not come to hvsh",
        "use the kvm backend, or fake, which interprets the guest; or have QEMU plug in its own: device_add virtio-blk FILE",
      ),
    ],
    ["msr-exits", no("MSR accesses do not come to the debugger")],
    ...noReports("a stub does not tell of it"),
    ["interrupts", no("a stub can't raise interrupts")],
    ["exceptions", no("a stub can't inject exceptions")],
    ["emulation-failure-bytes", no("the stub does not tell them")],
    ["lapic", no("the stub does not show the local APIC", "see `info lapic` of QEMU's monitor")],
    ["events", no("the stub does not show pending events")],
    ["msrs", no("the stub shows EFER and the bases of FS and GS alone")],
    ["xsave", no("the stub shows FPU and SSE registers one by one", "use registers()")],
    ["cpuid", no("the stub does not tell which leaves its guests see")],
    ["vector", yes("the stub's registers")],
    ["irqchip", no("they are the other side's, and can't be seen from here")],
    ["pit", no("it is the other side's, and can't be seen from here")],
    ["nmi", no("a stub can't raise an NMI")],
    ["reset", no("a stub can't reset the guest", "give qmp: to attach(), if it is QEMU")],
  ];
  return new Map(rows);
}

/** Says whether a guest of our own QEMU can be gone back in. */
export function withHistory(
  rows: Map<string, Capability>,
  { record, replay }: { readonly record?: string; readonly replay?: string },
): Map<string, Capability> {
  if (record !== undefined || replay !== undefined) {
    rows.set("reset", no("what is loaded anew is not recorded", "close the guest and open it anew"));
  }
  return rows.set(
    "history",
    replay === undefined
      ? no("this guest runs for the first time", HISTORY_REMEDY)
      : yes("icount's record and replay (rr=replay), from states that are kept on the way"),
  );
}

/** How a guest with a history is come by. */
const HISTORY_REMEDY = "record: a run with record: FOLDER on the qemu backend, then open replay: FOLDER";

/** What QEMU adds to its stub by its monitor. */
export function qemuCapabilities(version: string, accelerator: string): Map<string, Capability> {
  const qemu = `QEMU ${version}, ${accelerator}`;
  return new Map([
    ...stubCapabilities(`${qemu}: its GDB stub`),
    ["step-masks-interrupts", yes("Qqemu.sstep: NOIRQ, NOTIMER")],
    ["irqchip", yes("QEMU's 8259 pair, IOAPIC and local APICs")],
    ["pit", yes("QEMU's 8254")],
    ["nmi", yes("QMP inject-nmi")],
    ["reset", yes("QMP system_reset")],
    ["a20", yes("QEMU's own gate")],
  ]);
}
