import assert from "node:assert/strict";
import fc from "fast-check";
import { array, bytes, members, s32, s64, struct, u16, u32, u64, u8, union } from "./layout.ts";

Deno.test("members are aligned as C aligns them, and the whole to its strictest member", () => {
  const layout = struct({ a: u8, b: u32, c: u8, d: u64, e: u16 });
  assert.deepEqual(layout.offsets, { a: 0, b: 4, c: 8, d: 16, e: 24 });
  assert.equal(layout.size, 32);
  assert.equal(layout.align, 8);
});

Deno.test("packed leaves out every padding", () => {
  const layout = struct({ a: u8, b: u32, c: u64 }, { packed: true });
  assert.deepEqual(layout.offsets, { a: 0, b: 1, c: 5 });
  assert.equal(layout.size, 13);
});

Deno.test("a union is as large as its largest member, rounded to its alignment", () => {
  const layout = union({ a: u32, b: bytes(9), c: u64 });
  assert.equal(layout.size, 16);
  assert.equal(layout.align, 8);
  assert.deepEqual(layout.offsets, { a: 0, b: 0, c: 0 });
});

Deno.test("members() walks nested structures, and anonymous unions add no name", () => {
  const inner = struct({ x: u8, y: u32 });
  const outer = struct({ head: u64, exit: union({ io: inner }, { anonymous: true }), tail: inner });
  assert.deepEqual(members(outer).map((m) => [m.path, m.offset]), [
    ["head", 0],
    ["io", 8],
    ["io.x", 8],
    ["io.y", 12],
    ["tail", 16],
    ["tail.x", 16],
    ["tail.y", 20],
  ]);
});

Deno.test("writing leaves alone what is not named", () => {
  const layout = struct({ a: u16, b: struct({ c: u8, d: u8 }), e: array(u16, 3) });
  const buffer = new Uint8Array(layout.size).fill(0xff);
  const view = new DataView(buffer.buffer);
  layout.write(view, { b: { d: 1 }, e: [2] });
  assert.deepEqual(layout.read(view), { a: 0xffff, b: { c: 0xff, d: 1 }, e: [2, 0xffff, 0xffff] });
});

Deno.test("values are little-endian, at the offset asked for", () => {
  const buffer = new Uint8Array(16);
  u32.write(new DataView(buffer.buffer), 0x11223344, 4);
  assert.deepEqual([...buffer.subarray(4, 8)], [0x44, 0x33, 0x22, 0x11]);
});

Deno.test("what is longer than its field is refused", () => {
  const view = new DataView(new ArrayBuffer(16));
  assert.throws(() => bytes(3).write(view, new Uint8Array(4)), RangeError);
  assert.throws(() => array(u8, 2).write(view, [1, 2, 3]), RangeError);
});

Deno.test("what is encoded reads back", () => {
  const layout = struct({ a: u8, b: s32, c: u64, d: s64, e: array(u16, 4), f: bytes(5) });
  const value = fc.record({
    a: fc.nat(0xff),
    b: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    c: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    d: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    e: fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 4 }),
    f: fc.uint8Array({ minLength: 5, maxLength: 5 }),
  });
  fc.assert(
    fc.property(value, (given) => {
      const read = layout.read(new DataView(layout.encode(given).buffer));
      assert.deepEqual({ ...read, f: [...read.f] }, { ...given, f: [...given.f] });
    }),
    { seed: 1, numRuns: 200 },
  );
});
