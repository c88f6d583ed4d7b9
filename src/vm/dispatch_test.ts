import assert from "node:assert/strict";
import { Bus } from "./bus.ts";
import type { Device } from "./device.ts";
import { dispatch } from "./dispatch.ts";

function buses(device: Device) {
  const all = { port: new Bus("port"), mmio: new Bus("mmio") };
  all.port.add(device);
  return all;
}

/** A device that notes its calls; it answers string reads with 1, 2, 3 and leaves the rest. */
function strings(calls: unknown[]): Device {
  return {
    name: "strings",
    ports: { start: 0x100, length: 3 },
    read: (offset, data) => void calls.push(["read", offset, data.length]),
    write: (offset, data) => void calls.push(["write", offset, ...data]),
    readString(offset, data, size) {
      calls.push(["readString", offset, size, data.length]);
      data.set([1, 2, 3]);
    },
    writeString: (offset, data, size) => void calls.push(["writeString", offset, size, ...data]),
  };
}

Deno.test("dispatch: string I/O goes to a device in one call if it takes it so", () => {
  const calls: unknown[] = [];
  const all = buses(strings(calls));
  const data = new Uint8Array(6);
  dispatch({ kind: "io-in", port: 0x101, size: 2, count: 3, data }, all);
  assert.deepEqual([...data], [1, 2, 3, 0xff, 0xff, 0xff]);
  dispatch({ kind: "io-out", port: 0x100, size: 1, count: 2, data: Uint8Array.of(7, 8) }, all);
  assert.deepEqual(calls, [["readString", 1, 2, 6], ["writeString", 0, 1, 7, 8]]);
});

Deno.test("dispatch: single accesses, and units that span the range's end, are accesses of their own", () => {
  const calls: unknown[] = [];
  const all = buses(strings(calls));
  dispatch({ kind: "io-in", port: 0x100, size: 2, count: 1, data: new Uint8Array(2) }, all);
  dispatch({ kind: "io-in", port: 0x102, size: 2, count: 2, data: new Uint8Array(4) }, all);
  assert.deepEqual(calls, [["read", 0, 2], ["read", 2, 1], ["read", 2, 1]]);
});

Deno.test("dispatch: a device without string accesses sees each unit", () => {
  const calls: unknown[] = [];
  const { name, ports, read, write } = strings(calls);
  const all = buses({ name, ports, read, write });
  dispatch({ kind: "io-out", port: 0x100, size: 2, count: 2, data: Uint8Array.of(1, 2, 3, 4) }, all);
  assert.deepEqual(calls, [["write", 0, 1, 2], ["write", 0, 3, 4]]);
});

Deno.test("dispatch: a device gets bytes of its own, not what the hypervisor shares", () => {
  const page = new Uint8Array(4096).fill(0x5a);
  const seen: Uint8Array[] = [];
  const nosy: Device = {
    name: "nosy",
    ports: { start: 0x100, length: 8 },
    mmio: { start: 0x1000, length: 8 },
    read(_offset, data) {
      seen.push(data);
      new Uint8Array(data.buffer).fill(7);
    },
    write: (_offset, data) => void seen.push(data),
    readString: (_offset, data) => void seen.push(data),
    writeString: (_offset, data) => void seen.push(data),
  };
  const all = buses(nosy);
  all.mmio.add(nosy);
  const data = (length: number) => page.subarray(64, 64 + length);
  dispatch({ kind: "io-in", port: 0x100, size: 1, count: 1, data: data(1) }, all);
  dispatch({ kind: "io-in", port: 0x100, size: 4, count: 1, data: data(4) }, all);
  dispatch({ kind: "io-out", port: 0x100, size: 2, count: 1, data: data(2) }, all);
  dispatch({ kind: "mmio-read", address: 0x1000n, data: data(8) }, all);
  dispatch({ kind: "mmio-write", address: 0x1000n, data: data(8) }, all);
  dispatch({ kind: "io-out", port: 0x100, size: 1, count: 8, data: data(8) }, all);
  dispatch({ kind: "io-in", port: 0x100, size: 1, count: 8, data: data(8) }, all);
  assert.equal(seen.length, 7);
  for (const bytes of seen) {
    assert.notEqual(bytes.buffer, page.buffer);
    assert.equal(bytes.buffer.byteLength, bytes.length);
  }
  assert.deepEqual([...page.subarray(60, 76)], [
    ...Array(4).fill(0x5a),
    ...Array(8).fill(0xff),
    ...Array(4).fill(0x5a),
  ]);
});

Deno.test("dispatch: a device that accesses another, or throws, keeps its bytes apart", () => {
  const all = { port: new Bus("port"), mmio: new Bus("mmio") };
  all.port.add({ name: "inner", ports: { start: 0x200, length: 1 }, read: (_o, data) => void (data[0] = 2) });
  all.port.add({
    name: "outer",
    ports: { start: 0x100, length: 1 },
    read(_offset, data) {
      data[0] = 1;
      const other = new Uint8Array(1);
      dispatch({ kind: "io-in", port: 0x200, size: 1, count: 1, data: other }, all);
      assert.deepEqual([data[0], other[0]], [1, 2]);
    },
    write() {
      throw new Error("no");
    },
  });
  const data = new Uint8Array(1);
  const at = { port: 0x100, size: 1, count: 1, data } as const;
  dispatch({ kind: "io-in", ...at }, all);
  assert.equal(data[0], 1);
  assert.throws(() => dispatch({ kind: "io-out", ...at }, all), /no/);
  data[0] = 0;
  dispatch({ kind: "io-in", ...at }, all);
  assert.equal(data[0], 1);
});

Deno.test("dispatch: a write that the hypervisor kept to itself comes first", () => {
  const calls: unknown[] = [];
  const { read, write, name, ports } = strings(calls);
  const all = buses({ name, ports, read, write });
  const before = { port: 0x100, data: Uint8Array.of(9) };
  dispatch({ kind: "io-in", port: 0x102, size: 1, count: 1, data: new Uint8Array(1), before }, all);
  assert.deepEqual(calls, [["write", 0, 9], ["read", 2, 1]]);
});
