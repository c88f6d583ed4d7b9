import { RELEASES, XenControl } from "../host/xen/control.ts";
import { HostError } from "../host/error.ts";

/** The Xen backend's line in the list of hosts. */
export type XenHost =
  | { readonly backend: "xen"; readonly usable: true; readonly detail: string }
  | { readonly backend: "xen"; readonly usable: false; readonly reason: string; readonly remedy: string };

/** Where Linux tells what this domain may do; there only under Xen, with xenfs mounted. */
const CAPABILITIES = "/proc/xen/capabilities";

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
