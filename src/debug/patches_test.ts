import assert from "node:assert/strict";
import fc from "fast-check";
import type { BackendMemory } from "../vm/backend.ts";
import { FaultError, StateError } from "../vm/errors.ts";
import { Patches } from "./patches.ts";

/** Memory of 64 bytes, with live views or without. */
function memory(live: boolean): BackendMemory & { bytes: Uint8Array } {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i);
  const check = (at: bigint, length: number) => {
    if (at + BigInt(length) > 64n) throw new FaultError("outside", { address: at, space: "gpa" });
    return Number(at);
  };
  return {
    bytes,
    regions: [{ name: "ram", start: 0n, size: 64n, readOnly: false }],
    read: (at, into) => into.set(bytes.subarray(check(at, into.length), Number(at) + into.length)),
    write: (at, data) => bytes.set(data, check(at, data.length)),
    ...(live &&
      { view: (at: bigint, length: number) => bytes.subarray(check(at, length), Number(at) + length) }),
  };
}

for (const live of [true, false]) {
  const how = live ? "through a view" : "by reads and writes";

  Deno.test(`patches ${how}: in, hidden, out`, async () => {
    const ram = memory(live);
    const patches = new Patches(ram);
    const patch = await patches.insert(8n, "out");
    assert.deepEqual([...ram.bytes.subarray(7, 11)], [7, 0xe6, 0xee, 10]);
    const seen = ram.bytes.slice(4, 12);
    patches.hide(4n, seen);
    assert.deepEqual([...seen], [4, 5, 6, 7, 8, 9, 10, 11]);
    await patches.release(patch);
    assert.deepEqual([...ram.bytes], Array.from({ length: 64 }, (_, i) => i));
  });

  Deno.test(`patches ${how}: two users of one place, the last takes it out`, async () => {
    const ram = memory(live);
    const patches = new Patches(ram);
    const first = await patches.insert(8n, "hlt");
    const second = await patches.insert(8n, "hlt");
    assert.equal(first, second);
    await patches.release(first);
    assert.equal(ram.bytes[8], 0xf4);
    await patches.release(second);
    assert.equal(ram.bytes[8], 8);
  });

  Deno.test(`patches ${how}: what the guest writes over one is neither lost nor kills it`, async () => {
    const ram = memory(live);
    const patches = new Patches(ram);
    const patch = await patches.insert(8n, "hlt");
    ram.bytes[8] = 0x90;
    const seen = ram.bytes.slice(8, 9);
    patches.hide(8n, seen);
    assert.equal(seen[0], 0x90, "the newer byte shows even before anyone looked");
    await patches.refresh();
    assert.equal(ram.bytes[8], 0xf4, "the breakpoint is back");
    await patches.release(patch);
    assert.equal(ram.bytes[8], 0x90, "the guest's write has survived");
  });

  Deno.test(`patches ${how}: the instruction that is stepped may change itself`, async () => {
    const ram = memory(live);
    const patches = new Patches(ram);
    const patch = await patches.insert(8n, "int3");
    await patches.lift(patch);
    assert.equal(ram.bytes[8], 8);
    ram.bytes[8] = 0x55;
    await patches.put(patch);
    assert.equal(ram.bytes[8], 0xcc);
    await patches.clear();
    assert.equal(ram.bytes[8], 0x55);
  });

  Deno.test(`patches ${how}: a user's write goes under the patch`, async () => {
    const ram = memory(live);
    const patches = new Patches(ram);
    await patches.insert(8n, "out");
    await patches.write(7n, Uint8Array.of(0xa, 0xb, 0xc, 0xd));
    assert.deepEqual([...ram.bytes.subarray(7, 11)], [0xa, 0xe6, 0xee, 0xd]);
    await patches.clear();
    assert.deepEqual([...ram.bytes.subarray(7, 11)], [0xa, 0xb, 0xc, 0xd]);
  });

  Deno.test(`patches ${how}: random acts leave memory as the guest would have it`, async () => {
    const act = fc.oneof(
      fc.record({ kind: fc.constant("insert" as const), at: fc.nat(60) }),
      fc.record({ kind: fc.constant("release" as const), at: fc.nat(60) }),
      fc.record({ kind: fc.constant("user" as const), at: fc.nat(63), value: fc.nat(255) }),
      fc.record({ kind: fc.constant("step" as const), at: fc.nat(60) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const ram = memory(live);
        const patches = new Patches(ram);
        const expected = ram.bytes.slice();
        for (const step of acts) {
          const at = BigInt(step.at);
          const patch = patches.at(at);
          if (step.kind === "insert" && patches.overlapping(at, 2) === undefined) {
            await patches.insert(at, "out");
          } else if (step.kind === "release" && patch) await patches.release(patch);
          else if (step.kind === "user") {
            await patches.write(at, Uint8Array.of(step.value));
            expected[step.at] = step.value;
          } else if (step.kind === "step" && patch) {
            await patches.lift(patch);
            await patches.put(patch);
          }
          const seen = ram.bytes.slice();
          patches.hide(0n, seen);
          assert.deepEqual(seen, expected);
        }
        await patches.clear();
        assert.deepEqual(ram.bytes, expected);
      }),
      { seed: 20, numRuns: 200 },
    );
  });
}

Deno.test("a two-byte patch does not overlap another one", async () => {
  const patches = new Patches(memory(true));
  await patches.insert(8n, "out");
  assert.throws(() => patches.insert(9n, "out"), StateError);
  assert.throws(() => patches.insert(7n, "out"), StateError);
  await patches.insert(10n, "out");
});

Deno.test("a two-byte patch does not stand for HLT, behind which interrupts return", async () => {
  const ram = memory(true);
  ram.bytes[8] = 0xf4;
  const patches = new Patches(ram);
  assert.throws(() => patches.insert(8n, "out"), { name: "UnsupportedError" });
  assert.deepEqual([patches.size, ram.bytes[8], ram.bytes[9]], [0, 0xf4, 9]);
  await patches.release(await patches.insert(8n, "hlt"));
});

Deno.test("a patch outside memory is refused and leaves nothing", () => {
  const patches = new Patches(memory(true));
  assert.throws(() => patches.insert(64n, "hlt"), FaultError);
  assert.equal(patches.size, 0);
});

Deno.test("patches: memory that outlives the debugger hears of each before it is written, and once it is out", async () => {
  const ram = memory(false);
  const told: unknown[] = [];
  const patches = new Patches({
    ...ram,
    patched: (at, code, original) => void told.push([at, [...code], original && [...original], ram.bytes[8]]),
  });
  const patch = await patches.insert(8n, "int3");
  await patches.lift(patch);
  await patches.put(patch);
  assert.deepEqual(told.splice(0), [[8n, [0xcc], [8], 8], [8n, [0xcc], [8], 8]]);
  ram.bytes[8] = 0x55;
  await patches.refresh();
  assert.deepEqual(told.splice(0), [[8n, [0xcc], [0x55], 0x55]]);
  await patches.release(patch);
  assert.deepEqual(told.splice(0), [[8n, [0xcc], undefined, 0x55]]);
  await patches.insert(8n, "int3");
  told.length = 0;
  await patches.clear();
  assert.deepEqual(told, [[8n, [0xcc], undefined, 0x55]]);
});
