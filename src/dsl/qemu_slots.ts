/** Which PCI slots the QEMU of a Xen domain has. */
import { HostError } from "../host/error.ts";
import { HostStream, waitForStreams } from "../host/stream.ts";
import { Links } from "../remote/link.ts";
import { QmpConnection } from "../remote/qmp.ts";
import { HvshError } from "../vm/errors.ts";

/** Another client, xentop, may have the socket for a moment. */
const ANSWER_MS = 3000;

/**
 * Asks QEMU's monitor. libxl gives it a socket for others beside its own (libxl_dm.c, libxenstat-cmd).
 *
 * @throws {HvshError} If it can't be asked.
 */
export function qemuSlots(domain: number): ReadonlySet<number> {
  try {
    const stream = HostStream.unix(`/var/run/xen/qmp-libxenstat-${domain}`);
    using links = new Links({
      wait: (streams: readonly HostStream[], timeoutMs) => waitForStreams(streams, timeoutMs),
    });
    return slotsOf(new QmpConnection(links, stream, ANSWER_MS).execute("query-pci"));
  } catch (cause) {
    if (!(cause instanceof HvshError || cause instanceof HostError)) throw cause;
    throw new HvshError(`it can't be found out which PCI slots the domain's QEMU has: ${cause.message}`, {
      cause,
      remedy: 'name one that is free: virtioRng({ transport: "pci", slot: 20 })',
    });
  }
}

/** The slots of bus 0 in the answer to query-pci (PciInfo of QEMU's qapi/pci.json). */
export function slotsOf(answer: unknown): ReadonlySet<number> {
  const buses = answer as readonly { bus: number; devices: readonly { slot: number }[] }[];
  return new Set(
    buses.filter(({ bus }) => bus === 0).flatMap(({ devices }) => devices.map(({ slot }) => slot)),
  );
}
