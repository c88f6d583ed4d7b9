import assert from "node:assert/strict";
import type { BackendVcpu } from "../vm/backend.ts";
import type { AccessExit } from "../vm/exit.ts";
import { AccessTrace } from "./trace.ts";

const vcpu = { index: 0, rip: 0xffff_ffff_8000_0010n } as BackendVcpu;
const device = { name: "uart0" };

function out(port: number, ...data: number[]): AccessExit {
  return { kind: "io-out", port, size: 1, count: data.length, data: Uint8Array.from(data) };
}

function filled(count: number, capacity?: number): AccessTrace {
  const trace = new AccessTrace(capacity);
  for (let i = 0; i < count; i++) trace.access(vcpu, out(0x3f8, i), device);
  return trace;
}

Deno.test("an entry tells the whole access", () => {
  const trace = new AccessTrace();
  trace.access(
    vcpu,
    { kind: "mmio-read", address: 0xfee0_0020n, data: Uint8Array.of(1, 2, 3, 4) },
    undefined,
  );
  const [entry] = trace.entries();
  assert.deepEqual({ ...entry, time: 0 }, {
    sequence: 0,
    time: 0,
    vcpu: 0,
    kind: "mmio",
    name: "mmio-read",
    write: false,
    address: 0xfee0_0020n,
    size: 4,
    count: 1,
    value: 0x04030201n,
    rip: 0xffff_ffff_8000_0010n,
  });
});

Deno.test("the ring keeps the newest, in order", () => {
  const trace = filled(10, 4);
  assert.deepEqual(trace.entries().map((e) => [e.sequence, e.value]), [[6, 6n], [7, 7n], [8, 8n], [9, 9n]]);
  assert.deepEqual(trace.entries({ last: 2 }).map((e) => e.sequence), [8, 9]);
});

Deno.test("filters by kind, direction, address, device", () => {
  const trace = filled(2);
  trace.access(vcpu, { kind: "io-in", port: 0x64, size: 1, count: 1, data: Uint8Array.of(0xff) }, undefined);
  assert.equal(trace.entries({ write: false }).length, 1);
  assert.equal(trace.entries({ device: "uart0" }).length, 2);
  assert.equal(trace.entries({ from: 0x60, to: 0x6f }).length, 1);
  assert.equal(trace.entries({ kind: "mmio" }).length, 0);
});

Deno.test("statistics count string I/O by units, busiest first", () => {
  const trace = filled(3);
  trace.access(vcpu, out(0x402, 1, 2, 3, 4, 5), undefined);
  trace.other(vcpu, { kind: "halt" });
  const { total, kinds, addresses } = trace.statistics();
  assert.equal(total, 5);
  assert.deepEqual(kinds, { "io-out": 4, halt: 1 });
  assert.deepEqual(addresses.map((a) => [a.address, a.writes]), [[0x402n, 5], [0x3f8n, 3]]);
  trace.clear();
  assert.deepEqual(trace.statistics(), { total: 0, kinds: {}, addresses: [] });
  assert.deepEqual(trace.entries(), []);
});

Deno.test("a guest that touches ever new addresses does not fill the host", () => {
  const trace = new AccessTrace(16);
  for (let i = 0; i < 20_000; i++) {
    trace.access(vcpu, { kind: "mmio-read", address: BigInt(i) << 12n, data: new Uint8Array(4) }, undefined);
  }
  assert.equal(trace.statistics().addresses.length, 4096);
  assert.equal(trace.statistics().total, 20_000);
});

Deno.test("JSON lines and the Perfetto format parse", () => {
  const trace = filled(2);
  const lines = trace.toJsonLines().trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines[1].address, "0x3f8");
  const { traceEvents } = JSON.parse(trace.toPerfetto());
  const events = traceEvents.filter((e: { ph: string }) => e.ph === "i");
  assert.equal(events.length, 2);
  assert.equal(events[0].name, "io-out 0x3f8 (uart0)");
  assert.equal(events[0].args.rip, "0xffffffff80000010");
});

Deno.test("requests follow the access that led to them, and are no exits", () => {
  const trace = new AccessTrace();
  const disk = { name: "blk0" };
  const kick: AccessExit = { kind: "mmio-write", address: 0xd000_0050n, data: new Uint8Array(4) };
  const request = { queue: 0, given: 16, room: 513, what: "IN sector 2, 512 bytes" };
  trace.request(disk, request);
  trace.request(disk, { queue: 1, given: 0, room: 8 });
  trace.access(vcpu, kick, disk);
  trace.access(vcpu, out(0x3f8, 1), device);
  trace.request(disk, request); // by itself
  assert.deepEqual(trace.entries().map((e) => [e.sequence, e.kind, e.device, e.request?.queue]), [
    [0, "mmio", "blk0", undefined],
    [1, "request", "blk0", 0],
    [2, "request", "blk0", 1],
    [3, "port", "uart0", undefined],
    [4, "request", "blk0", 0],
  ]);
  assert.deepEqual(trace.entries({ kind: "request", last: 1 })[0].request, request);
  assert.equal(trace.entries({ write: false }).length, 0);
  assert.equal(trace.statistics().total, 2);
  const { traceEvents } = JSON.parse(trace.toPerfetto());
  const names = traceEvents.filter((e: { tid?: number }) => e.tid === 10_000);
  assert.deepEqual(names.map((e: { name: string }) => e.name), [
    "thread_name",
    "queue 0: IN sector 2, 512 bytes",
    "queue 1: request",
    "queue 0: IN sector 2, 512 bytes",
  ]);
  assert.equal(names[0].args.name, "requests of blk0");
  trace.clear();
  assert.deepEqual(trace.entries(), []);
});

Deno.test("requests without an access that leads to them do not fill the host, and old slots tell nothing", () => {
  const trace = new AccessTrace(4);
  for (let i = 0; i < 10_000; i++) trace.request(device, { queue: i, given: 0, room: 0 });
  assert.deepEqual(trace.entries().map(({ address }) => address), [1020n, 1021n, 1022n, 1023n]);
  for (let i = 0; i < 4; i++) trace.access(vcpu, out(0x3f8, i), device);
  assert.ok(trace.entries().every((entry) => entry.request === undefined && entry.kind === "port"));
});
