/** What xenstore and the hypervisor know of a domain, without stopping it: xenstore's subtree, event channels, grants. */

import { evtchn_status, EVTCHNSTAT, grant_entry_v1, GTF, vcpu_guest_context, XEN } from "../abi/xen.ts";
import { XenControl } from "../host/xen/control.ts";
import { DomainCalls } from "../host/xen/domctl.ts";
import { ForeignMemory } from "../host/xen/foreign_memory.ts";
import { XenStore } from "../host/xen/store.ts";
import { anyDomain, type Domain, storeInDomain } from "./domain.ts";

/** One value of xenstore. */
export interface StoreEntry {
  /** From the domain's own folder: "console/tty". */
  readonly path: string;
  /** Its text; what a domain writes of itself may be anything. */
  readonly value: string;
}

/** An event channel, as the domain has it. */
export type EventChannel =
  & {
    /** Its number in the domain. */
    readonly port: number;
    /** The vCPU that is told; -1 where Xen itself is. */
    readonly vcpu: number;
  }
  & (
    /** Waits for `domain` to bind to it. */
    | { readonly kind: "unbound"; readonly domain: number }
    /** Leads to a port of another domain. */
    | { readonly kind: "interdomain"; readonly domain: number; readonly remotePort: number }
    /** A physical or virtual interrupt line (VIRQ_* of xen/xen.h). */
    | { readonly kind: "pirq" | "virq"; readonly line: number }
    /** From a vCPU to another. */
    | { readonly kind: "ipi" }
    /** Xen's own, to a device model or to who listens to the domain's events: it tells no more of it. */
    | { readonly kind: "xen" }
  );

/** A frame that the domain lets another one use. */
export interface Grant {
  /** Its index in the table, by which the other asks for it. */
  readonly reference: number;
  /** The domain that may. */
  readonly domain: number;
  /** Guest frame; of a PV domain the machine frame. */
  readonly frame: bigint;
  /** What it may do. Transfers hand a frame over for good. */
  readonly access: "read" | "write" | "transfer" | "transitive";
  /** Whether it has it mapped now. */
  readonly mapped: boolean;
}

/** What Xen keeps of a PV vCPU beside its registers (struct vcpu_guest_context of xen.h); `idt` shows its trap table. */
export interface PvState {
  /** Its number. */
  readonly vcpu: number;
  /** Whether it is in the guest's kernel, and not in a user program. */
  readonly inKernel: boolean;
  /** The stack that Xen switches to on the way into the kernel: selector and address. */
  readonly kernelStack: { readonly ss: bigint; readonly sp: bigint };
  /** Linear addresses that Xen calls: for events, where an IRET fails, for SYSCALL of 64-bit programs. 0: none. */
  readonly callbacks: { readonly event: bigint; readonly failsafe: bigint; readonly syscall: bigint };
  /** Machine frames of its GDT, and how many descriptors it has. */
  readonly gdt: { readonly frames: readonly bigint[]; readonly entries: number };
}

/** A domain, and what is known of it. */
export interface DomainDetails extends Domain {
  /** Its folder in xenstore, /local/domain/ID, with all below it. */
  readonly store: readonly StoreEntry[];
  /** Those that are not closed, by port. */
  readonly channels: readonly EventChannel[];
  /** Of a 64-bit PV domain's vCPUs that were brought up; of others none. */
  readonly pv: readonly PvState[];
  /** Undefined where they can't be read: dom0's own, and tables of version 2, which Linux takes for 16 TiB and more. */
  readonly grants: readonly Grant[] | undefined;
}

/** A domain writes to its own folder: xenstored's quota is the bound, and this one. */
const MOST_ENTRIES = 10_000;

/** @throws {InputError} If there is no such domain. @throws {HostError} If Xen refuses. */
export function detailsOf(wanted: string | number): DomainDetails {
  using control = new XenControl();
  using store = new XenStore(() => storeInDomain(control));
  const { id, name, kind, vcpus, memory, state, cpuTime, maxVcpu } = anyDomain(control, store, wanted);
  return {
    ...{ id, name, kind, vcpus, memory, state, cpuTime },
    store: storeOf(store, `/local/domain/${id}`),
    channels: channelsOf(control, id),
    // dom0 runs this: its own vCPUs can't be held to be looked at. Those of 32-bit guests have another structure.
    pv: kind === "pv" && id !== 0 && control.guestWidth(id) === 8 ? pvStates(id, maxVcpu + 1) : [],
    grants: grantsOf(control, id),
  };
}

/** Values below a folder, in the order of their paths. */
export function storeOf(store: Pick<XenStore, "read" | "list">, folder: string): StoreEntry[] {
  const found: StoreEntry[] = [];
  const folders = [""];
  for (let at = folders.pop(); at !== undefined && found.length < MOST_ENTRIES; at = folders.pop()) {
    for (const name of store.list(`${folder}${at}`)) {
      const path = `${at}/${name}`;
      folders.push(path);
      const value = store.read(`${folder}${path}`);
      // Folders have empty values.
      if (value) found.push({ path: path.slice(1), value });
    }
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

function pvStates(id: number, vcpus: number): PvState[] {
  using calls = new DomainCalls();
  const context = new Uint8Array(vcpu_guest_context.size);
  return Array.from({ length: vcpus }, (_, vcpu) => vcpu).flatMap((vcpu) => {
    if (!calls.hasContext(id, vcpu)) return [];
    calls.getContext(id, vcpu, context);
    return [decodePv(vcpu, new DataView(context.buffer))];
  });
}

/** What a `struct vcpu_guest_context` says beside registers. */
export function decodePv(vcpu: number, view: DataView): PvState {
  const context = vcpu_guest_context.read(view);
  // A frame of the GDT holds 512 descriptors.
  const frames = Math.ceil(Number(context.gdt_ents) / 512);
  return {
    vcpu,
    inKernel: (context.flags & BigInt(XEN.VGCF_in_kernel)) !== 0n,
    kernelStack: { ss: context.kernel_ss, sp: context.kernel_sp },
    callbacks: {
      event: context.event_callback_eip,
      failsafe: context.failsafe_callback_eip,
      syscall: context.syscall_callback_eip,
    },
    gdt: { frames: context.gdt_frames.slice(0, frames), entries: Number(context.gdt_ents) },
  };
}

/** A domain's ports that are not closed. */
export function channelsOf(control: Pick<XenControl, "channelStatus">, id: number): EventChannel[] {
  const found: EventChannel[] = [];
  const status = new Uint8Array(evtchn_status.size);
  for (let port = 0;; port++) {
    const told = control.channelStatus(id, port, status);
    if (told === "none") return found;
    const channel: EventChannel | undefined = told === "kept"
      ? { port, vcpu: -1, kind: "xen" }
      : decodeChannel(new DataView(status.buffer));
    if (channel !== undefined) found.push(channel);
  }
}

/** A channel by its `struct evtchn_status`; undefined for a port that is closed. */
export function decodeChannel(view: DataView): EventChannel | undefined {
  const { offsets } = evtchn_status;
  const word = (at: number) => view.getUint32(at, true);
  const common = { port: word(offsets.port), vcpu: word(offsets.vcpu) };
  const domain = view.getUint16(offsets.u, true);
  switch (word(offsets.status)) {
    case EVTCHNSTAT.unbound:
      return { ...common, kind: "unbound", domain };
    case EVTCHNSTAT.interdomain:
      return { ...common, kind: "interdomain", domain, remotePort: word(offsets.u + 4) };
    case EVTCHNSTAT.pirq:
      return { ...common, kind: "pirq", line: word(offsets.u) };
    case EVTCHNSTAT.virq:
      return { ...common, kind: "virq", line: word(offsets.u) };
    case EVTCHNSTAT.ipi:
      return { ...common, kind: "ipi" };
    default:
      return undefined;
  }
}

function grantsOf(control: XenControl, id: number): Grant[] | undefined {
  const { version, pages } = control.grantTable(id);
  // Xen maps other domains' tables alone (acquire_resource of its memory.c).
  if (version !== 1 || id === 0) return undefined;
  if (pages === 0) return [];
  using memory = new ForeignMemory();
  using table = memory.mapGrants(id, pages);
  return decodeGrants(table.view);
}

/** The entries of a grant table of version 1 that are in use. */
export function decodeGrants(view: DataView): Grant[] {
  const { size, offsets } = grant_entry_v1;
  const found: Grant[] = [];
  for (let reference = 0; reference < view.byteLength / size; reference++) {
    const at = reference * size;
    const flags = view.getUint16(at + offsets.flags, true);
    const type = flags & GTF.type_mask;
    if (type === GTF.invalid) continue;
    found.push({
      reference,
      domain: view.getUint16(at + offsets.domid, true),
      frame: BigInt(view.getUint32(at + offsets.frame, true)),
      access: type === GTF.accept_transfer
        ? "transfer"
        : type === GTF.transitive
        ? "transitive"
        : (flags & GTF.readonly) !== 0
        ? "read"
        : "write",
      mapped: type === GTF.permit_access && (flags & (GTF.reading | GTF.writing)) !== 0,
    });
  }
  return found;
}
