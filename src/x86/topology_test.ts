import assert from "node:assert/strict";
import { type CpuidLeaf, cpuidLeaf } from "./cpuid.ts";
import { idBits, withTopology } from "./topology.ts";

const leaf = (number: number, values: Partial<CpuidLeaf> = {}): CpuidLeaf => ({
  function: number,
  index: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...values,
});
const make = (made: CpuidLeaf) => made;

Deno.test("an APIC id has as many bits as it takes to tell the vCPUs apart", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 8, 9, 255].map(idBits), [0, 1, 2, 2, 3, 3, 4, 8]);
});

Deno.test("leaf 1 names the vCPU, and the number of ids as a power of two", () => {
  const leaves = withTopology([leaf(1, { ebx: 0xffff_0800, edx: 1 << 28 | 1 })], 2, 3, make);
  assert.equal(cpuidLeaf(leaves, 1)?.ebx, 0x0204_0800);
  assert.equal(cpuidLeaf(leaves, 1)?.edx, 1 << 28 | 1);
  const alone = withTopology([leaf(1, { edx: 1 << 28 | 1 })], 0, 1, make);
  assert.deepEqual([cpuidLeaf(alone, 1)?.ebx, cpuidLeaf(alone, 1)?.edx], [0x0001_0000, 1]);
});

Deno.test("leaf 0BH has a thread level of one and a core level of all, whatever the host has", () => {
  const host = [leaf(0, { eax: 0xd }), leaf(0xb, { eax: 1, ebx: 2, ecx: 0x100 }), leaf(0x1f, { eax: 9 })];
  const rows = withTopology(host, 5, 6, make).filter((l) => l.function === 0xb);
  assert.deepEqual(rows.map(({ index, eax, ebx, ecx, edx }) => [index, eax, ebx, ecx, edx]), [
    [0, 0, 1, 0x100, 5],
    [1, 3, 6, 0x201, 5],
    [2, 0, 0, 2, 5],
  ]);
  assert.equal(withTopology([leaf(0, { eax: 0xa })], 0, 2, make).length, 1, "leaf 0 says that there is none");
});

Deno.test("caches but the last are a core's own; AMD's leaves say the same", () => {
  const eax = (level: number) => 0x3fff << 14 | level << 5 | 1;
  const host = [4, 0x8000_001d].flatMap((n) =>
    [1, 3].map((level) => leaf(n, { index: level, eax: eax(level) }))
  );
  const leaves = withTopology(
    [...host, leaf(0x8000_0008, { ebx: 1, ecx: 0x701f }), leaf(0x8000_001e)],
    3,
    4,
    make,
  );
  const shared = (n: number, level: number) => (cpuidLeaf(leaves, n, level)?.eax ?? 0) >>> 14 & 0xfff;
  assert.deepEqual([shared(4, 1), shared(4, 3), shared(0x8000_001d, 1), shared(0x8000_001d, 3)], [
    0,
    3,
    0,
    3,
  ]);
  assert.equal((cpuidLeaf(leaves, 4, 1)?.eax ?? 0) >>> 26, 3);
  assert.equal(cpuidLeaf(leaves, 0x8000_0008)?.ecx, 0x2003);
  assert.deepEqual([cpuidLeaf(leaves, 0x8000_001e)?.eax, cpuidLeaf(leaves, 0x8000_001e)?.ebx], [3, 3]);
});
