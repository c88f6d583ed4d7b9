import "./preload.ts";
import assert from "node:assert/strict";
import { Mapping, PAGE_SIZE } from "./mapping.ts";

Deno.test("anonymous memory is zeroed, writable, and seen through one buffer", () => {
  using mapping = Mapping.anonymous(2 * PAGE_SIZE);
  assert.equal(mapping.bytes.length, 2 * PAGE_SIZE);
  assert.ok(mapping.bytes.every((byte) => byte === 0));
  mapping.bytes[PAGE_SIZE] = 7;
  assert.equal(new Uint8Array(mapping.buffer)[PAGE_SIZE], 7);
});

Deno.test("after disposal no view is alive, and disposing again is harmless", () => {
  const mapping = Mapping.anonymous(PAGE_SIZE);
  const view = mapping.bytes.subarray(16, 32);
  const data = new DataView(mapping.buffer);
  mapping[Symbol.dispose]();
  assert.equal(view.length, 0);
  assert.equal(mapping.bytes.length, 0);
  assert.equal(mapping.buffer.byteLength, 0);
  assert.throws(() => data.getUint8(0), TypeError);
  assert.throws(() => mapping.indexOf(new Uint8Array(1)), RangeError);
  mapping[Symbol.dispose]();
});

Deno.test("many GiB cost nothing until they are touched", () => {
  const size = 16 * 2 ** 30;
  using mapping = Mapping.anonymous(size);
  mapping.bytes[size - 1] = 9;
  assert.equal(mapping.indexOf(Uint8Array.of(9), size - PAGE_SIZE), size - 1);
});

Deno.test("indexOf finds the first place in a range, and only whole ones", () => {
  using mapping = Mapping.anonymous(PAGE_SIZE);
  mapping.bytes.set([1, 2, 3], 100);
  mapping.bytes.set([1, 2, 3], 200);
  const needle = Uint8Array.of(1, 2, 3);
  assert.equal(mapping.indexOf(needle), 100);
  assert.equal(mapping.indexOf(needle, 101), 200);
  assert.equal(mapping.indexOf(needle, 0, 102), -1);
  assert.equal(mapping.indexOf(needle, 0, 103), 100);
  assert.equal(mapping.indexOf(needle, 201), -1);
  assert.equal(mapping.indexOf(new Uint8Array(2 * PAGE_SIZE)), -1);
  assert.throws(() => mapping.indexOf(needle, 0, PAGE_SIZE + 1), RangeError);
});

Deno.test("discarded pages read as zeros", () => {
  using mapping = Mapping.anonymous(2 * PAGE_SIZE);
  mapping.bytes.fill(5);
  mapping.discard(0, PAGE_SIZE);
  assert.equal(mapping.bytes[0], 0);
  assert.equal(mapping.bytes[PAGE_SIZE], 5);
  assert.throws(() => mapping.discard(PAGE_SIZE, 2 * PAGE_SIZE), RangeError);
});

Deno.test("lengths that make no sense, and descriptors that can't be mapped, are refused", () => {
  for (const length of [0, -4096, 100, 4097, NaN, Infinity]) {
    assert.throws(() => Mapping.anonymous(length), RangeError);
  }
  assert.throws(() => Mapping.ofFd(-1, PAGE_SIZE), { name: "EBADF", call: "mmap of fd -1", errno: 9 });
});
