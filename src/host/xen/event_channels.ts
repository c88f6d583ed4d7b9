/** libxenevtchn: event channels between this domain and others. */

import { HostError } from "../error.ts";
import { check, errno, libc } from "../libc.ts";
import { type Functions, openLibrary } from "../library.ts";
import { readableWait } from "../poll.ts";
import { SONAMES } from "./sonames.ts";

const SYMBOLS = {
  // xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *, unsigned open_flags)
  xenevtchn_open: { parameters: ["pointer", "u32"], result: "pointer" },
  // int xenevtchn_close(xenevtchn_handle *)
  xenevtchn_close: { parameters: ["pointer"], result: "i32" },
  // int xenevtchn_fd(xenevtchn_handle *)
  xenevtchn_fd: { parameters: ["pointer"], result: "i32" },
  // xenevtchn_port_or_error_t xenevtchn_bind_interdomain(handle *, uint32_t domid, evtchn_port_t remote_port)
  xenevtchn_bind_interdomain: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int xenevtchn_unbind(handle *, evtchn_port_t); int xenevtchn_notify(handle *, evtchn_port_t)
  xenevtchn_unbind: { parameters: ["pointer", "u32"], result: "i32" },
  xenevtchn_notify: { parameters: ["pointer", "u32"], result: "i32" },
  // xenevtchn_port_or_error_t xenevtchn_pending(handle *); int xenevtchn_unmask(handle *, evtchn_port_t)
  xenevtchn_pending: { parameters: ["pointer"], result: "i32" },
  xenevtchn_unmask: { parameters: ["pointer", "u32"], result: "i32" },
} as const;

let functions: Functions<typeof SYMBOLS> | undefined;

/** One handle, with the ports that are bound through it. */
export class EventChannels implements Disposable {
  #handle: Deno.PointerValue;
  readonly #f: Functions<typeof SYMBOLS>;
  readonly #readable: (ms: number) => boolean;
  readonly #bound = new Set<number>();

  /** @throws {HostError} If the library or /dev/xen/evtchn is missing. */
  constructor() {
    libc();
    functions ??= openLibrary("libxenevtchn", SONAMES.libxenevtchn, SYMBOLS, [
      "xenevtchn_notify",
      "xenevtchn_pending",
      "xenevtchn_unmask",
    ]);
    this.#f = functions;
    this.#handle = functions.xenevtchn_open(null, 0);
    const failed = errno();
    if (this.#handle === null) {
      throw new HostError("xenevtchn_open", failed, { remedy: "Load it: modprobe xen-evtchn." });
    }
    this.#readable = readableWait(functions.xenevtchn_fd(this.#handle));
  }

  get #open(): Deno.PointerValue {
    if (this.#handle === null) throw new RangeError("This handle of libxenevtchn is closed.");
    return this.#handle;
  }

  /** Binds to `port` of `domain`; gives our port. @throws {HostError} */
  bind(domain: number, port: number): number {
    const call = "xenevtchn_bind_interdomain";
    const ours = check(call, this.#f.xenevtchn_bind_interdomain(this.#open, domain, port));
    this.#bound.add(ours);
    return ours;
  }

  /** Closes one of our ports. */
  unbind(port: number): void {
    this.#bound.delete(port);
    check("xenevtchn_unbind", this.#f.xenevtchn_unbind(this.#open, port));
  }

  /** Sends an event through one of our ports. */
  notify(port: number): void {
    check("xenevtchn_notify", this.#f.xenevtchn_notify(this.#open, port));
  }

  /** Waits at most `ms` milliseconds (0: not at all) for an event; gives the port, undefined if none came. */
  wait(ms: number): number | undefined {
    if (!this.#readable(ms)) return undefined;
    const port = check("xenevtchn_pending", this.#f.xenevtchn_pending(this.#open));
    check("xenevtchn_unmask", this.#f.xenevtchn_unmask(this.#open, port));
    return port;
  }

  /** Lets every port tell of events: after a `wait` that was ended in its middle. */
  unmask(): void {
    for (const port of this.#bound) check("xenevtchn_unmask", this.#f.xenevtchn_unmask(this.#open, port));
  }

  /** Closes the handle and every port of it; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#f.xenevtchn_close(handle);
  }
}
