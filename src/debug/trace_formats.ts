import type { TraceEntry } from "../vm/trace.ts";

/** More than any guest has vCPUs. */
const FIRST_DEVICE_TRACK = 10_000;

/** One JSON object a line; numbers wider than 53 bits are "0x..." strings. */
export function toJsonLines(entries: readonly TraceEntry[]): string {
  return entries.map((entry) => JSON.stringify(entry, hexBigInts) + "\n").join("");
}

/**
 * The Chrome trace event format (JSON object form), which Perfetto and chrome://tracing read: one track a
 * vCPU and a device with requests, one instant event an access or request, times in microseconds.
 */
export function toPerfetto(entries: readonly TraceEntry[]): string {
  const vcpus = [...new Set(entries.filter(({ request }) => !request).map(({ vcpu }) => vcpu))];
  const devices = [...new Set(entries.flatMap(({ request, device }) => request && device ? [device] : []))];
  const tracks = vcpus.map((vcpu) => ({
    name: "thread_name",
    ph: "M",
    pid: 1,
    tid: vcpu,
    args: { name: `vCPU ${vcpu}` },
  }));
  const deviceTracks = devices.map((device, i) => ({
    name: "thread_name",
    ph: "M",
    pid: 1,
    tid: FIRST_DEVICE_TRACK + i,
    args: { name: `requests of ${device}` },
  }));
  const events = entries.map((entry) =>
    entry.request === undefined ? accessEvent(entry) : ({
      name: `queue ${entry.request.queue}: ${entry.request.what ?? "request"}`,
      cat: entry.kind,
      ph: "i",
      s: "t",
      ts: entry.time * 1000,
      pid: 1,
      tid: FIRST_DEVICE_TRACK + devices.indexOf(entry.device ?? ""),
      args: { given: entry.request.given, room: entry.request.room, vcpu: entry.vcpu, rip: hex(entry.rip) },
    })
  );
  const process = { name: "process_name", ph: "M", pid: 1, args: { name: "guest" } };
  const traceEvents = [process, ...tracks, ...deviceTracks, ...events];
  return JSON.stringify({ traceEvents, displayTimeUnit: "ns" });
}

function accessEvent(entry: TraceEntry): object {
  return {
    name: `${entry.name} ${hex(entry.address)}${entry.device === undefined ? "" : ` (${entry.device})`}`,
    cat: entry.kind,
    ph: "i",
    s: "t",
    ts: entry.time * 1000,
    pid: 1,
    tid: entry.vcpu,
    args: { value: hex(entry.value), size: entry.size, count: entry.count, rip: hex(entry.rip) },
  };
}

/** For JSON.stringify: `bigint`s as "0x..." strings. */
export function hexBigInts(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? hex(value) : value;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
