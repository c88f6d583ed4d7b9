/** libxendevicemodel: what a device model may do to an HVM or PVH domain. */

import { HostError } from "../error.ts";
import { check, errno, libc } from "../libc.ts";
import { type Functions, openLibrary } from "../library.ts";

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
    functions ??= openLibrary("libxendevicemodel", ["libxendevicemodel.so.1"], SYMBOLS);
    this.#f = functions;
    this.#handle = functions.xendevicemodel_open(null, 0);
    const failed = errno();
    if (this.#handle === null) throw new HostError("xendevicemodel_open", failed);
  }

  /** Makes a vCPU take an exception at its next entry; INT3 is one that an instruction of a byte raised. */
  injectException(domain: number, vcpu: number, vector: number, errorCode?: number): void {
    if (this.#handle === null) throw new RangeError("This handle of libxendevicemodel is closed.");
    const software = vector === 3;
    const type = software ? SOFTWARE_EXCEPTION : HARDWARE_EXCEPTION;
    check(
      "xendevicemodel_inject_event",
      this.#f.xendevicemodel_inject_event(
        this.#handle,
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

  /** Closes the handle; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#f.xendevicemodel_close(handle);
  }
}
