/** libxenforeignmemory: memory of other domains, mapped into this process. */

import { XEN } from "../../abi/xen.ts";
import { HostError } from "../error.ts";
import { errno, libc } from "../libc.ts";
import { type Functions, openLibrary, sized } from "../library.ts";
import { SONAMES } from "./sonames.ts";

const PAGE = 4096;
/** PROT_READ, and PROT_READ | PROT_WRITE. */
const READ = 1;
const READ_WRITE = 3;

const SYMBOLS = {
  // xenforeignmemory_handle *xenforeignmemory_open(struct xentoollog_logger *, unsigned open_flags)
  xenforeignmemory_open: { parameters: ["pointer", "u32"], result: "pointer" },
  // int xenforeignmemory_close(xenforeignmemory_handle *)
  xenforeignmemory_close: { parameters: ["pointer"], result: "i32" },
  // void *xenforeignmemory_map(handle *, uint32_t dom, int prot, size_t pages, const xen_pfn_t arr[], int err[])
  xenforeignmemory_map: {
    parameters: ["pointer", "u32", "i32", "usize", "buffer", "buffer"],
    result: "pointer",
  },
  // int xenforeignmemory_unmap(handle *, void *addr, size_t pages)
  xenforeignmemory_unmap: { parameters: ["pointer", "pointer", "usize"], result: "i32" },
  // xenforeignmemory_resource_handle *xenforeignmemory_map_resource(handle *, domid_t, unsigned int type, unsigned int id,
  //   unsigned long frame, unsigned long nr_frames, void **paddr, int prot, int flags)
  xenforeignmemory_map_resource: {
    parameters: ["pointer", "u16", "u32", "u32", "u64", "u64", "buffer", "i32", "i32"],
    result: "pointer",
  },
  // int xenforeignmemory_unmap_resource(handle *, xenforeignmemory_resource_handle *)
  xenforeignmemory_unmap_resource: { parameters: ["pointer", "pointer"], result: "i32" },
} as const;

let functions: Functions<typeof SYMBOLS> | undefined;

/** One handle; every mapping must be disposed of before it. */
export class ForeignMemory implements Disposable {
  #handle: Deno.PointerValue;
  readonly #f: Functions<typeof SYMBOLS>;

  /** @throws {HostError} If the library is missing, or this is no privileged domain. */
  constructor() {
    libc();
    functions ??= openLibrary("libxenforeignmemory", SONAMES.libxenforeignmemory, SYMBOLS, [
      "xenforeignmemory_map",
      "xenforeignmemory_unmap",
    ]);
    this.#f = functions;
    this.#handle = functions.xenforeignmemory_open(null, 0);
    const failed = errno();
    if (this.#handle === null) throw new HostError("xenforeignmemory_open", failed);
  }

  /**
   * Maps frames of `domain`, one page after the other.
   *
   * @param frames Machine frames of a PV domain, guest frames of others.
   * @param errors Gets 0 or a negative errno for each frame.
   * @param writable Whether for writing too: Xen refuses that for page tables of PV domains.
   * @returns The mapping; undefined if not one frame could be mapped.
   */
  map(
    domain: number,
    frames: BigUint64Array<ArrayBuffer>,
    errors: Int32Array<ArrayBuffer>,
    writable = false,
  ): ForeignMapping | undefined {
    if (this.#handle === null) throw new RangeError("This handle of libxenforeignmemory is closed.");
    sized("xenforeignmemory_map", errors, frames.length * 4);
    const count = BigInt(frames.length);
    const access = writable ? READ_WRITE : READ;
    const pointer = this.#f.xenforeignmemory_map(this.#handle, domain, access, count, frames, errors);
    if (pointer === null) return undefined;
    return new ForeignMapping(pointer, frames.length, writable, (at, pages) => {
      // After close() the kernel has the mapping still, and only the library's handle is gone.
      if (this.#handle === null) libc().munmap(at, pages * BigInt(PAGE));
      else this.#f.xenforeignmemory_unmap(this.#handle, at, pages);
    });
  }

  /**
   * Maps the page on which the vCPUs of `domain` leave their requests for a device model.
   *
   * @param server The device model's number.
   * @throws {HostError} If Xen refuses.
   */
  mapRequests(domain: number, server: number): SharedPages {
    const { XENMEM_resource_ioreq_server: type, XENMEM_resource_ioreq_server_frame_ioreq0: frame } = XEN;
    return this.#mapResource(domain, { type, id: server, frame, pages: 1, access: READ_WRITE });
  }

  /** Maps the first `pages` pages of a domain's grant table, for reading. @throws {HostError} If Xen refuses. */
  mapGrants(domain: number, pages: number): SharedPages {
    const { XENMEM_resource_grant_table: type, XENMEM_resource_grant_table_id_shared: id } = XEN;
    return this.#mapResource(domain, { type, id, frame: 0, pages, access: READ });
  }

  #mapResource(domain: number, what: Resource): SharedPages {
    if (this.#handle === null) throw new RangeError("This handle of libxenforeignmemory is closed.");
    const address = new BigUint64Array(1);
    const resource = this.#f.xenforeignmemory_map_resource(
      this.#handle,
      domain,
      what.type,
      what.id,
      BigInt(what.frame),
      BigInt(what.pages),
      address,
      what.access,
      0,
    );
    const failed = errno();
    if (resource === null) throw new HostError("xenforeignmemory_map_resource", failed);
    const handle = this.#handle;
    return new SharedPages(
      address[0],
      what.pages,
      () => this.#f.xenforeignmemory_unmap_resource(this.#handle ?? handle, resource),
    );
  }

  /** Closes the handle; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#f.xenforeignmemory_close(handle);
  }
}

/** What of a domain is mapped: XENMEM_resource_*, and which of it. */
interface Resource {
  readonly type: number;
  readonly id: number;
  readonly frame: number;
  readonly pages: number;
  readonly access: typeof READ | typeof READ_WRITE;
}

/** Pages that Xen shares with others; not to be looked at after they are disposed of. */
export class SharedPages implements Disposable {
  /** The pages, live. */
  readonly view: DataView<ArrayBuffer>;
  readonly #unmap: () => void;
  #mapped = true;

  /** Made by `ForeignMemory.mapRequests` and `mapGrants`. */
  constructor(address: bigint, pages: number, unmap: () => void) {
    // SAFETY: the library has mapped that many pages there, which are this object's until `dispose`, where the buffer is
    // detached first.
    const pointer = Deno.UnsafePointer.create(address)!;
    this.view = new DataView(Deno.UnsafePointerView.getArrayBuffer(pointer, pages * PAGE) as ArrayBuffer);
    this.#unmap = unmap;
  }

  /** Detaches the view, then unmaps; doing it twice is harmless. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.view.buffer.transfer(0);
    this.#unmap();
  }
}

/** Pages of another domain in this process. Bytes are copied in and out; nobody gets a view that could outlive it. */
export class ForeignMapping implements Disposable {
  /** How many pages. */
  readonly pages: number;
  /** Whether it may be written; a write to one that may not would end the process, and is refused. */
  readonly writable: boolean;
  readonly #unmap: (pointer: Deno.PointerObject, pages: bigint) => void;
  #pointer: Deno.PointerObject | undefined;
  #bytes: Uint8Array<ArrayBuffer>;

  /** Made by `ForeignMemory.map`. */
  constructor(
    pointer: Deno.PointerObject,
    pages: number,
    writable: boolean,
    unmap: (pointer: Deno.PointerObject, pages: bigint) => void,
  ) {
    this.#pointer = pointer;
    this.pages = pages;
    this.writable = writable;
    this.#unmap = unmap;
    // SAFETY: the library mapped `pages` pages, which are this object's; this one buffer is detached before they are
    // unmapped. A frame that could not be mapped is never touched: callers ask for those with error 0 only.
    this.#bytes = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(pointer, pages * PAGE) as ArrayBuffer,
    );
  }

  /** Copies bytes out, from `at` bytes behind the mapping's start. */
  read(at: number, into: Uint8Array): void {
    into.set(this.#part(at, into.length));
  }

  /** Copies bytes in. */
  write(at: number, from: Uint8Array): void {
    if (!this.writable) throw new RangeError("This foreign mapping is for reading.");
    this.#part(at, from.length).set(from);
  }

  #part(at: number, length: number): Uint8Array {
    if (this.#pointer === undefined) throw new RangeError("This foreign mapping is unmapped.");
    if (at < 0 || at + length > this.#bytes.length) {
      throw new RangeError(`No ${this.#bytes.length} mapped bytes hold ${length} at ${at}.`);
    }
    return this.#bytes.subarray(at, at + length);
  }

  /** Detaches the view, then unmaps; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const pointer = this.#pointer;
    if (pointer === undefined) return;
    this.#pointer = undefined;
    this.#bytes.buffer.transfer(0);
    this.#unmap(pointer, BigInt(this.pages));
  }
}
