import { KVM_DEVICE, KvmSystem } from "./system.ts";

/** The KVM backend's line in the list of hosts. */
export type KvmHost =
  | { readonly backend: "kvm"; readonly usable: true; readonly detail: string }
  | { readonly backend: "kvm"; readonly usable: false; readonly reason: string; readonly remedy: string };

/**
 * Whether guests can be opened on KVM here, and if not, why and what to do. Opens nothing that stays open.
 *
 * @param device Path of KVM's device.
 */
export function kvmHost(device: string = KVM_DEVICE): KvmHost {
  const verdict = KvmSystem.examine(device);
  return verdict.usable
    ? { backend: "kvm", usable: true, detail: verdict.detail }
    : { backend: "kvm", usable: false, reason: verdict.reason, remedy: verdict.remedy };
}
