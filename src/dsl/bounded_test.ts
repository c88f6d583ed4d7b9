import assert from "node:assert/strict";
import { bounded, isBounded, isPlain } from "./bounded.ts";
import { flat, open, virtioConsole, virtioDisk, virtioNet, virtioRng } from "./mod.ts";

/** OUT 0xf4, AL with the default devices: the guest ends itself. */
const EXIT = Uint8Array.of(0xe6, 0xf4);
/** Where src/debug/guard.ts leaves what is to run under a limit. */
const SLOT = Symbol.for("hvsh.guarded");

/** Whether a run of `vm` was under a time limit. */
async function limited(vm: Awaited<ReturnType<typeof open>>): Promise<boolean> {
  Reflect.deleteProperty(globalThis, SLOT);
  await vm.reset();
  assert.equal((await vm.continue()).kind, "exit");
  return SLOT in globalThis;
}

Deno.test("a run that calls nothing but hvsh's own code has no time limit over it, any other has one", async () => {
  const devices = [virtioDisk(new Uint8Array(4096)), virtioRng(), virtioConsole()];
  await using vm = await open({ backend: "fake", boot: flat(EXIT, { at: 0x1000 }), devices });
  assert.equal(await limited(vm), false);

  const mine = await vm.devices.add({ name: "mine", ports: { start: 0x700, length: 1 } });
  assert.equal(await limited(vm), true);
  await mine.remove();
  assert.equal(await limited(vm), false);

  {
    using _wrapped = vm.devices.wrap("uart0", {});
    assert.equal(await limited(vm), true);
  }
  {
    using _heard = vm.console.onOutput(() => {});
    assert.equal(await limited(vm), true);
  }
  const breakpoint = await vm.breakpoints.add(0x2000n, { condition: () => false });
  assert.equal(await limited(vm), true);
  await breakpoint.remove();
  assert.equal(await limited(vm), false);
});

Deno.test("options and stores of the user's make a device one that may not return", () => {
  const store = { name: "mine", size: 512, readOnly: true, read: () => undefined } as never;
  const network = { name: "mine", send: () => {}, receive: () => undefined, [Symbol.dispose]() {} };
  assert.ok(isBounded(virtioDisk(new Uint8Array(512), { mode: "read-only", serial: "s" })));
  assert.ok(!isBounded(virtioDisk(store)));
  assert.ok(!isBounded(virtioDisk(new Uint8Array(512), { onFault: () => {} })));
  assert.ok(isBounded(virtioRng({ place: { at: 0xd000_0000n, irq: 16 } })));
  assert.ok(!isBounded(virtioRng({ onRequest: () => {} })));
  assert.ok(isBounded(virtioNet("user", { mac: "52:54:00:00:00:01" })));
  assert.ok(!isBounded(virtioNet(network)));
});

Deno.test("what can be called is found at any depth, and an object of a class is taken for such", () => {
  assert.ok(isPlain({ a: 1, b: "x", c: { d: 2n }, e: undefined, f: null, g: new Uint8Array(1) }));
  assert.ok(!isPlain({ a: { b: { c: () => {} } } }));
  assert.ok(!isPlain({ a: [() => {}] }));
  assert.ok(!isPlain({ a: new Map() }));
  assert.equal(isBounded({}), false);
  const part = {};
  assert.equal(bounded(part), part);
  assert.ok(isBounded(part));
});
