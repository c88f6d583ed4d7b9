import type { TraceEntry } from "../vm/trace.ts";

/** One JSON object a line; numbers wider than 53 bits are "0x..." strings. */
export function toJsonLines(entries: readonly TraceEntry[]): string {
  return entries.map((entry) => JSON.stringify(entry, hexBigInts) + "\n").join("");
}

/**
 * The Chrome trace event format (JSON object form), which Perfetto and chrome://tracing read: one track a
 * vCPU, one instant event an access, times in microseconds.
 */
export function toPerfetto(entries: readonly TraceEntry[]): string {
  const vcpus = [...new Set(entries.map((entry) => entry.vcpu))];
  const tracks = vcpus.map((vcpu) => ({
    name: "thread_name",
    ph: "M",
    pid: 1,
    tid: vcpu,
    args: { name: `vCPU ${vcpu}` },
  }));
  const events = entries.map((entry) => ({
    name: `${entry.name} ${hex(entry.address)}${entry.device === undefined ? "" : ` (${entry.device})`}`,
    cat: entry.kind,
    ph: "i",
    s: "t",
    ts: entry.time * 1000,
    pid: 1,
    tid: entry.vcpu,
    args: { value: hex(entry.value), size: entry.size, count: entry.count, rip: hex(entry.rip) },
  }));
  const process = { name: "process_name", ph: "M", pid: 1, args: { name: "guest" } };
  return JSON.stringify({ traceEvents: [process, ...tracks, ...events], displayTimeUnit: "ns" });
}

/** For JSON.stringify: `bigint`s as "0x..." strings. */
export function hexBigInts(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? hex(value) : value;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
