/** The door of the Xen backend: what the layers above import. */

import { HostError } from "../host/error.ts";
import { XenControl } from "../host/xen/control.ts";
import { XenStore } from "../host/xen/store.ts";
import type { Backend } from "../vm/backend.ts";
import { HvshError, UnsupportedError } from "../vm/errors.ts";
import { AttachedDomain } from "./attached.ts";
import { capabilitiesOf } from "./capabilities.ts";
import type { TakenSlots } from "./claims.ts";
import type { InstructionLength } from "./crossing.ts";
import { type Domain, type DomainKind, listDomains, storeInDomain } from "./domain.ts";
import type { XenGuest } from "./config.ts";
import type { DomainDetails } from "./details.ts";
import { xenHost, xenKindHost } from "./hosts.ts";
import { leftMarks, remove } from "./marks.ts";
import { cleanDomains, NAME_PREFIX } from "./xl.ts";

export type { Domain, DomainKind, DomainState } from "./domain.ts";
export type { DomainDetails, EventChannel, Grant, PvState, StoreEntry } from "./details.ts";
export type { ToolstackKernel, XenGuest } from "./config.ts";
export { type XenHost, xenHost, xenKindHost } from "./hosts.ts";

/** @throws {UnsupportedError} Unless this is dom0 of a Xen that hvsh knows. */
function needXen(): void {
  const host = xenHost();
  if (!host.usable) throw new UnsupportedError("Xen", host.reason, { remedy: host.remedy });
}

/**
 * Attaches to a domain, by name or number: it is paused, and nothing in it is touched.
 *
 * @throws {UnsupportedError} If Xen can't be used here, or the domain is of a kind that can't be looked at.
 * @throws {InputError} If there is no such domain.
 * @throws {HostError} If Xen refuses.
 */
export function attachXen(
  domain: string | number,
  lengthOf: InstructionLength,
  taken: TakenSlots,
): Backend {
  needXen();
  const devices = "claimed";
  const capabilities = (kind: DomainKind, events: number) =>
    capabilitiesOf(kind, events, kind === "pv" ? undefined : devices);
  const pci = { taken, configured: false };
  return new AttachedDomain(domain, { capabilities, devices, lengthOf, pci });
}

/**
 * Creates a domain of our own, paused at its first instruction.
 *
 * @throws {UnsupportedError} If guests of its kind can't be opened here.
 * @throws {HvshError} If xl fails, with what it said.
 */
export async function openXen(
  guest: XenGuest,
  lengthOf: InstructionLength,
  taken: TakenSlots,
): Promise<Backend> {
  const host = xenKindHost(guest.kind);
  if (!host.usable) {
    throw new UnsupportedError(`opening a guest on ${host.backend}`, host.reason, { remedy: host.remedy });
  }
  const { openDomain } = await import("./own.ts");
  return await openDomain(guest, lengthOf, taken);
}

/** Destroys the domains that a killed hvsh left; gives their names. @throws {UnsupportedError} If Xen can't be used here. */
export async function cleanXen(): Promise<string[]> {
  (await import("./own.ts")).clearSpares();
  const names = new Set(xenDomains().map(({ name }) => name));
  return cleanDomains((name) => names.has(name));
}

/**
 * Puts right what killed debuggers left in domains that others made.
 *
 * @returns A sentence for each.
 * @throws {UnsupportedError} If Xen can't be used here.
 */
export function repairXen(folder?: string): string[] {
  needXen();
  const domains = new Map(withXen(listDomains).map((domain) => [domain.id, domain]));
  const done = new Set<number>();
  return leftMarks(undefined, folder).flatMap(({ path, domain: id, left, problem }) => {
    if (!domains.has(id)) {
      remove(path);
      const name = left?.name ?? `${id}`;
      // `cleanXen` tells of those that were hvsh's own.
      if (name.startsWith(NAME_PREFIX)) return [];
      return [
        `Domain ${name}, which a killed hvsh was attached to, is gone: nothing was left to be put right`,
      ];
    }
    if (done.has(id)) return [];
    done.add(id);
    try {
      const domain = new AttachedDomain(id, {
        capabilities: () => new Map(),
        ...(folder !== undefined && { marks: folder }),
      });
      domain.close();
      return [...domain.notices];
    } catch (error) {
      if (!(error instanceof HvshError || error instanceof HostError)) throw error;
      const what = problem === undefined ? "" : ` (its journal: ${problem})`;
      return [
        `What a killed hvsh left in ${domains.get(id)!.name}${what} can't be put right: ${error.message}`,
      ];
    }
  });
}

function withXen<T>(ask: (control: XenControl, store: XenStore) => T): T {
  using control = new XenControl();
  using store = new XenStore(() => storeInDomain(control));
  return ask(control, store);
}

/**
 * Every domain, dom0 included.
 *
 * @throws {UnsupportedError} If Xen can't be used here.
 */
export function xenDomains(): Domain[] {
  needXen();
  return withXen(listDomains).map(({ id, name, kind, vcpus, memory, state, cpuTime }) => ({
    id,
    name,
    kind,
    vcpus,
    memory,
    state,
    cpuTime,
  }));
}

/**
 * One domain with what xenstore and the hypervisor know of it: its folder, event channels, grants. It is not stopped.
 *
 * @throws {UnsupportedError} If Xen can't be used here.
 * @throws {InputError} If there is no such domain.
 */
export async function inspectXen(domain: string | number): Promise<DomainDetails> {
  needXen();
  return (await import("./details.ts")).detailsOf(domain);
}

/** The hypervisor's log, as `xl dmesg` shows it. @throws {UnsupportedError} If Xen can't be used here. */
export function xenLog(): string {
  needXen();
  using control = new XenControl();
  return control.log();
}
