/** The door of the KVM backend: what the layers above import. */

import { KvmBackend, type KvmOptions } from "./backend.ts";
import { kvmCapabilities } from "./capabilities.ts";

export { KvmBackend, type KvmOptions } from "./backend.ts";
export { type KvmHost, kvmHost } from "./hosts.ts";

/**
 * Makes a guest on this host's KVM, its vCPUs in their power-on state.
 *
 * @throws {UnsupportedError} If KVM can't be used here; carries reason and remedy.
 * @throws {InputError} If the options make no sense or do not fit this host.
 * @throws {HostError} If the host refuses something.
 */
export function openKvm(options: KvmOptions): KvmBackend {
  return new KvmBackend(options, kvmCapabilities);
}
