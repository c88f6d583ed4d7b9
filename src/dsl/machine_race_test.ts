import assert from "node:assert/strict";
import { flat, gpa, gva, InputError, open } from "./mod.ts";

// nop x 8; cli; hlt, at 0x1000
const CODE = Uint8Array.of(0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xfa, 0xf4);

Deno.test("breakpoints that are added at once have numbers of their own, and all go out", async () => {
  await using vm = await open({ backend: "fake", boot: flat(CODE) });
  const places = [0x1001n, 0x1003n, 0x1005n];
  const added = await Promise.all(places.map((at) => vm.breakpoints.add(gva(at), { kind: "software" })));
  assert.deepEqual(added.map((bp) => bp.id).sort(), [1, 2, 3]);
  assert.equal([...vm.breakpoints].length, 3);
  await vm.breakpoints.clear();
  assert.deepEqual([...vm.memory.view!(gpa(0x1000n), CODE.length)], [...CODE]);
});

Deno.test("a time limit that makes no sense is refused, and the machine goes on", async () => {
  await using vm = await open({ backend: "fake", boot: flat(CODE) });
  for (const timeoutMs of [NaN, -1, 1000n as unknown as number]) {
    await assert.rejects(vm.continue({ timeoutMs }), InputError);
    assert.equal(vm.state, "paused");
  }
  assert.equal((await vm.continue({ timeoutMs: Infinity })).kind, "halt");
});

Deno.test("a device file is no image", async () => {
  await assert.rejects(open({ backend: "fake", boot: flat("/dev/zero") }), InputError);
});
