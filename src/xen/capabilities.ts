import { XEN } from "../abi/xen.ts";
import type { Capabilities, Capability, CapabilityName } from "../vm/capabilities.ts";
import { LazyCapabilities } from "../vm/lazy_capabilities.ts";
import type { DomainKind } from "./domain.ts";
import { probeHvm } from "./probe.ts";

/** Everything that Xen does not answer itself, or what devices claim. */
export type DeviceClaims = "everything" | "claimed";

const STUB = [
  "62 bytes of padding in the kernel's text",
  "the vectors of #DB and #BP",
  "the stack below RSP",
  "an event channel port of the guest's",
];
const OTHERS = "the other vCPUs run during a step";
const OTHERS_DOWN = "the other vCPUs are down during a step";

/**
 * What can be done with a domain of a kind. Nothing of it touches the guest before it is used.
 *
 * @param events What its monitor can have reported: bits by XEN_DOMCTL_MONITOR_EVENT_*.
 * @param devices Which of its accesses come to hvsh, if any do.
 * @param reset Whether hvsh can start it over, for one of its own.
 */
export function capabilitiesOf(
  kind: DomainKind,
  events: number,
  devices?: DeviceClaims,
  reset?: boolean,
): Capabilities {
  const told = toldCapabilities(kind, events, devices, reset);
  // How a processor stops HVM guests is the same for all of them: tried once, with a guest of our own.
  return kind === "pv" ? told : new LazyCapabilities(told, () => probed ??= probeHvm());
}

let probed: Capabilities | undefined;

/** What is known without trying. */
export function toldCapabilities(
  kind: DomainKind,
  events: number,
  devices?: DeviceClaims,
  reset?: boolean,
): Capabilities {
  const all: [string, Capability][] = [
    ["msrs", yes(kind === "pv" ? "the vCPU context" : "save record CPU")],
    ["vector", yes("XEN_DOMCTL_getvcpuextstate")],
    ["devices", no("accesses of this domain do not come to hvsh", "open a guest of your own on xen-pvh")],
    ["msr-exits", no("Xen reports writes to MSRs, and lets nobody answer", "see report-msr")],
    ...reportCapabilities(kind, events),
    ["irqchip", no("the interrupt controllers are the domain's own, and not hvsh's", "see lapic()")],
    ["pit", no("the timer is the domain's own", "it needs nothing")],
    ["interrupts", no("hvsh does not raise interrupts of domains", "have its own devices raise them")],
    ["nmi", no("hvsh does not send NMIs to domains", "use `xl trigger DOMAIN nmi`")],
    ["emulation-failure-bytes", no("Xen does not tell them", "look at the bytes at RIP")],
    ["watchpoint-page", no("hvsh does not use Xen's memory events", "use a watchpoint by stepping")],
    ["breakpoint-hlt", no("HLT does not leave a domain for the debugger", "use another kind")],
    ["breakpoint-out", no("ports of this domain do not come to hvsh", "use another kind")],
    [
      "step-beside",
      no(
        "a domain goes on as a whole: its other vCPUs run during a step, and stand after it",
        "use the kvm backend",
      ),
    ],
    ...(kind === "pv" ? [BESIDE_PV] : []),
    ["step-masks-interrupts", no("Xen delivers interrupts during a step", "clear IF while stepping")],
    ["a20", no("a domain's memory does not wrap: its map is Xen's", "use the kvm backend")],
    ["reset", no("a domain is reset by who made it", "use `xl reboot`")],
    ...(kind === "pv" ? PV : HVM),
    ...(devices === undefined ? [] : devices === "everything" ? ALONE : BESIDE),
    ...(devices !== undefined && kind === "hvm" ? CONTROLLERS : []),
    ...(reset === undefined ? [] : reset ? RESET : ANEW),
  ];
  return new Map(all);
}

/** What vm_events report beside what stops a vCPU (arch_monitor_get_capabilities of Xen's monitor.h). */
function reportCapabilities(kind: DomainKind, events: number): [string, Capability][] {
  return REPORTS.map(([name, bit, call]) => [
    name,
    kind === "pv"
      ? no("a PV guest has no vm_events", "use xen-pvh")
      : (events >> bit & 1) === 1
      ? yes(call)
      : no("this Xen, or its processor, has no such vm_event", "break at the code that does it"),
  ]);
}

const REPORTS: readonly (readonly [CapabilityName, number, string])[] = [
  ["report-cr", XEN.XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG, "xc_monitor_write_ctrlreg: CR0, CR3, CR4, XCR0"],
  ["report-msr", XEN.XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR, "xc_monitor_mov_to_msr: writes"],
  ["report-cpuid", XEN.XEN_DOMCTL_MONITOR_EVENT_CPUID, "xc_monitor_cpuid"],
  ["report-descriptor", XEN.XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS, "xc_monitor_descriptor_access"],
  ["report-request", XEN.XEN_DOMCTL_MONITOR_EVENT_GUEST_REQUEST, "xc_monitor_guest_request"],
];

const BESIDE_PV: [string, Capability] = [
  "step-beside",
  no("a PV domain's other vCPUs are taken down for a step", "use the kvm backend"),
];

const PV: [string, Capability][] = [
  [
    "devices",
    no("a PV guest has no ports, and no addresses but those of memory", "open a guest on xen-pvh"),
  ],
  [
    "interrupts",
    no("a PV guest has event channels in place of interrupts", "have its own devices send events"),
  ],
  ["single-step", yes("RFLAGS.TF and the stop stub", [...STUB, "RFLAGS.TF", OTHERS_DOWN])],
  ["single-step-user", yes("RFLAGS.TF and the stop stub", [...STUB, "RFLAGS.TF", OTHERS_DOWN])],
  ["breakpoint-int3", yes("INT3 and the stop stub", [...STUB, "guest memory"])],
  ["breakpoint-int3-real", no("a PV guest has no real mode", "there is no code to break at")],
  ["breakpoint-hardware", yes("debug registers and the stop stub", [...STUB, "DR0..DR3, DR6, DR7"])],
  ["watchpoint-hardware", yes("debug registers and the stop stub", [...STUB, "DR0..DR3, DR6, DR7"])],
  ["lapic", no("a PV guest has event channels in its place", "see docs/xen.md")],
  ["events", yes("a PV guest's pending events are bits in its memory: nothing is in the vCPU")],
];

const HVM: [string, Capability][] = [
  ["single-step", yes("RFLAGS.TF and vm_event debug exceptions", ["RFLAGS.TF", "DR6", OTHERS])],
  ["single-step-user", yes("RFLAGS.TF and vm_event debug exceptions", ["RFLAGS.TF", "DR6", OTHERS])],
  ["lapic", yes("save record LAPIC_REGS")],
  ["events", yes("the pending event of save record CPU")],
];

/** Where hvsh is the device model. */
const ALONE: [string, Capability][] = [
  ["devices", yes("an ioreq server for every port and address that Xen does not answer itself")],
  ["breakpoint-out", yes("OUT to a port of the ioreq server's", ["guest memory"])],
  ["interrupts", yes("messages to the LAPICs; other controllers are devices")],
];

const SERVER = "an ioreq server of hvsh's";
/** Where others are, or nobody is. */
const BESIDE: [string, Capability][] = [
  [
    "devices",
    yes("an ioreq server for the ports, addresses and PCI functions of the devices that are added", [SERVER]),
  ],
  ["breakpoint-out", yes("OUT to a port of the ioreq server's", ["guest memory", SERVER])],
  ["interrupts", yes("messages to the LAPICs")],
];

/** Where Xen has them for the domain. */
const CONTROLLERS: [string, Capability][] = [
  ["irqchip", yes("Xen's own 8259 pair, IOAPIC and LAPICs")],
  ["interrupts", yes("inputs of Xen's own controllers, messages to the LAPICs")],
];

/** What a guest of our own needs that can't be started over. */
const ANEW: [string, Capability][] = [
  [
    "reset",
    no(
      "its start is the toolstack's work, or its devices are QEMU's: Xen has no call that puts them back",
      "close it, and open it anew",
    ),
  ],
];

const RESET: [string, Capability][] = [
  ["reset", yes("the save records of before its first instruction")],
];

function yes(how: string, touches: readonly string[] = []): Capability {
  return { usable: true, how, touches };
}

function no(reason: string, remedy: string): Capability {
  return { usable: false, how: "not offered", touches: [], reason, remedy };
}
