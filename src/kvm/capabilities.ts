import type { Capabilities, Capability, CapabilityName } from "../vm/capabilities.ts";
import { CAP } from "./abi.ts";
import { KVM_DEVICE, KvmSystem } from "./system.ts";

/** Names that KVM answers itself, by a capability number. */
const TOLD: readonly [CapabilityName, keyof typeof CAP, string][] = [
  ["devices", "USER_MEMORY", "KVM_EXIT_IO and KVM_EXIT_MMIO"],
  ["irqchip", "IRQCHIP", "KVM_CREATE_IRQCHIP"],
  ["pit", "PIT2", "KVM_CREATE_PIT2"],
  ["interrupts", "USER_MEMORY", "KVM_IRQ_LINE with an irqchip, KVM_INTERRUPT without"],
  ["nmi", "USER_NMI", "KVM_NMI"],
  ["msr-exits", "X86_MSR_FILTER", "KVM_X86_SET_MSR_FILTER"],
  ["emulation-failure-bytes", "EXIT_ON_EMULATION_FAILURE", "KVM_CAP_EXIT_ON_EMULATION_FAILURE"],
  ["vector", "XSAVE", "KVM_GET_XSAVE"],
  ["lapic", "IRQCHIP", "KVM_GET_LAPIC; needs the irqchip"],
  ["events", "VCPU_EVENTS", "KVM_GET_VCPU_EVENTS"],
  ["msrs", "USER_MEMORY", "KVM_GET_MSRS"],
  ["reset", "VCPU_EVENTS", "the power-on state is saved when the guest is made and put back"],
];

/** What KVM says of itself, without running a guest. */
export function toldCapabilities(device: string = KVM_DEVICE): Map<string, Capability> {
  using system = KvmSystem.open(device);
  const found = new Map<string, Capability>();
  for (const [name, cap, how] of TOLD) {
    const usable = system.capability(CAP[cap]) > 0;
    const why = usable
      ? {}
      : { reason: `this KVM lacks KVM_CAP_${cap}`, remedy: "Use a newer Linux on the host." };
    found.set(name, { usable, how, touches: [], ...why });
  }
  return found;
}

/** What this host's KVM can do; asked once and kept, for each device path. */
export function kvmCapabilities(device: string = KVM_DEVICE): Capabilities {
  let known = cache.get(device);
  if (known === undefined) cache.set(device, known = toldCapabilities(device));
  return known;
}

const cache = new Map<string, Capabilities>();
