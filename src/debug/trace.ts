import type { BackendVcpu } from "../vm/backend.ts";
import type { Device, DeviceRequest, TakenRequest } from "../vm/device.ts";
import type { AccessExit, VmExit } from "../vm/exit.ts";
import type { Recorder } from "../vm/loop.ts";
import type { ExitStatistics, Trace, TraceEntry, TraceFilter } from "../vm/trace.ts";
import { toJsonLines, toPerfetto } from "./trace_formats.ts";

/** Entries kept by default. */
const CAPACITY = 8192;
/** Distinct MMIO and MSR addresses that are counted; a guest chooses them, so there has to be an end. */
const ADDRESSES = 4096;

const KINDS = ["io-in", "io-out", "mmio-read", "mmio-write", "msr-read", "msr-write"] as const;
const CODE: Readonly<Record<AccessExit["kind"], number>> = {
  "io-in": 0,
  "io-out": 1,
  "mmio-read": 2,
  "mmio-write": 3,
  "msr-read": 4,
  "msr-write": 5,
};
/** A request is no exit, and not counted as one. */
const REQUEST = KINDS.length;
const SPACES = ["port", "mmio", "msr", "request"] as const;
/** Requests that may come before the access that led to them is noted: what one kick serves is more than the ring has. */
const PENDING = 1024;

/**
 * The newest accesses in typed arrays: recording one allocates nothing and costs a small part of an exit, so
 * that it can always be on.
 */
export class AccessTrace implements Trace, Recorder {
  readonly capacity: number;
  readonly #now: () => number;
  readonly #start: number;
  #sequence = 0;
  /** Sequence number of the oldest entry that `clear` has not forgotten. */
  #first = 0;
  /** Made at the first access: a guest that never runs needs none. */
  #ring: Ring | undefined;
  /** How many accesses there were, by `CODE`. */
  readonly #accesses = new Float64Array(KINDS.length);
  /** How many other exits, by kind. */
  readonly #kinds = new Map<string, number>();
  /** By port number, in pages of 256. */
  #ports: (Tally | undefined)[][] = [];
  readonly #others = { mmio: new Map<number, Tally>(), msr: new Map<number, Tally>() };
  /** Requests that were served in an access which is still to be noted. */
  #pending: { time: number; device: Device; request: TakenRequest }[] = [];
  #last = { vcpu: 0, rip: 0n };

  /** @param now Milliseconds, from any zero: read at every access. */
  constructor(capacity = CAPACITY, now: () => number = () => performance.now()) {
    this.capacity = capacity;
    this.#now = now;
    this.#start = now();
  }

  access(vcpu: BackendVcpu, exit: AccessExit, device: Device | undefined): void {
    const slot = this.#sequence++ % this.capacity;
    const ring = this.#ring ??= new Ring(this.capacity);
    const { data } = exit;
    const code = CODE[exit.kind];
    ring.time[slot] = this.#now() - this.#start;
    ring.code[slot] = code;
    this.#accesses[code]++;
    ring.vcpu[slot] = vcpu.index;
    ring.rip[slot] = vcpu.rip;
    ring.device[slot] = device;
    ring.request[slot] = undefined;
    let size = data.length;
    if ("port" in exit) {
      size = exit.size;
      ring.address[slot] = exit.port;
      ring.count[slot] = exit.count;
      this.#tallyPort(exit.port, exit.kind === "io-out", exit.count, device);
    } else {
      const address = "index" in exit ? exit.index : Number(exit.address);
      ring.address[slot] = address;
      ring.count[slot] = 1;
      this.#tallyOther(exit.kind, address, device);
    }
    ring.size[slot] = size;
    const at = slot * 8;
    for (let i = 0; i < 8; i++) ring.value[at + i] = i < size ? data[i] : 0;
    if (this.#pending.length > 0) this.#notePending(vcpu.index, vcpu.rip);
  }

  /** A device took a request from its queue: in the access that is being answered, or by itself. */
  request(device: Device, request: TakenRequest): void {
    if (this.#pending.length < PENDING) {
      this.#pending.push({ time: this.#now() - this.#start, device, request });
    }
  }

  other(_vcpu: BackendVcpu, exit: VmExit): void {
    this.#tallyKind(exit.kind);
  }

  entries(filter: TraceFilter = {}): TraceEntry[] {
    this.#notePending(this.#last.vcpu, this.#last.rip);
    const oldest = Math.max(this.#first, this.#sequence - this.capacity);
    const found: TraceEntry[] = [];
    const ring = this.#ring;
    if (ring === undefined) return found;
    const enough = filter.last ?? Infinity;
    for (let sequence = this.#sequence - 1; sequence >= oldest && found.length < enough; sequence--) {
      const entry = this.#entry(ring, sequence);
      if (matches(entry, filter)) found.push(entry);
    }
    return found.reverse();
  }

  toJsonLines(filter?: TraceFilter): string {
    return toJsonLines(this.entries(filter));
  }

  toPerfetto(filter?: TraceFilter): string {
    return toPerfetto(this.entries(filter));
  }

  statistics(): ExitStatistics {
    const ports = this.#ports.flatMap((page, high) =>
      page.flatMap((tally, low) =>
        tally === undefined ? [] : [{ kind: "port" as const, address: BigInt(high << 8 | low), ...tally }]
      )
    );
    const others = (["mmio", "msr"] as const).flatMap((kind) =>
      [...this.#others[kind]].map(([address, tally]) => ({ kind, address: BigInt(address), ...tally }))
    );
    const busiest = [...ports, ...others].sort((a, b) => b.reads + b.writes - a.reads - a.writes);
    const kinds: Record<string, number> = {};
    KINDS.forEach((kind, code) => {
      if (this.#accesses[code] > 0) kinds[kind] = this.#accesses[code];
    });
    Object.assign(kinds, Object.fromEntries(this.#kinds));
    const total = Object.values(kinds).reduce((sum, count) => sum + count, 0);
    return { total, kinds, addresses: busiest };
  }

  clear(): void {
    this.#pending = [];
    this.#first = this.#sequence;
    this.#accesses.fill(0);
    this.#kinds.clear();
    this.#ports = [];
    for (const tallies of Object.values(this.#others)) tallies.clear();
  }

  /** Behind the access that led to them, if one did. */
  #notePending(vcpu: number, rip: bigint): void {
    this.#last = { vcpu, rip };
    if (this.#pending.length === 0) return;
    const ring = this.#ring ??= new Ring(this.capacity);
    const noted = this.#pending.length;
    for (let i = 0; i < noted; i++) {
      const { time, device, request } = this.#pending[i];
      const slot = this.#sequence++ % this.capacity;
      ring.time[slot] = time;
      ring.code[slot] = REQUEST;
      ring.vcpu[slot] = vcpu;
      ring.rip[slot] = rip;
      ring.device[slot] = device;
      ring.address[slot] = request.queue;
      ring.size[slot] = 0;
      ring.count[slot] = 1;
      ring.value.fill(0, slot * 8, slot * 8 + 8);
      ring.request[slot] = request;
    }
    this.#pending.length = 0;
  }

  #entry(ring: Ring, sequence: number): TraceEntry {
    const slot = sequence % this.capacity;
    const kind = KINDS[ring.code[slot]] ?? "request";
    const device = ring.device[slot]?.name;
    const request = ring.request[slot];
    return {
      sequence,
      time: ring.time[slot],
      vcpu: ring.vcpu[slot],
      kind: SPACES[ring.code[slot] >> 1],
      name: kind,
      write: (ring.code[slot] & 1) === 1,
      address: BigInt(ring.address[slot]),
      size: ring.size[slot],
      count: ring.count[slot],
      value: new DataView(ring.value.buffer, slot * 8, 8).getBigUint64(0, true),
      rip: ring.rip[slot],
      ...(device !== undefined && { device }),
      ...(request !== undefined && { request: told(request) }),
    };
  }

  #tallyKind(kind: string): void {
    this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + 1);
  }

  #tallyPort(port: number, write: boolean, count: number, device: Device | undefined): void {
    const page = this.#ports[port >> 8] ??= [];
    const tally = page[port & 0xff] ??= { reads: 0, writes: 0 };
    if (device !== undefined) tally.device = device.name;
    if (write) tally.writes += count;
    else tally.reads += count;
  }

  #tallyOther(kind: AccessExit["kind"], address: number, device: Device | undefined): void {
    const others = kind === "mmio-read" || kind === "mmio-write" ? this.#others.mmio : this.#others.msr;
    let tally = others.get(address);
    if (tally === undefined) {
      if (this.#others.mmio.size + this.#others.msr.size >= ADDRESSES) return;
      others.set(address, tally = { reads: 0, writes: 0 });
    }
    if (device !== undefined) tally.device = device.name;
    if (kind === "mmio-write" || kind === "msr-write") tally.writes++;
    else tally.reads++;
  }
}

/** In words where it can be. */
function told({ what, ...request }: TakenRequest): DeviceRequest {
  return what === undefined ? request : { ...request, what: typeof what === "string" ? what : what() };
}

/** The ring's columns. */
class Ring {
  readonly time: Float64Array;
  readonly code: Uint8Array;
  readonly vcpu: Uint16Array;
  /** Ports, MSRs and guest-physical addresses are below 2^53. */
  readonly address: Float64Array;
  readonly size: Uint8Array;
  readonly count: Uint32Array;
  readonly value: Uint8Array;
  readonly rip: BigUint64Array;
  readonly device: (Device | undefined)[];
  readonly request: (TakenRequest | undefined)[];

  constructor(capacity: number) {
    this.time = new Float64Array(capacity);
    this.code = new Uint8Array(capacity);
    this.vcpu = new Uint16Array(capacity);
    this.address = new Float64Array(capacity);
    this.size = new Uint8Array(capacity);
    this.count = new Uint32Array(capacity);
    this.value = new Uint8Array(capacity * 8);
    this.rip = new BigUint64Array(capacity);
    this.device = new Array(capacity);
    this.request = new Array(capacity);
  }
}

interface Tally {
  reads: number;
  writes: number;
  device?: string;
}

function matches(entry: TraceEntry, filter: TraceFilter): boolean {
  return (filter.kind === undefined || entry.kind === filter.kind) &&
    (filter.write === undefined || entry.kind !== "request" && entry.write === filter.write) &&
    (filter.from === undefined || entry.address >= BigInt(filter.from)) &&
    (filter.to === undefined || entry.address <= BigInt(filter.to)) &&
    (filter.device === undefined || entry.device === filter.device) &&
    (filter.vcpu === undefined || entry.vcpu === filter.vcpu);
}
