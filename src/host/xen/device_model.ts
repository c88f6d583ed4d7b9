/** libxendevicemodel: what a device model may do to an HVM or PVH domain. */

import { HostError } from "../error.ts";
import { check, errno, libc } from "../libc.ts";
import { type Functions, openLibrary } from "../library.ts";
import { SONAMES } from "./sonames.ts";

const SYMBOLS = {
  // xendevicemodel_handle *xendevicemodel_open(struct xentoollog_logger *, unsigned open_flags); int ..close(handle *)
  xendevicemodel_open: { parameters: ["pointer", "u32"], result: "pointer" },
  xendevicemodel_close: { parameters: ["pointer"], result: "i32" },
  // int xendevicemodel_inject_event(handle *, domid_t, int vcpu, uint8_t vector, uint8_t type, uint32_t error_code,
  //   uint8_t insn_len, uint64_t extra)
  xendevicemodel_inject_event: {
    parameters: ["pointer", "u16", "i32", "u8", "u8", "u32", "u8", "u64"],
    result: "i32",
  },
  // int xendevicemodel_create_ioreq_server(handle *, domid_t, int handle_bufioreq, ioservid_t *id)
  xendevicemodel_create_ioreq_server: { parameters: ["pointer", "u16", "i32", "buffer"], result: "i32" },
  // int xendevicemodel_map_io_range_to_ioreq_server(handle *, domid_t, ioservid_t, int is_mmio, uint64_t start,
  //   uint64_t end)
  xendevicemodel_map_io_range_to_ioreq_server: {
    parameters: ["pointer", "u16", "u16", "i32", "u64", "u64"],
    result: "i32",
  },
  // The same parameters.
  xendevicemodel_unmap_io_range_from_ioreq_server: {
    parameters: ["pointer", "u16", "u16", "i32", "u64", "u64"],
    result: "i32",
  },
  // int xendevicemodel_map_pcidev_to_ioreq_server(handle *, domid_t, ioservid_t, uint16_t segment, uint8_t bus,
  //   uint8_t device, uint8_t function)
  xendevicemodel_map_pcidev_to_ioreq_server: {
    parameters: ["pointer", "u16", "u16", "u16", "u8", "u8", "u8"],
    result: "i32",
  },
  // The same parameters.
  xendevicemodel_unmap_pcidev_from_ioreq_server: {
    parameters: ["pointer", "u16", "u16", "u16", "u8", "u8", "u8"],
    result: "i32",
  },
  // int xendevicemodel_set_ioreq_server_state(handle *, domid_t, ioservid_t, int enabled); int ..destroy..(.., ioservid_t)
  xendevicemodel_set_ioreq_server_state: { parameters: ["pointer", "u16", "u16", "i32"], result: "i32" },
  xendevicemodel_destroy_ioreq_server: { parameters: ["pointer", "u16", "u16"], result: "i32" },
  // int xendevicemodel_set_isa_irq_level(handle *, domid_t, uint8_t irq, unsigned int level)
  xendevicemodel_set_isa_irq_level: { parameters: ["pointer", "u16", "u8", "u32"], result: "i32" },
  // int xendevicemodel_set_pci_intx_level(handle *, domid_t, uint16_t segment, uint8_t bus, uint8_t device, uint8_t intx,
  //   unsigned int level)
  xendevicemodel_set_pci_intx_level: {
    parameters: ["pointer", "u16", "u16", "u8", "u8", "u8", "u32"],
    result: "i32",
  },
  // int xendevicemodel_inject_msi(handle *, domid_t, uint64_t msi_addr, uint32_t msi_data)
  xendevicemodel_inject_msi: { parameters: ["pointer", "u16", "u64", "u32"], result: "i32" },
} as const;

let functions: Functions<typeof SYMBOLS> | undefined;

/** No error code (XEN_DMOP_EV_INT0 and its like leave it out). */
const NO_ERROR_CODE = 0xffff_ffff;
/** Types of events (xen/hvm/dm_op.h): a hardware exception, and one that an instruction raised. */
const HARDWARE_EXCEPTION = 3;
const SOFTWARE_EXCEPTION = 6;

/** One handle. */
export class DeviceModel implements Disposable {
  #handle: Deno.PointerValue;
  readonly #f: Functions<typeof SYMBOLS>;

  /** @throws {HostError} If the library is missing, or this is no privileged domain. */
  constructor() {
    libc();
    functions ??= openLibrary("libxendevicemodel", SONAMES.libxendevicemodel, SYMBOLS, [
      "xendevicemodel_set_isa_irq_level",
      "xendevicemodel_set_pci_intx_level",
      "xendevicemodel_inject_msi",
    ]);
    this.#f = functions;
    this.#handle = functions.xendevicemodel_open(null, 0);
    const failed = errno();
    if (this.#handle === null) throw new HostError("xendevicemodel_open", failed);
  }

  /** Makes a vCPU take an exception at its next entry; INT3 is one that an instruction of a byte raised. */
  injectException(domain: number, vcpu: number, vector: number, errorCode?: number): void {
    const handle = this.#open;
    const software = vector === 3;
    const type = software ? SOFTWARE_EXCEPTION : HARDWARE_EXCEPTION;
    check(
      "xendevicemodel_inject_event",
      this.#f.xendevicemodel_inject_event(
        handle,
        domain,
        vcpu,
        vector,
        type,
        errorCode ?? NO_ERROR_CODE,
        software ? 1 : 0,
        0n,
      ),
    );
  }

  /** Makes this process a device model of the domain, switched off for now; gives its number. */
  createServer(domain: number): number {
    const id = new Uint16Array(1);
    check(
      "xendevicemodel_create_ioreq_server",
      // No buffered requests: every access is answered before the guest goes on.
      this.#f.xendevicemodel_create_ioreq_server(this.#open, domain, 0, id),
    );
    return id[0];
  }

  /** Sends accesses from `first` to `last` to the server: ports, or guest-physical addresses without memory. */
  claim(domain: number, server: number, space: "port" | "mmio", first: bigint, last: bigint): void {
    const call = "xendevicemodel_map_io_range_to_ioreq_server";
    check(call, this.#f[call](this.#open, domain, server, space === "mmio" ? 1 : 0, first, last));
  }

  /** Takes a range back that was claimed: the very same. */
  unclaim(domain: number, server: number, space: "port" | "mmio", first: bigint, last: bigint): void {
    const call = "xendevicemodel_unmap_io_range_from_ioreq_server";
    check(call, this.#f[call](this.#open, domain, server, space === "mmio" ? 1 : 0, first, last));
  }

  /** Sends accesses to the configuration space of a PCI function of bus 0 to the server; they come to no claimed port. */
  claimFunction(domain: number, server: number, device: number, number: number): void {
    const call = "xendevicemodel_map_pcidev_to_ioreq_server";
    check(call, this.#f[call](this.#open, domain, server, 0, 0, device, number));
  }

  /** Takes a function back that was claimed. */
  unclaimFunction(domain: number, server: number, device: number, number: number): void {
    const call = "xendevicemodel_unmap_pcidev_from_ioreq_server";
    check(call, this.#f[call](this.#open, domain, server, 0, 0, device, number));
  }

  /** Switches a server on or off. */
  enableServer(domain: number, server: number, on: boolean): void {
    const call = "xendevicemodel_set_ioreq_server_state";
    check(call, this.#f[call](this.#open, domain, server, on ? 1 : 0));
  }

  /** Ends a server: accesses that wait for it read as ones. */
  destroyServer(domain: number, server: number): void {
    const call = "xendevicemodel_destroy_ioreq_server";
    check(call, this.#f[call](this.#open, domain, server));
  }

  /** Sets the level of an ISA interrupt, 0 to 15, of a domain that has the controllers for it. */
  setIsaLine(domain: number, irq: number, level: boolean): void {
    const call = "xendevicemodel_set_isa_irq_level";
    check(call, this.#f[call](this.#open, domain, irq, level ? 1 : 0));
  }

  /** Sets the level of an interrupt pin, 0 (INTA#) to 3, of a slot of PCI bus 0. */
  setPciLine(domain: number, slot: number, pin: number, level: boolean): void {
    const call = "xendevicemodel_set_pci_intx_level";
    check(call, this.#f[call](this.#open, domain, 0, 0, slot, pin, level ? 1 : 0));
  }

  /** Sends a message-signalled interrupt (SDM vol. 3A, 11.11). */
  injectMessage(domain: number, address: bigint, data: number): void {
    check(
      "xendevicemodel_inject_msi",
      this.#f.xendevicemodel_inject_msi(this.#open, domain, address, data),
    );
  }

  get #open(): Deno.PointerValue {
    if (this.#handle === null) throw new RangeError("This handle of libxendevicemodel is closed.");
    return this.#handle;
  }

  /** Closes the handle; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#f.xendevicemodel_close(handle);
  }
}
