/** libxencall: the hypercalls that no other library of Xen's offers. */

import {
  vcpu_guest_context,
  XEN,
  XEN_DOMCTL,
  xen_domctl_vcpucontext,
  xen_domctl_vcpuextstate,
} from "../../abi/xen.ts";
import { ERRNO } from "../../abi/errno.ts";
import { HostError } from "../error.ts";
import { check, errno, libc } from "../libc.ts";
import { type Functions, openLibrary, sized } from "../library.ts";
import { SONAMES } from "./sonames.ts";

const SYMBOLS = {
  // xencall_handle *xencall_open(struct xentoollog_logger *, unsigned open_flags); int xencall_close(xencall_handle *)
  xencall_open: { parameters: ["pointer", "u32"], result: "pointer" },
  xencall_close: { parameters: ["pointer"], result: "i32" },
  // void *xencall_alloc_buffer_pages(xencall_handle *, size_t nr_pages); void xencall_free_buffer_pages(.., void *, size_t)
  xencall_alloc_buffer_pages: { parameters: ["pointer", "usize"], result: "pointer" },
  xencall_free_buffer_pages: { parameters: ["pointer", "pointer", "usize"], result: "void" },
  // int xencall1(xencall_handle *, unsigned int op, uint64_t arg1)
  xencall1: { parameters: ["pointer", "u32", "u64"], result: "i32" },
} as const;

let functions: Functions<typeof SYMBOLS> | undefined;

/** The first page holds the command, the others what it points to: 12 KiB are more than any processor's XSAVE area. */
const PAGES = 4;
const COMMAND_BYTES = 4096;

/** Raw domctl hypercalls, through one buffer that the hypervisor can read. */
export class DomainCalls implements Disposable {
  readonly #f: Functions<typeof SYMBOLS>;
  #handle: Deno.PointerValue;
  readonly #pages: Deno.PointerObject;
  readonly #buffer: ArrayBuffer;
  readonly #address: bigint;
  /** Where registers come. */
  readonly #context: Uint8Array;

  /** @throws {HostError} If the library is missing, or this is no privileged domain. */
  constructor() {
    libc();
    functions ??= openLibrary("libxencall", SONAMES.libxencall, SYMBOLS, ["xencall1"]);
    this.#f = functions;
    this.#handle = functions.xencall_open(null, 0);
    const failed = errno();
    if (this.#handle === null) throw new HostError("xencall_open", failed);
    const pages = functions.xencall_alloc_buffer_pages(this.#handle, BigInt(PAGES));
    if (pages === null) {
      functions.xencall_close(this.#handle);
      throw new HostError("xencall_alloc_buffer_pages", errno());
    }
    this.#pages = pages;
    // SAFETY: the library allocated these pages for us; the buffer is detached before they are freed.
    this.#buffer = Deno.UnsafePointerView.getArrayBuffer(pages, PAGES * 4096) as ArrayBuffer;
    this.#context = new Uint8Array(this.#buffer, COMMAND_BYTES, vcpu_guest_context.size);
    // SAFETY: the number goes to the hypervisor only, in calls that are over before the pages are freed.
    this.#address = Deno.UnsafePointer.value(pages);
  }

  /**
   * A vCPU's registers: `struct vcpu_guest_context`. xc_vcpu_getcontext does the same through pages that it maps and
   * unmaps for each call.
   *
   * @throws {HostError} If the domain is gone.
   */
  getContext(domain: number, vcpu: number, into: Uint8Array<ArrayBuffer>): void {
    sized("XEN_DOMCTL_getvcpucontext", into, vcpu_guest_context.size);
    check("XEN_DOMCTL_getvcpucontext", this.#askContext(domain, vcpu));
    into.set(this.#context);
  }

  /**
   * Whether a vCPU has such: one that was never brought up, or waits for SIPI, has none. True for a domain that is gone:
   * whoever asks for more is told.
   */
  hasContext(domain: number, vcpu: number): boolean {
    return this.#askContext(domain, vcpu) >= 0 || errno() !== ERRNO.ENODATA;
  }

  #askContext(domain: number, vcpu: number): number {
    const view = this.#begin(XEN.XEN_DOMCTL_getvcpucontext, domain);
    xen_domctl_vcpucontext.write(view, { vcpu, ctxt: this.#address + BigInt(COMMAND_BYTES) }, XEN_DOMCTL.u);
    return this.#f.xencall1(this.#handle, XEN.__HYPERVISOR_domctl, this.#address);
  }

  /**
   * XCR0, the accumulated XCR0, and the XSAVE area in standard format: what the hypervisor keeps of a vCPU.
   *
   * @returns Two words of 8 bytes, then the area; empty if the vCPU never used it.
   * @throws {HostError} If the domain is gone.
   */
  getExtendedState(domain: number, vcpu: number): Uint8Array<ArrayBuffer> {
    const view = this.#begin(XEN.XEN_DOMCTL_getvcpuextstate, domain);
    const buffer = this.#address + BigInt(COMMAND_BYTES);
    xen_domctl_vcpuextstate.write(view, { vcpu, xfeature_mask: 0n, size: 0n, buffer: 0n }, XEN_DOMCTL.u);
    this.#call("XEN_DOMCTL_getvcpuextstate");
    // Without a buffer it tells size and mask, which the call for the contents must repeat.
    const { size, xfeature_mask } = xen_domctl_vcpuextstate.read(view, XEN_DOMCTL.u);
    if (size > BigInt(PAGES * 4096 - COMMAND_BYTES)) {
      throw new RangeError(`A vCPU's XSAVE state of ${size} bytes is larger than any known.`);
    }
    this.#begin(XEN.XEN_DOMCTL_getvcpuextstate, domain);
    xen_domctl_vcpuextstate.write(view, { vcpu, xfeature_mask, size, buffer }, XEN_DOMCTL.u);
    this.#call("XEN_DOMCTL_getvcpuextstate");
    const used = Number(xen_domctl_vcpuextstate.read(view, XEN_DOMCTL.u).size);
    return new Uint8Array(this.#buffer, COMMAND_BYTES, used).slice();
  }

  /** Sets what `getExtendedState` gave. @throws {HostError} If a value is refused. */
  setExtendedState(domain: number, vcpu: number, state: Uint8Array): void {
    if (state.length > PAGES * 4096 - COMMAND_BYTES) {
      throw new RangeError(`${state.length} bytes are more than any vCPU's XSAVE state.`);
    }
    const view = this.#begin(XEN.XEN_DOMCTL_setvcpuextstate, domain);
    new Uint8Array(this.#buffer, COMMAND_BYTES, state.length).set(state);
    const buffer = this.#address + BigInt(COMMAND_BYTES);
    const size = BigInt(state.length);
    xen_domctl_vcpuextstate.write(view, { vcpu, xfeature_mask: 0n, size, buffer }, XEN_DOMCTL.u);
    this.#call("XEN_DOMCTL_setvcpuextstate");
  }

  /** Lets a domain that has shut down go on where it was. */
  resume(domain: number): void {
    this.#begin(XEN.XEN_DOMCTL_resumedomain, domain);
    this.#call("XEN_DOMCTL_resumedomain");
  }

  #begin(cmd: number, domain: number): DataView {
    if (this.#handle === null) throw new RangeError("This handle of libxencall is closed.");
    new Uint8Array(this.#buffer, 0, XEN_DOMCTL.size).fill(0);
    const view = new DataView(this.#buffer);
    view.setUint32(XEN_DOMCTL.cmd, cmd, true);
    view.setUint32(XEN_DOMCTL.interface_version, XEN.XEN_DOMCTL_INTERFACE_VERSION, true);
    view.setUint16(XEN_DOMCTL.domain, domain, true);
    return view;
  }

  #call(name: string): void {
    check(name, this.#f.xencall1(this.#handle, XEN.__HYPERVISOR_domctl, this.#address));
  }

  /** Frees the pages and closes the handle; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#buffer.transfer(0);
    this.#f.xencall_free_buffer_pages(handle, this.#pages, BigInt(PAGES));
    this.#f.xencall_close(handle);
  }
}
