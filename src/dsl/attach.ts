/** Guests that others made. Apart from `open()`: what opens one is not loaded to attach to one. */
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { Domain, DomainDetails } from "../xen/open.ts";
import { linkXen } from "../xen/ahead.ts";
import { connectConsole } from "./hypervisor_console.ts";
import { instructionLength } from "./instruction_length.ts";
import type { GuestMachine } from "./machine.ts";

export type {
  Domain,
  DomainDetails,
  DomainKind,
  DomainState,
  EventChannel,
  Grant,
  PvState,
  StoreEntry,
} from "../xen/open.ts";

/** What `attach` takes. */
export type AttachOptions =
  | { backend: "xen"; domain: string | number }
  | {
    backend: "gdb";
    /** Where a GDB stub listens: HOST:PORT, or unix:PATH. */
    address: string;
    /** Where QEMU's machine protocol listens, if it does: more can be seen and done by it. */
    qmp?: string;
  };

/**
 * Attaches to a guest that others made, and stops it: a domain of Xen's from dom0, or what is behind a GDB stub.
 * Disposing of it takes everything out that was put in, and lets the guest run on, unless it was found paused.
 *
 * @throws {UnsupportedError} If the backend can't be used here, or can't attach to such a guest.
 * @throws {InputError} If there is no such domain, or an address, or what answers there, makes no sense.
 * @throws {HostError} If nobody listens at the address, or Xen refuses.
 */
export async function attach(options: AttachOptions): Promise<GuestMachine> {
  if (typeof options !== "object" || options === null) {
    throw new InputError("attach() takes an object that says what to", {
      remedy:
        'attach({ backend: "gdb", address: "127.0.0.1:1234" }), attach({ backend: "xen", domain: "name" })',
    });
  }
  if (options.backend === "gdb") {
    const { attachGdb } = await import("./qemu.ts");
    const { GuestMachine } = await import("./machine.ts");
    return new GuestMachine({ backend: await attachGdb(options) });
  }
  if (options.backend !== "xen") {
    const { backend } = options as { backend: string };
    throw new UnsupportedError(`attach to ${backend}`, "this version of hvsh has no such backend", {
      remedy:
        'attach({ backend: "gdb", address }) takes any GDB stub, attach({ backend: "xen", domain }) a domain',
    });
  }
  const linked = linkXen();
  const { GuestMachine } = await import("./machine.ts");
  const { attachXen } = await import("../xen/open.ts");
  await linked;
  const backend = attachXen(options.domain, instructionLength, takenSlots);
  const machine = new GuestMachine({ backend });
  for (const notice of backend.notices ?? []) machine.notice(notice);
  connectConsole(machine, backend);
  return machine;
}

async function takenSlots(domain: number): Promise<ReadonlySet<number>> {
  return (await import("./qemu_slots.ts")).qemuSlots(domain);
}

/**
 * Lists the domains of this Xen host, dom0 included: what `attach({ backend: "xen", domain })` takes.
 *
 * @throws {UnsupportedError} Where this is no Xen host; carries reason and remedy.
 */
export async function domains(): Promise<Domain[]> {
  return (await import("../xen/open.ts")).xenDomains();
}

/**
 * Tells of one domain of this Xen host, by name or number, without stopping it: its folder in xenstore, its event
 * channels, and the frames that it lets others use. dom0 may be asked of, too.
 *
 * @throws {UnsupportedError} Where this is no Xen host; carries reason and remedy.
 * @throws {InputError} If there is no such domain; names those there are.
 */
export async function inspectDomain(domain: string | number): Promise<DomainDetails> {
  return await (await import("../xen/open.ts")).inspectXen(domain);
}

/**
 * The log of this host's hypervisor, as `xl dmesg` prints it.
 *
 * @throws {UnsupportedError} Where this is no Xen host; carries reason and remedy.
 */
export async function hypervisorLog(): Promise<string> {
  return (await import("../xen/open.ts")).xenLog();
}

/**
 * Destroys the domains that a killed hvsh had opened and left on this Xen host, but for those that were to be kept.
 *
 * @returns Their names.
 * @throws {UnsupportedError} Where this is no Xen host; carries reason and remedy.
 */
export async function cleanDomains(): Promise<string[]> {
  return (await import("../xen/open.ts")).cleanXen();
}

/**
 * Puts right what a killed hvsh left in the domains of this Xen host that it was attached to, without waiting for the
 * next `attach`, which does the same.
 *
 * @returns A sentence for each: what was put right, or why it could not be.
 * @throws {UnsupportedError} Where this is no Xen host; carries reason and remedy.
 */
export async function repairDomains(): Promise<string[]> {
  return (await import("../xen/open.ts")).repairXen();
}
