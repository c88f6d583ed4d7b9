/** libslirp: a TCP/IP stack that turns a guest's connections into sockets of this process. */
import { pollfd } from "../abi/linux.ts";
import { SLIRP_CALLBACKS, SLIRP_POLL, SlirpConfig } from "../abi/slirp.ts";
import { monotonicMs } from "./clock.ts";
import { HostError } from "./error.ts";
import { cString, libc } from "./libc.ts";

const SYMBOLS = {
  // Slirp *slirp_new(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque)
  slirp_new: { parameters: ["buffer", "buffer", "pointer"], result: "pointer" },
  // void slirp_cleanup(Slirp *slirp)
  slirp_cleanup: { parameters: ["pointer"], result: "void" },
  // void slirp_pollfds_fill(Slirp *, uint32_t *timeout, SlirpAddPollCb add_poll, void *opaque)
  slirp_pollfds_fill: { parameters: ["pointer", "buffer", "function", "pointer"], result: "void" },
  // void slirp_pollfds_poll(Slirp *, int select_error, SlirpGetREventsCb get_revents, void *opaque)
  slirp_pollfds_poll: { parameters: ["pointer", "i32", "function", "pointer"], result: "void" },
  // void slirp_input(Slirp *, const uint8_t *pkt, int pkt_len)
  slirp_input: { parameters: ["pointer", "buffer", "i32"], result: "void" },
  // int slirp_add_hostfwd(Slirp *, int is_udp, struct in_addr host_addr, int, struct in_addr guest_addr, int)
  slirp_add_hostfwd: { parameters: ["pointer", "i32", "u32", "i32", "u32", "i32"], result: "i32" },
} as const;

/** How often the sockets are looked at, at most: each look costs a call of ours for each of them, however little came. */
const POLL_MS = 0.2;
/** Frames that wait at most, whatever comes: more are lost. */
const FRAMES_LIMIT = 4096;
/** Descriptors looked at in one poll at most. */
const POLL_LIMIT = 4096;

/** A network with a router, a DHCP server and a name server in it. Addresses are IPv4, in dotted form. */
export interface SlirpAddresses {
  readonly network: string;
  readonly mask: string;
  /** The router: this host. */
  readonly host: string;
  /** The first address that DHCP gives. */
  readonly dhcpStart: string;
  readonly nameServer: string;
}

let library: Deno.DynamicLibrary<typeof SYMBOLS> | undefined;

function slirp(): Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] {
  try {
    // SAFETY: the declarations above are those of slirp/libslirp.h; the library is never closed.
    library ??= Deno.dlopen("libslirp.so.0", SYMBOLS);
  } catch (cause) {
    throw new HostError("dlopen libslirp.so.0", 0, { cause, remedy: "Install Debian's libslirp0." });
  }
  return library.symbols;
}

/** One network of libslirp's. Everything happens inside its methods; nothing of it runs between them. */
export class Slirp implements Disposable {
  #slirp: Deno.PointerObject | undefined;
  readonly #callbacks: { readonly pointer: Deno.PointerObject; close(): void }[] = [];
  /** libslirp keeps the addresses of these. */
  readonly #kept: Uint8Array<ArrayBuffer>[] = [];
  readonly #add: Deno.UnsafeCallback<{ parameters: ["i32", "i32", "pointer"]; result: "i32" }>;
  readonly #events: Deno.UnsafeCallback<{ parameters: ["i32", "pointer"]; result: "i32" }>;
  #polledAt = -Infinity;
  readonly #fds = new DataView(new ArrayBuffer(POLL_LIMIT * pollfd.size));
  #count = 0;
  #frames: Uint8Array[] = [];
  /** What libslirp said of the guest's packets last. */
  guestError: string | undefined;

  /**
   * A network of its own.
   *
   * @param options `restricted`: the guest reaches nothing but the network's own servers and forwarded ports.
   * @throws {HostError} If libslirp is not there, or refuses.
   */
  constructor(addresses: SlirpAddresses, options: { restricted: boolean; hostName: string }) {
    const lib = slirp();
    const callbacks = this.#makeCallbacks();
    // SAFETY: both are called by libslirp only inside `poll`, on this thread, and closed after slirp_cleanup.
    this.#add = this.#keep(
      new Deno.UnsafeCallback(
        { parameters: ["i32", "i32", "pointer"], result: "i32" },
        (fd, events) => this.#addPoll(fd, events),
      ),
    );
    this.#events = this.#keep(
      new Deno.UnsafeCallback(
        { parameters: ["i32", "pointer"], result: "i32" },
        (index) => this.#eventsOf(index),
      ),
    );
    const hostName = cString(options.hostName);
    this.#kept.push(callbacks, hostName);
    const config = new Uint8Array(SlirpConfig.size);
    SlirpConfig.write(new DataView(config.buffer), {
      version: 1,
      restricted: options.restricted ? 1 : 0,
      in_enabled: 1,
      vnetwork: address(addresses.network),
      vnetmask: address(addresses.mask),
      vhost: address(addresses.host),
      vdhcp_start: address(addresses.dhcpStart),
      vnameserver: address(addresses.nameServer),
      // SAFETY: only the number is taken; #kept holds the bytes as long as libslirp uses them.
      vhostname: Deno.UnsafePointer.value(Deno.UnsafePointer.of(hostName)),
    });
    const made = lib.slirp_new(config, callbacks, null);
    if (made === null) {
      this.#closeCallbacks();
      throw new HostError("slirp_new", 0, { remedy: "Give a network, a mask and addresses inside it." });
    }
    this.#slirp = made;
  }

  /** Takes a frame of the guest's. */
  input(frame: Uint8Array): void {
    if (this.#slirp === undefined) return;
    slirp().slirp_input(this.#slirp, frame as Uint8Array<ArrayBuffer>, frame.length);
  }

  /** The next frame for the guest; looks at the sockets if none waits, unless that has just been done. */
  receive(): Uint8Array | undefined {
    if (this.#frames.length === 0 && monotonicMs() - this.#polledAt >= POLL_MS) this.#poll();
    return this.#frames.shift();
  }

  /**
   * Connections to a port of this host go to one of the guest's.
   *
   * @throws {HostError} If the port can't be listened on.
   */
  forward(rule: { udp: boolean; host: string; hostPort: number; guest: string; guestPort: number }): void {
    const { udp, host, hostPort, guest, guestPort } = rule;
    const failed = slirp().slirp_add_hostfwd(
      this.#slirp ?? null,
      udp ? 1 : 0,
      address(host),
      hostPort,
      address(guest),
      guestPort,
    );
    if (failed !== 0) {
      throw new HostError(`listen on ${host}:${hostPort}`, 0, {
        remedy: "Choose a port that is free and that you may listen on.",
      });
    }
  }

  /** Closes every connection; doing it twice is harmless. */
  [Symbol.dispose](): void {
    if (this.#slirp === undefined) return;
    const gone = this.#slirp;
    // SAFETY: made by slirp_new, and no method uses it from here on.
    this.#slirp = undefined;
    slirp().slirp_cleanup(gone);
    this.#frames = [];
    this.#closeCallbacks();
  }

  #poll(): void {
    if (this.#slirp === undefined) return;
    this.#polledAt = monotonicMs();
    this.#count = 0;
    const timeout = Uint32Array.of(0);
    slirp().slirp_pollfds_fill(this.#slirp, timeout, this.#add.pointer, null);
    let failed = 0;
    if (this.#count > 0) {
      const { buffer } = this.#fds;
      failed = libc().poll(new Uint8Array(buffer), BigInt(this.#count), 0) < 0 ? 1 : 0;
    }
    slirp().slirp_pollfds_poll(this.#slirp, failed, this.#events.pointer, null);
  }

  #addPoll(fd: number, events: number): number {
    if (this.#count === POLL_LIMIT) return -1;
    const at = this.#count * pollfd.size;
    let wanted = 0;
    for (const [slirp, poll] of SLIRP_POLL) if (events & slirp) wanted |= poll;
    this.#fds.setInt32(at + pollfd.offsets.fd, fd, true);
    this.#fds.setUint16(at + pollfd.offsets.events, wanted, true);
    this.#fds.setUint16(at + pollfd.offsets.revents, 0, true);
    return this.#count++;
  }

  #eventsOf(index: number): number {
    if (index < 0 || index >= this.#count) return 0;
    const got = this.#fds.getUint16(index * pollfd.size + pollfd.offsets.revents, true);
    let events = 0;
    for (const [slirp, poll] of SLIRP_POLL) if (got & poll) events |= slirp;
    return events;
  }

  /** The table of functions that libslirp calls. None of them throws: there is no JavaScript above them. */
  #makeCallbacks(): Uint8Array<ArrayBuffer> {
    const start = performance.now();
    // Timers are for IPv6's router advertisements alone, which is off: a handle that is never armed will do.
    // SAFETY: never followed, by libslirp or by us.
    const timer = Deno.UnsafePointer.create(1n);
    // SAFETY: all are called inside slirp_new, slirp_input, slirp_pollfds_poll and slirp_cleanup alone, on this
    // thread, and closed after the last of these; packets are copied before the call returns.
    const made: Record<(typeof SLIRP_CALLBACKS)[number], Deno.PointerObject> = {
      send_packet: this.#keep(
        new Deno.UnsafeCallback(
          { parameters: ["pointer", "usize", "pointer"], result: "isize" },
          (packet, length) => {
            if (packet !== null && this.#frames.length < FRAMES_LIMIT) {
              const bytes = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(packet, Number(length)));
              this.#frames.push(bytes.slice());
            }
            return length;
          },
        ),
      ).pointer,
      guest_error: this.#keep(
        new Deno.UnsafeCallback({ parameters: ["pointer", "pointer"], result: "void" }, (message) => {
          if (message !== null) this.guestError = Deno.UnsafePointerView.getCString(message);
        }),
      ).pointer,
      clock_get_ns: this.#keep(
        new Deno.UnsafeCallback(
          { parameters: ["pointer"], result: "i64" },
          () => BigInt(Math.round((performance.now() - start) * 1e6)),
        ),
      ).pointer,
      timer_new: this.#keep(
        new Deno.UnsafeCallback(
          { parameters: ["pointer", "pointer", "pointer"], result: "pointer" },
          () => timer,
        ),
      ).pointer,
      timer_free: this.#nothing(),
      timer_mod: this.#keep(
        new Deno.UnsafeCallback({ parameters: ["pointer", "i64", "pointer"], result: "void" }, () => {}),
      ).pointer,
      register_poll_fd: this.#nothing(),
      unregister_poll_fd: this.#nothing(),
      notify: this.#nothing(),
    };
    const table = new BigUint64Array(SLIRP_CALLBACKS.length);
    // SAFETY: only the numbers are taken.
    SLIRP_CALLBACKS.forEach((name, i) => table[i] = Deno.UnsafePointer.value(made[name]));
    return new Uint8Array(table.buffer);
  }

  /** Descriptors and wake-ups need nothing: the sockets are asked at every poll. */
  #nothing(): Deno.PointerObject {
    // SAFETY: takes two arguments in registers and looks at neither.
    return this.#keep(
      new Deno.UnsafeCallback({ parameters: ["pointer", "pointer"], result: "void" }, () => {}),
    ).pointer;
  }

  #keep<T extends { readonly pointer: Deno.PointerObject; close(): void }>(callback: T): T {
    this.#callbacks.push(callback);
    return callback;
  }

  #closeCallbacks(): void {
    for (const callback of this.#callbacks) callback.close();
    this.#callbacks.length = 0;
  }
}

/** An IPv4 address as it lies in memory: the first number at the lowest address. @throws {HostError} */
function address(text: string): number {
  const parts = text.split(".").map((part) => /^\d{1,3}$/.test(part) ? Number(part) : NaN);
  if (parts.length !== 4 || parts.some((part) => !(part <= 255))) {
    throw new HostError(`"${text}" as an address`, 0, { remedy: "Give an IPv4 address, such as 127.0.0.1." });
  }
  return new DataView(Uint8Array.from(parts).buffer).getUint32(0, true);
}
