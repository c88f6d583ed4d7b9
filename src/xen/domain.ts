import { XEN, xen_domctl_getdomaininfo } from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { XenStore } from "../host/xen/store.ts";
import { InputError } from "../vm/errors.ts";

/** The three kinds of guests Xen has on x86. */
export type DomainKind = "pv" | "pvh" | "hvm";

/** What a domain does at the moment. */
export type DomainState =
  | "running"
  | "blocked"
  | "paused"
  | "dying"
  | "poweroff"
  | "reboot"
  | "suspend"
  | "crashed";

/** One domain, as it was when it was asked for. */
export interface Domain {
  /** Its number; never used again by this Xen once the domain is gone. */
  readonly id: number;
  /** Its name in xenstore; "" if it has none. */
  readonly name: string;
  /** PV, PVH or HVM. */
  readonly kind: DomainKind;
  /** vCPUs that are online. */
  readonly vcpus: number;
  /** Bytes of memory it has now. */
  readonly memory: number;
  /** What it does. */
  readonly state: DomainState;
  /** Nanoseconds of processor time that it has had. */
  readonly cpuTime: bigint;
}

/** The same with what only the backend needs. */
export interface DomainRecord extends Domain {
  /** Who it is, in 32 hexadecimal digits: told apart from another that has its number later. */
  readonly uuid: string;
  readonly flags: number;
  readonly pages: number;
  readonly maxVcpu: number;
}

const { size, offsets } = xen_domctl_getdomaininfo;
/** Domains fetched at once. */
const BATCH = 64;

/** One domain's flags (XEN_DOMINF_*), without asking xenstore; undefined if it is gone. */
export function readFlags(control: Pick<XenControl, "listDomains">, id: number): number | undefined {
  return readRecord(control, id)?.getUint32(offsets.flags, true);
}

/** How many pages a domain has, without asking xenstore; undefined if it is gone. */
export function readPages(control: Pick<XenControl, "listDomains">, id: number): number | undefined {
  const view = readRecord(control, id);
  return view && Number(view.getBigUint64(offsets.tot_pages, true));
}

function readRecord(control: Pick<XenControl, "listDomains">, id: number): DataView | undefined {
  const buffer = new Uint8Array(size);
  if (control.listDomains(id, buffer) < 1) return undefined;
  const view = new DataView(buffer.buffer);
  return view.getUint16(offsets.domain, true) === id ? view : undefined;
}

/** Whether a domain is xenstored's: else it is a process here. */
export function storeInDomain(control: Pick<XenControl, "listDomains">): boolean {
  return records(control).some((view) =>
    (view.getUint32(offsets.flags, true) & XEN.XEN_DOMINF_xs_domain) !== 0
  );
}

/** Every domain, by number. */
export function listDomains(control: XenControl, store: XenStore): DomainRecord[] {
  return records(control).map((view) => decode(view, store));
}

function records(control: Pick<XenControl, "listDomains">): DataView[] {
  const found: DataView[] = [];
  for (let first = 0;;) {
    const buffer = new Uint8Array(size * BATCH);
    const count = control.listDomains(first, buffer);
    for (let i = 0; i < count; i++) found.push(new DataView(buffer.buffer, i * size, size));
    if (count < BATCH) return found;
    first = found[found.length - 1].getUint16(offsets.domain, true) + 1;
  }
}

/**
 * The domain of a name or number, to be stopped.
 *
 * @throws {InputError} If there is none, or it is dom0; names those there are.
 */
export function findDomain(control: XenControl, store: XenStore, wanted: string | number): DomainRecord {
  const found = anyDomain(control, store, wanted);
  if (found.id === 0) {
    throw new InputError("domain 0 runs this debugger and can't be stopped by it", {
      remedy: "attach to one of its guests",
    });
  }
  return found;
}

/** The domain of a name or number, to be looked at. @throws {InputError} If there is none; names those there are. */
export function anyDomain(control: XenControl, store: XenStore, wanted: string | number): DomainRecord {
  const domains = listDomains(control, store);
  const number = typeof wanted === "number" ? wanted : /^\d+$/.test(wanted) ? Number(wanted) : undefined;
  const found = domains.find((d) => d.name === wanted) ?? domains.find((d) => d.id === number);
  if (found === undefined) {
    const others = domains.filter((d) => d.id !== 0).map((d) => `${d.name} (${d.id})`);
    throw new InputError(`there is no domain ${wanted}`, {
      remedy: others.length === 0 ? "start one: xl create FILE" : `there is ${others.join(", ")}`,
    });
  }
  return found;
}

function decode(view: DataView, store: XenStore): DomainRecord {
  const word = (name: keyof typeof offsets) => view.getUint32(offsets[name], true);
  const long = (name: keyof typeof offsets) => view.getBigUint64(offsets[name], true);
  const id = view.getUint16(offsets.domain, true);
  const flags = word("flags");
  const pages = Number(long("tot_pages"));
  return {
    id,
    name: store.read(`/local/domain/${id}/name`) ?? "",
    kind: kindOf(id, flags, store),
    vcpus: word("nr_online_vcpus"),
    memory: pages * 4096,
    state: stateOf(flags),
    cpuTime: long("cpu_time"),
    flags,
    pages,
    maxVcpu: word("max_vcpu_id"),
    uuid: new Uint8Array(view.buffer, view.byteOffset + offsets.handle, 16).toHex(),
  };
}

/** The hypervisor tells HVM from PV only; which HVM domains have no device model is the toolstack's to know. */
function kindOf(id: number, flags: number, store: XenStore): DomainKind {
  if ((flags & XEN.XEN_DOMINF_hvm_guest) === 0) return "pv";
  return store.read(`/libxl/${id}/type`) === "pvh" ? "pvh" : "hvm";
}

/** Whether a domain shut down by what `setTripleFault` says of guests of our own. */
export function isTripleFault(flags: number): boolean {
  const reason = flags >> XEN.XEN_DOMINF_shutdownshift & XEN.XEN_DOMINF_shutdownmask;
  return reason === TRIPLE_FAULT;
}

/** No guest of hvsh's own asks its toolstack for a soft reset: what a triple fault is told apart by. */
export const TRIPLE_FAULT = XEN.SHUTDOWN_soft_reset;

/** What the flags of a record say. */
export function stateOf(flags: number): DomainState {
  if ((flags & XEN.XEN_DOMINF_dying) !== 0) return "dying";
  if ((flags & XEN.XEN_DOMINF_shutdown) !== 0) {
    const reason = flags >> XEN.XEN_DOMINF_shutdownshift & XEN.XEN_DOMINF_shutdownmask;
    if (reason === XEN.SHUTDOWN_poweroff) return "poweroff";
    if (reason === XEN.SHUTDOWN_reboot || reason === XEN.SHUTDOWN_soft_reset) return "reboot";
    return reason === XEN.SHUTDOWN_suspend ? "suspend" : "crashed";
  }
  if ((flags & XEN.XEN_DOMINF_paused) !== 0) return "paused";
  return (flags & XEN.XEN_DOMINF_blocked) !== 0 ? "blocked" : "running";
}
