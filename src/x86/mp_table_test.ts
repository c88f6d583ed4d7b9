import assert from "node:assert/strict";
import { mpTable } from "./mp_table.ts";

Deno.test("mp table: pointer and table as MultiProcessor Specification 1.4 lays them out", () => {
  const at = 0xfd000n;
  const bytes = mpTable({ cpus: 3, signature: 0x806e9, features: 0x0789_fbff, level: [9, 10, 11] }, at);
  const view = new DataView(bytes.buffer);
  const text = (from: number, length: number) =>
    new TextDecoder().decode(bytes.subarray(from, from + length));
  const sum = (from: number, length: number) =>
    bytes.subarray(from, from + length).reduce((a, b) => a + b, 0) & 0xff;
  assert.equal(text(0, 4), "_MP_");
  assert.deepEqual([view.getUint32(4, true), bytes[8], bytes[9], bytes[11]], [0xfd010, 1, 4, 0]);
  assert.equal(sum(0, 16), 0);
  const length = view.getUint16(16 + 4, true);
  assert.equal(text(16, 4), "PCMP");
  assert.equal(16 + length, bytes.length);
  assert.equal(sum(16, length), 0);
  assert.equal(view.getUint32(16 + 36, true), 0xfee0_0000);

  const sizes = [20, 8, 8, 8, 8];
  const entries: number[][] = [];
  for (let offset = 16 + 44; offset < bytes.length; offset += sizes[bytes[offset]]) {
    entries.push([...bytes.subarray(offset, offset + sizes[bytes[offset]])]);
  }
  assert.equal(view.getUint16(16 + 34, true), entries.length);
  const of = (type: number) => entries.filter(([first]) => first === type);
  assert.deepEqual(of(0).map((e) => e.slice(1, 4)), [[0, 0x14, 3], [1, 0x14, 1], [2, 0x14, 1]]);
  assert.deepEqual(of(0)[0].slice(4, 12), [0xe9, 0x06, 0x08, 0, 0xff, 0xfb, 0x89, 0x07]);
  assert.deepEqual(of(1), [[1, 0, ...new TextEncoder().encode("ISA   ")]]);
  assert.deepEqual(of(2), [[2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]]);
  assert.deepEqual(of(3).map((e) => e[5]), [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual(of(3).map((e) => e[7]), [2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual(of(3).filter((e) => e[2] !== 0).map((e) => [e[5], e[2]]), [[9, 13], [10, 13], [11, 13]]);
  assert.deepEqual(of(4).map((e) => [e[1], e[6], e[7]]), [[3, 0, 0], [1, 0xff, 1]]);
});
