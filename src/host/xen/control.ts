/** libxenctrl: domains, vCPUs' state, monitor rings, event channels of other domains. Every length is checked here. */

import {
  evtchn_status,
  gnttab_query_size,
  HVM_SAVE,
  hvm_save_descriptor,
  vcpu_guest_context,
  XEN,
  xen_domctl_getdomaininfo,
  xen_domctl_getvcpuinfo,
} from "../../abi/xen.ts";
import { ERRNO } from "../../abi/errno.ts";
import { HostError } from "../error.ts";
import { check, errno, libc } from "../libc.ts";
import { type Functions, openLibrary, sized } from "../library.ts";
import { Mapping } from "../mapping.ts";
import { SONAMES } from "./sonames.ts";

/** What hvsh calls in libxenctrl and libxenguest. The comment beside each is C's own declaration (4.17). */
const CONTROL = {
  // xc_interface *xc_interface_open(xentoollog_logger *, xentoollog_logger *dombuild, unsigned flags)
  xc_interface_open: { parameters: ["pointer", "pointer", "u32"], result: "pointer" },
  // int xc_interface_close(xc_interface *)
  xc_interface_close: { parameters: ["pointer"], result: "i32" },
  // int xc_version(xc_interface *, int cmd, void *arg)
  xc_version: { parameters: ["pointer", "i32", "pointer"], result: "i32" },
  // int xc_domain_getinfolist(xc_interface *, uint32_t first, unsigned int max, xc_domaininfo_t *)
  xc_domain_getinfolist: { parameters: ["pointer", "u32", "u32", "buffer"], result: "i32" },
  // int xc_domain_pause(xc_interface *, uint32_t domid) and unpause
  xc_domain_pause: { parameters: ["pointer", "u32"], result: "i32" },
  xc_domain_unpause: { parameters: ["pointer", "u32"], result: "i32" },
  // int xc_domain_get_guest_width(xc_interface *, uint32_t domid, unsigned int *guest_width)
  xc_domain_get_guest_width: { parameters: ["pointer", "u32", "buffer"], result: "i32" },
  // int xc_domain_maximum_gpfn(xc_interface *, uint32_t domid, xen_pfn_t *gpfns)
  xc_domain_maximum_gpfn: { parameters: ["pointer", "u32", "buffer"], result: "i32" },
  // int xc_vcpu_setcontext(xc_interface *, uint32_t domid, uint32_t vcpu, vcpu_guest_context_any_t *)
  xc_vcpu_setcontext: { parameters: ["pointer", "u32", "u32", "buffer"], result: "i32" },
  // int xc_vcpu_getinfo(xc_interface *, uint32_t domid, uint32_t vcpu, xc_vcpuinfo_t *)
  xc_vcpu_getinfo: { parameters: ["pointer", "u32", "u32", "buffer"], result: "i32" },
  // int xc_domain_hvm_getcontext_partial(xc_interface *, uint32_t, uint16_t typecode, uint16_t instance, void *, uint32_t)
  xc_domain_hvm_getcontext_partial: {
    parameters: ["pointer", "u32", "u16", "u16", "buffer", "u32"],
    result: "i32",
  },
  // int xc_domain_hvm_getcontext(xc_interface *, uint32_t domid, uint8_t *ctxt_buf, uint32_t size) and setcontext
  xc_domain_hvm_getcontext: { parameters: ["pointer", "u32", "buffer", "u32"], result: "i32" },
  xc_domain_hvm_setcontext: { parameters: ["pointer", "u32", "buffer", "u32"], result: "i32" },
  // int xc_evtchn_alloc_unbound(xc_interface *, uint32_t dom, uint32_t remote_dom)
  xc_evtchn_alloc_unbound: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int xc_get_pfn_type_batch(xc_interface *, uint32_t dom, unsigned int num, xen_pfn_t *)
  xc_get_pfn_type_batch: { parameters: ["pointer", "u32", "u32", "buffer"], result: "i32" },
  // int xc_maximum_ram_page(xc_interface *, unsigned long *max_mfn)
  xc_maximum_ram_page: { parameters: ["pointer", "buffer"], result: "i32" },
  // void *xc_monitor_enable(xc_interface *, uint32_t domain_id, uint32_t *port); int xc_monitor_disable(.., uint32_t)
  xc_monitor_enable: { parameters: ["pointer", "u32", "buffer"], result: "pointer" },
  xc_monitor_disable: { parameters: ["pointer", "u32"], result: "i32" },
  // int xc_monitor_debug_exceptions(xc_interface *, uint32_t domain_id, bool enable, bool sync)
  xc_monitor_debug_exceptions: { parameters: ["pointer", "u32", "bool", "bool"], result: "i32" },
  // int xc_monitor_software_breakpoint(xc_interface *, uint32_t domain_id, bool enable); and singlestep
  xc_monitor_software_breakpoint: { parameters: ["pointer", "u32", "bool"], result: "i32" },
  xc_monitor_singlestep: { parameters: ["pointer", "u32", "bool"], result: "i32" },
  // int xc_monitor_get_capabilities(xc_interface *, uint32_t domain_id, uint32_t *capabilities)
  xc_monitor_get_capabilities: { parameters: ["pointer", "u32", "buffer"], result: "i32" },
  // int xc_monitor_write_ctrlreg(xc_interface *, uint32_t domain_id, uint16_t index, bool enable, bool sync,
  //   uint64_t bitmask, bool onchangeonly)
  xc_monitor_write_ctrlreg: {
    parameters: ["pointer", "u32", "u16", "bool", "bool", "u64", "bool"],
    result: "i32",
  },
  // int xc_monitor_mov_to_msr(xc_interface *, uint32_t domain_id, uint32_t msr, bool enable, bool onchangeonly)
  xc_monitor_mov_to_msr: { parameters: ["pointer", "u32", "u32", "bool", "bool"], result: "i32" },
  // int xc_monitor_cpuid(xc_interface *, uint32_t domain_id, bool enable); and descriptor_access
  xc_monitor_cpuid: { parameters: ["pointer", "u32", "bool"], result: "i32" },
  xc_monitor_descriptor_access: { parameters: ["pointer", "u32", "bool"], result: "i32" },
  // int xc_monitor_guest_request(xc_interface *, uint32_t domain_id, bool enable, bool sync, bool allow_userspace)
  xc_monitor_guest_request: { parameters: ["pointer", "u32", "bool", "bool", "bool"], result: "i32" },
  // int xc_domain_decrease_reservation_exact(xc_interface *, uint32_t domid, unsigned long nr_extents,
  //   unsigned int extent_order, xen_pfn_t *extent_start)
  xc_domain_decrease_reservation_exact: {
    parameters: ["pointer", "u32", "u64", "u32", "buffer"],
    result: "i32",
  },
  // int xc_hvm_param_set(xc_interface *, uint32_t dom, uint32_t param, uint64_t value)
  xc_hvm_param_set: { parameters: ["pointer", "u32", "u32", "u64"], result: "i32" },
  // int xc_readconsolering(xc_interface *, char *, unsigned int *pnr_chars, int clear, int incremental, uint32_t *pindex)
  xc_readconsolering: { parameters: ["pointer", "buffer", "buffer", "i32", "i32", "buffer"], result: "i32" },
  // int xc_evtchn_status(xc_interface *, xc_evtchn_status_t *)
  xc_evtchn_status: { parameters: ["pointer", "buffer"], result: "i32" },
  // int xc_gnttab_query_size(xc_interface *, struct gnttab_query_size *); int xc_gnttab_get_version(.., uint32_t domid)
  xc_gnttab_query_size: { parameters: ["pointer", "buffer"], result: "i32" },
  xc_gnttab_get_version: { parameters: ["pointer", "u32"], result: "i32" },
} as const;

const GUEST = {
  // xen_pfn_t *xc_map_m2p(xc_interface *, unsigned long max_mfn, int prot, unsigned long *mfn0)
  xc_map_m2p: { parameters: ["pointer", "u64", "i32", "buffer"], result: "pointer" },
} as const;

const LOG = {
  // xentoollog_logger_stdiostream *xtl_createlogger_stdiostream(FILE *, xentoollog_level min_level, unsigned flags)
  xtl_createlogger_stdiostream: { parameters: ["pointer", "i32", "u32"], result: "pointer" },
  // void xtl_logger_destroy(struct xentoollog_logger *)
  xtl_logger_destroy: { parameters: ["pointer"], result: "void" },
} as const;

/** Asked at each step, stop or look. */
const OFTEN = [
  "xc_domain_getinfolist",
  "xc_domain_pause",
  "xc_domain_unpause",
  "xc_vcpu_setcontext",
  "xc_domain_hvm_getcontext_partial",
] as const;

/** XTL_CRITICAL of xentoollog.h: hvsh tells errors itself, the library shall not print them too. */
const XTL_CRITICAL = 9;
/** XENVER_version of xen/version.h: (major << 16) | minor. */
const XENVER_version = 0;

let control: Functions<typeof CONTROL> | undefined;
let guest: Functions<typeof GUEST> | undefined;

/** Opens the library at its first use. @throws {HostError} If it is missing; says what is there. */
function controlLibrary(): Functions<typeof CONTROL> {
  libc();
  return control ??= openLibrary("libxenctrl", SONAMES.libxenctrl, CONTROL, OFTEN);
}

/** The same; it brings a decompressor of every kind, and is for PV guests alone. */
function guestLibrary(): Functions<typeof GUEST> {
  return guest ??= openLibrary("libxenguest", SONAMES.libxenguest, GUEST);
}

/** A quiet logger: without one the library prints to standard error. */
function quietLogger(): { pointer: Deno.PointerValue; destroy(): void } {
  // SAFETY: `stderr` is glibc's variable of that name; its value is read once, here, and is a FILE that is never closed.
  const { stderr } = Deno.dlopen("libc.so.6", { stderr: { type: "pointer" } } as const).symbols;
  const log = openLibrary("libxentoollog", SONAMES.libxentoollog, LOG);
  const pointer = log.xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0);
  return { pointer, destroy: () => log.xtl_logger_destroy(pointer) };
}

/** One handle of libxenctrl, for one thread. */
export class XenControl implements Disposable {
  readonly #c: Functions<typeof CONTROL>;
  readonly #logger: ReturnType<typeof quietLogger>;
  #handle: Deno.PointerValue;

  /** @throws {HostError} If a library is missing, or this is no privileged domain. */
  constructor() {
    this.#c = controlLibrary();
    this.#logger = quietLogger();
    this.#handle = this.#c.xc_interface_open(this.#logger.pointer, null, 0);
    const failed = errno();
    if (this.#handle === null) {
      this.#logger.destroy();
      throw new HostError("xc_interface_open", failed, {
        remedy: "Run hvsh as root in dom0: /dev/xen/privcmd must be there and readable.",
      });
    }
  }

  get #open(): Deno.PointerValue {
    if (this.#handle === null) throw new RangeError("This handle of libxenctrl is closed.");
    return this.#handle;
  }

  /** The hypervisor's release: "4.17". */
  version(): string {
    const v = check("xc_version", this.#c.xc_version(this.#open, XENVER_version, null));
    return `${v >> 16}.${v & 0xffff}`;
  }

  /**
   * Fills `into` with domains in the order of their ids, the first at or after `first`.
   *
   * @returns How many there were, as far as they fit.
   */
  listDomains(first: number, into: Uint8Array<ArrayBuffer>): number {
    const max = Math.floor(into.length / xen_domctl_getdomaininfo.size);
    return check("xc_domain_getinfolist", this.#c.xc_domain_getinfolist(this.#open, first, max, into));
  }

  /** One pause more. It is counted, by Xen. */
  pause(domain: number): void {
    check("xc_domain_pause", this.#c.xc_domain_pause(this.#open, domain));
  }

  /** One pause less; false if there was none, since somebody else took ours back. */
  unpause(domain: number): boolean {
    const result = this.#c.xc_domain_unpause(this.#open, domain);
    if (result < 0 && errno() === ERRNO.EINVAL) return false;
    check("xc_domain_unpause", result);
    return true;
  }

  /** Bytes of a PV guest's words: 4 or 8. */
  guestWidth(domain: number): number {
    const width = new Uint32Array(1);
    check("xc_domain_get_guest_width", this.#c.xc_domain_get_guest_width(this.#open, domain, width));
    return width[0];
  }

  /** The highest guest frame that was ever there. */
  maximumGpfn(domain: number): bigint {
    const most = new BigUint64Array(1);
    check("xc_domain_maximum_gpfn", this.#c.xc_domain_maximum_gpfn(this.#open, domain, most));
    return most[0];
  }

  /**
   * Sets a vCPU's registers, `struct vcpu_guest_context`. Xen takes of an HVM vCPU's what its header says, and forgets AVX
   * registers.
   */
  setContext(domain: number, vcpu: number, from: Uint8Array<ArrayBuffer>): void {
    sized("xc_vcpu_setcontext", from, vcpu_guest_context.size);
    check("xc_vcpu_setcontext", this.#c.xc_vcpu_setcontext(this.#open, domain, vcpu, from));
  }

  /** One save record of an HVM domain, without its descriptor: `HVM_SAVE.CPU` and its like. */
  getRecord(
    domain: number,
    record: { readonly code: number; readonly length: number },
    instance: number,
    into: Uint8Array<ArrayBuffer>,
  ): void {
    const call = "xc_domain_hvm_getcontext_partial";
    sized(call, into, record.length);
    check(
      call,
      this.#c.xc_domain_hvm_getcontext_partial(
        this.#open,
        domain,
        record.code,
        instance,
        into,
        record.length,
      ),
    );
  }

  /** All save records of an HVM domain, each behind its `hvm_save_descriptor`, the last one END. */
  getImage(domain: number): Uint8Array<ArrayBuffer> {
    const call = "xc_domain_hvm_getcontext";
    const length = check(call, this.#c.xc_domain_hvm_getcontext(this.#open, domain, null, 0));
    const image = new Uint8Array(length);
    const used = check(call, this.#c.xc_domain_hvm_getcontext(this.#open, domain, image, length));
    return image.subarray(0, used);
  }

  /** Whether a vCPU sleeps until an event comes: in HLT with interrupts let in, or in a hypercall that says so. */
  asleep(domain: number, vcpu: number): boolean {
    const info = new Uint8Array(xen_domctl_getvcpuinfo.size);
    check("xc_vcpu_getinfo", this.#c.xc_vcpu_getinfo(this.#open, domain, vcpu, info));
    return info[xen_domctl_getvcpuinfo.offsets.blocked] !== 0;
  }

  /** Sets what `getImage` gave; it must hold every vCPU, or Xen takes the others down. */
  setImage(domain: number, image: Uint8Array<ArrayBuffer>): void {
    sized("xc_domain_hvm_setcontext", image, hvm_save_descriptor.size + HVM_SAVE.CPU.length);
    check(
      "xc_domain_hvm_setcontext",
      this.#c.xc_domain_hvm_setcontext(this.#open, domain, image, image.length),
    );
  }

  /** Takes guest frames back: there is no memory in their place. */
  takeBack(domain: number, frames: BigUint64Array<ArrayBuffer>): void {
    const call = "xc_domain_decrease_reservation_exact";
    check(call, this.#c[call](this.#open, domain, BigInt(frames.length), 0, frames));
  }

  /** Says what a triple fault of an HVM domain shall be: one of SHUTDOWN_*. */
  setTripleFault(domain: number, reason: number): void {
    check(
      "xc_hvm_param_set",
      this.#c.xc_hvm_param_set(this.#open, domain, XEN.HVM_PARAM_TRIPLE_FAULT_REASON, BigInt(reason)),
    );
  }

  /** A new event channel port of `domain` that dom0 may bind to. */
  allocateUnbound(domain: number): number {
    return check("xc_evtchn_alloc_unbound", this.#c.xc_evtchn_alloc_unbound(this.#open, domain, 0));
  }

  /** Puts the page type of each machine frame in `frames` over its number: XTAB is none of the domain's. 1024 at most. */
  frameTypes(domain: number, frames: BigUint64Array<ArrayBuffer>): void {
    if (frames.length > 1024) throw new RangeError("xc_get_pfn_type_batch takes 1024 frames at most.");
    check(
      "xc_get_pfn_type_batch",
      this.#c.xc_get_pfn_type_batch(this.#open, domain, frames.length, frames),
    );
  }

  /** The number behind the host's highest machine frame (Xen's max_page, whatever the call's name says). */
  machineFrames(): number {
    const most = new BigUint64Array(1);
    check("xc_maximum_ram_page", this.#c.xc_maximum_ram_page(this.#open, most));
    return Number(most[0]);
  }

  /** Xen's machine-to-physical table, read-only: 8 bytes for each machine frame. The caller disposes of it. */
  machineToPhysical(): Mapping {
    const frames = this.machineFrames();
    const first = new BigUint64Array(1);
    const pointer = guestLibrary().xc_map_m2p(this.#open, BigInt(frames), PROT_READ, first);
    const failed = errno();
    if (pointer === null) throw new HostError("xc_map_m2p", failed);
    // libxenguest maps whole superpages of the table (M2P_SIZE of xg_private.h).
    return Mapping.adopt(pointer, Math.ceil(frames * 8 / M2P_CHUNK) * M2P_CHUNK);
  }

  /** Makes this process the domain's one monitor. Gives its ring, and the domain's port to bind to. */
  enableMonitor(domain: number): { ring: Mapping; port: number } {
    const port = new Uint32Array(1);
    const pointer = this.#c.xc_monitor_enable(this.#open, domain, port);
    const failed = errno();
    if (pointer === null) {
      throw new HostError("xc_monitor_enable", failed, {
        remedy: "Each domain has one monitor: end the other program that watches it by vm_event.",
      });
    }
    return { ring: Mapping.adopt(pointer, 4096), port: port[0] };
  }

  /** Ends that. */
  disableMonitor(domain: number): void {
    check("xc_monitor_disable", this.#c.xc_monitor_disable(this.#open, domain));
  }

  /** Switches an event of the monitor on or off; false if this hypervisor or processor does not have it. */
  monitor(
    domain: number,
    event: "debug-exception" | "software-breakpoint" | "singlestep",
    on: boolean,
  ): boolean {
    const handle = this.#open;
    const result = event === "debug-exception"
      ? this.#c.xc_monitor_debug_exceptions(handle, domain, on, true)
      : event === "software-breakpoint"
      ? this.#c.xc_monitor_software_breakpoint(handle, domain, on)
      : this.#c.xc_monitor_singlestep(handle, domain, on);
    return result === 0;
  }

  /** Which events a domain's monitor can have: bits by XEN_DOMCTL_MONITOR_EVENT_*. */
  monitorCapabilities(domain: number): number {
    const bits = new Uint32Array(1);
    const call = "xc_monitor_get_capabilities";
    check(call, this.#c.xc_monitor_get_capabilities(this.#open, domain, bits));
    return bits[0];
  }

  /** Has every write to a control register reported, or none: `index` is a VM_EVENT_X86_*. The vCPU waits for an answer. */
  reportControlRegister(domain: number, index: number, on: boolean): void {
    const call = "xc_monitor_write_ctrlreg";
    check(call, this.#c.xc_monitor_write_ctrlreg(this.#open, domain, index, on, true, 0n, false));
  }

  /** The same for writes to an MSR. */
  reportMsr(domain: number, msr: number, on: boolean): void {
    check("xc_monitor_mov_to_msr", this.#c.xc_monitor_mov_to_msr(this.#open, domain, msr, on, false));
  }

  /** The same for CPUID. */
  reportCpuid(domain: number, on: boolean): void {
    check("xc_monitor_cpuid", this.#c.xc_monitor_cpuid(this.#open, domain, on));
  }

  /** The same for accesses to IDTR, GDTR, LDTR and TR. */
  reportDescriptors(domain: number, on: boolean): void {
    const call = "xc_monitor_descriptor_access";
    check(call, this.#c.xc_monitor_descriptor_access(this.#open, domain, on));
  }

  /** The same for HVMOP_guest_request_vm_event, of its user programs too. */
  reportRequests(domain: number, on: boolean): void {
    const call = "xc_monitor_guest_request";
    check(call, this.#c.xc_monitor_guest_request(this.#open, domain, on, true, true));
  }

  /** The hypervisor's log, as `xl dmesg` prints it: its newest 64 KiB. */
  log(): string {
    const text = new Uint8Array(65536);
    const length = new Uint32Array([text.length]);
    check(
      "xc_readconsolering",
      this.#c.xc_readconsolering(this.#open, text, length, 0, 0, new Uint32Array(1)),
    );
    return new TextDecoder().decode(text.subarray(0, length[0]));
  }

  /**
   * Fills `into`, `struct evtchn_status`, with a port of a domain's.
   *
   * @returns "kept" for one whose end in the domain is Xen's: it tells nothing of that; "none" beyond the last one.
   * @throws {HostError}
   */
  channelStatus(domain: number, port: number, into: Uint8Array<ArrayBuffer>): "told" | "kept" | "none" {
    const call = "xc_evtchn_status";
    sized(call, into, evtchn_status.size);
    const view = new DataView(into.buffer, into.byteOffset);
    view.setUint16(evtchn_status.offsets.dom, domain, true);
    view.setUint32(evtchn_status.offsets.port, port, true);
    const result = this.#c.xc_evtchn_status(this.#open, into);
    if (result >= 0) return "told";
    const failed = errno();
    // event_channel.c, evtchn_status.
    if (failed === ERRNO.EACCES) return "kept";
    if (failed === ERRNO.EINVAL) return "none";
    throw new HostError(call, failed);
  }

  /** The version of a domain's grant table, and how many pages it has. @throws {HostError} */
  grantTable(domain: number): { version: number; pages: number } {
    const query = new Uint8Array(gnttab_query_size.size);
    const view = new DataView(query.buffer);
    view.setUint16(gnttab_query_size.offsets.dom, domain, true);
    check("xc_gnttab_query_size", this.#c.xc_gnttab_query_size(this.#open, query));
    const version = check("xc_gnttab_get_version", this.#c.xc_gnttab_get_version(this.#open, domain));
    return { version, pages: view.getUint32(gnttab_query_size.offsets.nr_frames, true) };
  }

  /** Closes the handle; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#c.xc_interface_close(handle);
    this.#logger.destroy();
  }
}

const PROT_READ = 1;
const M2P_CHUNK = 2 * 1024 * 1024;
