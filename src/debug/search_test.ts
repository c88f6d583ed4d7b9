import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../vm/errors.ts";
import { findAll } from "./search.ts";

const reader = (bytes: Uint8Array, start = 0n) => (at: bigint, into: Uint8Array) =>
  into.set(bytes.subarray(Number(at - start), Number(at - start) + into.length));

/** The obvious way, to compare with. */
function naive(bytes: Uint8Array, pattern: Uint8Array): bigint[] {
  const found: bigint[] = [];
  for (let i = 0; i + pattern.length <= bytes.length; i++) {
    if (pattern.every((byte, k) => bytes[i + k] === byte)) found.push(BigInt(i));
  }
  return found;
}

Deno.test("finds every place, overlapping ones too", async () => {
  const bytes = fc.uint8Array({ maxLength: 300, max: 2 });
  const pattern = fc.uint8Array({ minLength: 1, maxLength: 4, max: 2 });
  await fc.assert(
    fc.asyncProperty(bytes, pattern, async (haystack, needle) => {
      const range = [{ start: 0n, size: BigInt(haystack.length) }];
      const bounds = { from: 0n, to: undefined, limit: 1000 };
      assert.deepEqual(await findAll(needle, range, bounds, reader(haystack)), naive(haystack, needle));
    }),
    { seed: 21, numRuns: 300 },
  );
});

Deno.test("finds what lies across two chunks, and nothing twice", async () => {
  const bytes = new Uint8Array(3 * (1 << 20));
  const places = [0, (1 << 20) - 2, 1 << 20, (2 << 20) - 1, bytes.length - 3];
  for (const at of places) bytes.set([1, 2, 3], at);
  // The third overwrites the second's last byte.
  const expected = places.filter((at) => at !== (1 << 20) - 2).map(BigInt);
  const found = await findAll(
    Uint8Array.of(1, 2, 3),
    [{ start: 0n, size: BigInt(bytes.length) }],
    { from: 0n, to: undefined, limit: undefined },
    reader(bytes),
  );
  assert.deepEqual(found, expected);
});

Deno.test("bounds, limit and text", async () => {
  const bytes = new TextEncoder().encode("abc abc abc");
  const range = [{ start: 0x100n, size: 11n }];
  const find = (from: bigint, to: bigint | undefined, limit?: number) =>
    findAll("abc", range, { from, to, limit }, reader(bytes, 0x100n));
  assert.deepEqual(await find(0n, undefined), [0x100n, 0x104n, 0x108n]);
  assert.deepEqual(await find(0x101n, 0x10an), [0x104n]);
  assert.deepEqual(await find(0n, undefined, 1), [0x100n]);
  assert.deepEqual(await find(0x200n, undefined), []);
});

Deno.test("nonsense is refused", async () => {
  const none = { from: 0n, to: undefined, limit: undefined };
  await assert.rejects(findAll("", [], none, () => {}), InputError);
  await assert.rejects(findAll("a", [], { ...none, from: 2n, to: 1n }, () => {}), InputError);
});

Deno.test("a search that finds very much gives the event loop its turns", async () => {
  const bytes = new Uint8Array(300_000);
  let turns = 0;
  const tick = () => {
    turns++;
    timer = setImmediate(tick);
  };
  let timer = setImmediate(tick);
  const range = [{ start: 0n, size: BigInt(bytes.length) }];
  const bounds = { from: 0n, to: undefined, limit: 1e6 };
  const native = (_pattern: Uint8Array, from: bigint, to: bigint) => from < to ? from : undefined;
  for (const how of [undefined, native]) {
    turns = 0;
    assert.equal((await findAll(Uint8Array.of(0), range, bounds, reader(bytes), how)).length, bytes.length);
    assert.ok(turns > 1, `${turns} turns`);
  }
  clearImmediate(timer);
});

Deno.test("a native search in pieces finds what lies across their seam, once", async () => {
  const places = [3n, (1n << 25n) - 1n, 1n << 25n];
  const native = (pattern: Uint8Array, from: bigint, to: bigint) =>
    places.find((p) => p >= from && p + BigInt(pattern.length) <= to);
  const range = [{ start: 0n, size: 1n << 26n }];
  const bounds = { from: 0n, to: undefined, limit: undefined };
  assert.deepEqual(await findAll("ab", range, bounds, () => {}, native), places);
});
