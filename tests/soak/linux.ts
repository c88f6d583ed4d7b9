/**
 * Damaged Linux guests: whatever stands in guest memory, what hvsh tells of the kernel is bounded and printable, or
 * it refuses. `deno run -A tests/soak/linux.ts [RUNS [SEED]]` tries 100,000.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type GuestMachine, HvshError } from "../../src/dsl/mod.ts";
import { MOCK_PHYSICAL, MockKernel } from "../../src/linux/mock_kernel.ts";
import { mockGuest } from "../linux/mock_guest.ts";

/** One change of a damaged image. */
interface Damage {
  /** Where, as a part of the image: 0 to 1. */
  readonly at: number;
  readonly bytes: 1 | 2 | 4 | 8;
  readonly value: bigint;
  /** Instead of the value, what stands at another place: pointers that lead somewhere else. */
  readonly from?: number;
}

const evil = fc.constantFrom(
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0xffff_ffff_8400_0000n,
  0xffff_ffff_8420_0000n - 1n,
  0xffff_8880_0000_0000n,
);
const damage: fc.Arbitrary<Damage> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  bytes: fc.constantFrom(1, 2, 4, 8),
  value: fc.oneof(evil, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
  from: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
});
// deno-lint-ignore no-control-regex -- control characters are what this is about
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/;

/** Checks it with so many cases. */
export async function linuxHolds({ runs, seed }: { runs: number; seed: number }): Promise<void> {
  const kernels = (["4.20", "6.4"] as const).map((order) => new MockKernel({ order }));
  for (const kernel of kernels) {
    await using vm = await mockGuest(kernel);
    const start = Number(MOCK_PHYSICAL);
    // The symbols are a large part of the image, and damage to them hides the rest: mostly the rest is damaged.
    const tables = kernel.at(kernel.places.get("kallsyms")!);
    const sound = kernel.bytes.slice(start, kernel.end);
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 12 }), fc.boolean(), async (list, all) => {
        const image = sound.slice();
        const view = new DataView(image.buffer);
        const span = (all ? image.length : tables - start) - 0x1_0000 - 8;
        const place = (part: number) => 0x1_0000 + Math.floor(part * span);
        for (const { at, bytes, value, from } of list) {
          const here = place(at);
          if (from !== undefined) image.copyWithin(here & ~7, place(from) & ~7, (place(from) & ~7) + 8);
          else if (bytes === 8) view.setBigUint64(here & ~7, value, true);
          else for (let i = 0; i < bytes; i++) image[here + i] = Number(value >> BigInt(8 * i) & 0xffn);
        }
        await vm.memory.write(MOCK_PHYSICAL, image);
        await look(vm);
      }),
      { numRuns: Math.ceil(runs / kernels.length), seed },
    );
  }
}

/** Everything there is to see; an error is one of ours. */
async function look(vm: GuestMachine): Promise<void> {
  vm.linux.forget();
  const { linux } = vm;
  const info = await told(() => linux.locate());
  if (info !== undefined) assert.ok(!CONTROL.test(info.banner + info.release));
  for (const { name } of vm.symbols.search("", 2000)) assert.ok(!CONTROL.test(name), JSON.stringify(name));
  const text = await told(() => linux.dmesg()) ?? "";
  assert.ok(!CONTROL.test(text), JSON.stringify(text));
  const modules = await told(() => linux.modules());
  for (const { name, usedBy } of modules?.modules ?? []) assert.ok(!CONTROL.test(name + usedBy.join("")));
  const tasks = await told(() => linux.tasks({ threads: true }));
  for (const { name, state } of tasks?.tasks ?? []) {
    assert.ok(!CONTROL.test(name));
    assert.equal(state.length, 1);
  }
  await told(() => linux.current(0));
  const stack = await vm.backtrace({ limit: 100 });
  assert.ok(stack.frames.length >= 1 && stack.frames.length <= 100);
  await told(() => linux.backtrace({ task: 2, limit: 100 }));
  await told(() => linux.readProcess(1, 0x1000n, 64));
  await told(() => linux.vmcoreinfo());
}

async function told<T>(body: () => Promise<T>): Promise<T | undefined> {
  try {
    return await body();
  } catch (error) {
    assert.ok(
      error instanceof HvshError,
      `not an error of hvsh: ${error instanceof Error ? error.stack : error}`,
    );
    return undefined;
  }
}

if (import.meta.main) {
  const [runs = 100_000, seed = Date.now() & 0x7fff_ffff] = Deno.args.map(Number);
  await linuxHolds({ runs, seed });
  console.log(`${runs} damaged kernels, seed ${seed}: held`);
}
