import { XenControl } from "../host/xen/control.ts";
import { RELEASES } from "../host/xen/sonames.ts";
import { HostError } from "../host/error.ts";
import type { DomainKind } from "./domain.ts";

/** A line of the Xen backends in the list of hosts. */
export type XenHost<Name extends string = "xen"> =
  | { readonly backend: Name; readonly usable: true; readonly detail: string }
  | { readonly backend: Name; readonly usable: false; readonly reason: string; readonly remedy: string };

/** Where Linux tells what this domain may do; there only under Xen, with xenfs mounted. */
const CAPABILITIES = "/proc/xen/capabilities";

/** Which kinds of guests Xen runs here: "xen-3.0-x86_64 hvm-3.0-x86_32 ..." (Linux, sysfs-hypervisor-xen). */
const GUESTS = "/sys/hypervisor/properties/capabilities";
/** What of that a kind of guest needs. */
const NEEDS = { pv: "xen-3.0-x86_64", pvh: "hvm-3.0-x86_64", hvm: "hvm-3.0-x86_64" } as const;

/** Whether guests of a kind can be opened here, and if not, why and what to do. */
export function xenKindHost<K extends DomainKind>(kind: K): XenHost<`xen-${K}`> {
  const backend = `xen-${kind}` as const;
  const host = xenHost();
  if (!host.usable) return { ...host, backend };
  if (!guestsOf().includes(NEEDS[kind])) {
    const reason = `this Xen runs no ${kind.toUpperCase()} guests`;
    const remedy = kind === "pv"
      ? "use xen-pvh"
      : "switch the processor's virtualisation on in its firmware, or use xen-pv";
    return { backend, usable: false, reason, remedy };
  }
  const how = {
    pv: "Linux and kernels with Xen's notes",
    pvh: "without a device model",
    hvm: "with QEMU",
  }[kind];
  return { backend, usable: true, detail: `${host.detail.split(";")[0]}, by xl; ${how}` };
}

function guestsOf(): string[] {
  try {
    return Deno.readTextFileSync(GUESTS).trim().split(" ");
  } catch (error) {
    // A Linux without this folder tells nothing; xl will.
    if (error instanceof Deno.errors.NotFound) return Object.values(NEEDS);
    throw error;
  }
}

/** Whether Xen's domains can be attached to from here, and if not, why and what to do. Opens nothing that stays open. */
export function xenHost(capabilities: string = CAPABILITIES): XenHost {
  const no = (reason: string, remedy: string): XenHost => ({ backend: "xen", usable: false, reason, remedy });
  let told: string;
  try {
    told = Deno.readTextFileSync(capabilities);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return no(
        "there is no /proc/xen/capabilities",
        "run hvsh in dom0 of a Xen host, with xenfs at /proc/xen",
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return no("dom0's files can't be read", "run hvsh as root");
    }
    throw error;
  }
  if (!told.includes("control_d")) {
    return no("this is a guest of Xen's, and not dom0", "run hvsh in dom0");
  }
  try {
    using control = new XenControl();
    const version = control.version();
    if (!(RELEASES as readonly string[]).includes(version)) {
      return no(`this is Xen ${version}`, `hvsh knows the interface of Xen ${RELEASES.join(", ")}`);
    }
    return { backend: "xen", usable: true, detail: `Xen ${version}; attaches to domains` };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return no(error.message, error.remedy ?? "run hvsh as root in dom0, with xen-utils installed");
  }
}
