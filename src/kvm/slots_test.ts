import assert from "node:assert/strict";
import fc from "fast-check";
import { cut, difference, type Slot } from "./slots.ts";

const PAGE = 4096;
const RAM: Slot = { start: 0x10000, size: 16 * PAGE, hostAddress: 0x7000_0000_0000n, readOnly: false };

Deno.test("a region without read-only pages is one slot", () => {
  assert.deepEqual(cut(RAM, []), [RAM]);
  assert.deepEqual(cut(RAM, [0, 1, 0x100000]), [RAM]);
});

Deno.test("a page in the middle makes three slots, at the ends two; neighbours join", () => {
  const shape = (pages: number[]) => cut(RAM, pages).map((s) => [s.start, s.size / PAGE, s.readOnly]);
  assert.deepEqual(shape([0x12]), [[0x10000, 2, false], [0x12000, 1, true], [0x13000, 13, false]]);
  assert.deepEqual(shape([0x10]), [[0x10000, 1, true], [0x11000, 15, false]]);
  assert.deepEqual(shape([0x1f]), [[0x10000, 15, false], [0x1f000, 1, true]]);
  assert.deepEqual(shape([0x12, 0x13]), [[0x10000, 2, false], [0x12000, 2, true], [0x14000, 12, false]]);
});

Deno.test("a region that is read-only anyway is not cut", () => {
  const rom = { ...RAM, readOnly: true };
  assert.deepEqual(cut(rom, [0x12]), [rom]);
});

Deno.test("whatever pages are read-only, slots tile the region and keep their host addresses", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0x0e, max: 0x22 })), (pages) => {
      const sorted = pages.toSorted((a, b) => a - b);
      const slots = cut(RAM, sorted);
      let at = RAM.start;
      for (const slot of slots) {
        assert.equal(slot.start, at);
        assert.equal(slot.hostAddress - RAM.hostAddress, BigInt(slot.start - RAM.start));
        for (let page = slot.start / PAGE; page < (slot.start + slot.size) / PAGE; page++) {
          assert.equal(slot.readOnly, pages.includes(page));
        }
        at += slot.size;
      }
      assert.equal(at, RAM.start + RAM.size);
    }),
    { seed: 2, numRuns: 300 },
  );
});

Deno.test("the difference removes what is gone and adds what is new, and nothing that stays", () => {
  const have = cut(RAM, [0x12]);
  const want = cut(RAM, [0x12, 0x18]);
  const { remove, add } = difference(have, want);
  assert.deepEqual(remove.map((s) => s.start), [0x13000]);
  assert.deepEqual(add.map((s) => s.start), [0x13000, 0x18000, 0x19000]);
  assert.deepEqual(difference(have, have), { remove: [], add: [] });
});
