import { type Capabilities, type Capability, type CapabilityName, noReports } from "../vm/capabilities.ts";
import { CAP, FLAG } from "./abi.ts";
import { KvmBackend } from "./backend.ts";
import { LazyCapabilities } from "../vm/lazy_capabilities.ts";
import { probeAll } from "./probe.ts";
import { KvmProbeMachine, PROBE_MEMORY } from "./probe_machine.ts";
import { KVM_DEVICE, KvmSystem } from "./system.ts";

/** Names that KVM answers itself, by a capability number. */
const TOLD: readonly [
  CapabilityName | "sync-regs" | "immediate-exit" | "doorbells",
  keyof typeof CAP,
  string,
][] = [
  ["devices", "USER_MEMORY", "KVM_EXIT_IO and KVM_EXIT_MMIO"],
  ["irqchip", "IRQCHIP", "KVM_CREATE_IRQCHIP"],
  ["pit", "PIT2", "KVM_CREATE_PIT2; needs the irqchip"],
  ["vector", "XSAVE", "KVM_GET_XSAVE"],
  ["lapic", "IRQCHIP", "KVM_GET_LAPIC; needs the irqchip"],
  ["events", "VCPU_EVENTS", "KVM_GET_VCPU_EVENTS"],
  ["msrs", "USER_MEMORY", "KVM_GET_MSRS"],
  ["reset", "VCPU_EVENTS", "the power-on state is saved when the guest is made, and put back"],
  ["a20", "USER_MEMORY", "memory slots that show the first megabyte again"],
  ["sync-regs", "SYNC_REGS", "KVM_CAP_SYNC_REGS: registers are read from the shared page"],
  ["doorbells", "IOEVENTFD", "KVM_IOEVENTFD; the vCPU that rings has a thread"],
  ["immediate-exit", "IMMEDIATE_EXIT", "KVM_CAP_IMMEDIATE_EXIT: an instruction can be finished alone"],
];

/** What KVM says of itself, without running a guest. */
export function toldCapabilities(ask: (cap: number) => number): Map<string, Capability> {
  const told = new Map<string, Capability>(noReports("KVM does it by itself and tells nobody"));
  for (const [name, cap, how] of TOLD) {
    const usable = ask(CAP[cap]) > 0;
    const why = usable
      ? {}
      : { reason: `this KVM lacks KVM_CAP_${cap}`, remedy: "Use a newer Linux on the host." };
    told.set(name, { usable, how, touches: [], ...why });
  }
  const masks = (ask(CAP.SET_GUEST_DEBUG2) & FLAG.GUESTDBG_BLOCKIRQ) !== 0;
  told.set("step-masks-interrupts", {
    usable: masks,
    how: "KVM_GUESTDBG_BLOCKIRQ",
    touches: [],
    ...(masks ? {} : {
      reason: "this KVM can't hold interrupts back during a step",
      remedy: "Use Linux 5.17 or newer, or clear IF while stepping.",
    }),
  });
  told.set("step-beside", {
    usable: true,
    how: "each of several vCPUs has a thread of its own",
    touches: [],
  });
  return told;
}

/** Milliseconds that a probe guest runs for at once. */
const PROBE_SLICE_MS = 50;

/** Asks KVM now, and runs the probe guests when what they find out is asked for. */
function find(device: string): Capabilities {
  using system = KvmSystem.open(device);
  return new LazyCapabilities(toldCapabilities((cap) => system.capability(cap)), () => {
    // The probe guest itself is never asked what it can do. Nobody has a turn while it runs, and on a busy host an
    // entry alone may take longer than an ordinary slice.
    using guest = new KvmBackend(
      { memory: PROBE_MEMORY, cpus: 1, irqchip: false, pit: false, device, sliceMs: PROBE_SLICE_MS },
      () => new Map(),
    );
    return probeAll(new KvmProbeMachine(guest));
  });
}

const known = new Map<string, Capabilities>();

/**
 * What this host's KVM can do, found out when it is first asked for and kept for the life of the process.
 *
 * @throws {UnsupportedError} If KVM can't be used here.
 */
export function kvmCapabilities(device: string = KVM_DEVICE): Capabilities {
  let capabilities = known.get(device);
  if (capabilities === undefined) known.set(device, capabilities = find(device));
  return capabilities;
}
