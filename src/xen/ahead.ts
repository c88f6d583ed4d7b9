/** What can be under way while the Xen backend is loaded: its libraries take as long to be linked. */

import { linkAhead } from "../host/symbol.ts";
import { SONAMES } from "../host/xen/sonames.ts";

/** There under Xen alone (Linux, drivers/xen/xenfs). */
const XEN = "/proc/xen";
/** What a domain is attached to with. The libraries that these need come with them. */
const { libxenctrl, libxencall, libxenforeignmemory, libxendevicemodel, libxenstore } = SONAMES;

/** Links Xen's libraries, where there is a Xen. Whatever is wrong with them is told by who uses them. */
export async function linkXen(): Promise<void> {
  try {
    await Deno.stat(XEN);
  } catch {
    return;
  }
  await linkAhead(
    [libxenctrl, libxencall, libxenforeignmemory, libxendevicemodel, libxenstore].map(([best]) => best),
  );
}
