import type { DeviceRequest } from "./device.ts";

/** One access of the guest, or one request in a device's queue, as the trace keeps it. */
export interface TraceEntry {
  /** Counts from 0 since the machine was opened; never repeats. */
  readonly sequence: number;
  /** Milliseconds since the machine was opened. */
  readonly time: number;
  /** Index of the vCPU that did it. */
  readonly vcpu: number;
  /** Whose address `address` is. */
  readonly kind: "port" | "mmio" | "msr" | "request" | "other";
  /** The exit's kind: "io-in", "mmio-write", ...; "request" for a request, which follows the access that led to it. */
  readonly name: string;
  /** Whether it was OUT, WRMSR or a store. */
  readonly write: boolean;
  /** Port or MSR number, or guest-physical address; a request's queue. */
  readonly address: bigint;
  /** Bytes of one access: 1 to 8; 0 for a request. */
  readonly size: number;
  /** How many accesses in one exit (string I/O). */
  readonly count: number;
  /** The first access's value, little-endian. */
  readonly value: bigint;
  /** RIP at the access. */
  readonly rip: bigint;
  /** The device that answered; undefined if none did. */
  readonly device?: string;
  /** What was asked for by a request. */
  readonly request?: DeviceRequest;
}

/** Which entries of the trace: those that all the given fields fit. */
export interface TraceFilter {
  /** Only ports, only MMIO, only MSRs or only requests. */
  readonly kind?: TraceEntry["kind"];
  /** Only writes (true) or only reads (false). */
  readonly write?: boolean;
  /** First address: port, MSR or guest-physical. */
  readonly from?: bigint | number;
  /** Last address, this one included. */
  readonly to?: bigint | number;
  /** Only accesses that this device answered. */
  readonly device?: string;
  /** Only the vCPU with this index. */
  readonly vcpu?: number;
  /** Only the newest so many. */
  readonly last?: number;
}

/** How often the guest was left, by kind, and by address for accesses. */
export interface ExitStatistics {
  /** Exits of all kinds since the machine was opened or the trace cleared. */
  readonly total: number;
  /** Exit kind to count. */
  readonly kinds: Readonly<Record<string, number>>;
  /** Busiest first. A guest that touches more than 4096 MMIO and MSR addresses has the others left out. */
  readonly addresses: readonly {
    readonly kind: "port" | "mmio" | "msr";
    readonly address: bigint;
    readonly reads: number;
    readonly writes: number;
    readonly device?: string;
  }[];
}

/**
 * A bounded ring of the newest accesses, always on.
 *
 * @example Who wrote what to which port.
 * ```ts
 * import { flat, open } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * // In real mode: mov al, 0x41; out 0xe9, al; in al, 0x92; cli; hlt
 * const code = Uint8Array.of(0xb0, 0x41, 0xe6, 0xe9, 0xe4, 0x92, 0xfa, 0xf4);
 * await using vm = await open({ backend: "fake", boot: flat(code) });
 * await vm.continue();
 *
 * const [write] = vm.trace.entries({ kind: "port", write: true });
 * assert.deepEqual([write.address, write.value, write.device], [0xe9n, 0x41n, "debugcon-e9"]);
 * assert.equal(vm.trace.statistics().kinds["io-in"], 1);
 * ```
 */
export interface Trace {
  /** How many entries are kept. */
  readonly capacity: number;
  /** The entries that are still there, oldest first. */
  entries(filter?: TraceFilter): TraceEntry[];
  /** One JSON object a line; `bigint`s as "0x..." strings. */
  toJsonLines(filter?: TraceFilter): string;
  /** The Chrome trace event format (JSON), which Perfetto reads; times in microseconds. */
  toPerfetto(filter?: TraceFilter): string;
  /** Counts of every exit, those that have left the ring included. */
  statistics(): ExitStatistics;
  /** Forgets entries and counts. */
  clear(): void;
}
