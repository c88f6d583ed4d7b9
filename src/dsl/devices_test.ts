import assert from "node:assert/strict";
import { type Device, flat, InputError, open } from "./mod.ts";

/** jmp $ */
const SPIN = Uint8Array.of(0xeb, 0xfe);
const machine = (devices: Device[]) => open({ backend: "fake", boot: flat(SPIN, { at: 0x1000 }), devices });

Deno.test("devices: one that throws at reset is named, and everything else is reset", async () => {
  const reset: string[] = [];
  const bad: Device = {
    name: "bad",
    ports: { start: 0x700, length: 1 },
    reset: () => {
      throw new Error("no");
    },
  };
  const good: Device = {
    name: "good",
    ports: { start: 0x701, length: 1 },
    reset: () => void reset.push("good"),
  };
  await using vm = await machine([bad, good]);
  await vm.vcpus[0].setRegisters({ rip: 0x5555n });
  await assert.rejects(vm.reset(), /device bad failed in reset\(\): no/);
  assert.deepEqual(reset, ["good"]);
  assert.equal((await vm.vcpus[0].registers()).rip, 0x1000n);
  await vm.devices.get("bad")?.remove();
  await vm.reset();
});

Deno.test("devices: one that throws when it is taken out is out, and named", async () => {
  const vm = await machine([]);
  const bad: Device = {
    name: "bad",
    ports: { start: 0x700, length: 1 },
    detach: () => {
      throw new Error("stuck");
    },
  };
  const handle = await vm.devices.add(bad);
  await assert.rejects(handle.remove(), /device bad failed in detach\(\): stuck/);
  assert.equal(vm.devices.get("bad"), undefined);
  assert.equal(await vm.readPort(0x700), 0xffn);
  await vm.devices.add(bad);
  await assert.rejects(vm.close(), /device bad failed in detach/);
  assert.equal(vm.state, "closed");
});

Deno.test("devices: one that throws when it is plugged in is not there", async () => {
  await using vm = await machine([]);
  const bad: Device = {
    name: "bad",
    ports: { start: 0x700, length: 1 },
    attach: () => {
      throw new Error("no cable");
    },
  };
  await assert.rejects(vm.devices.add(bad), /device bad failed in attach\(\): no cable/);
  assert.equal(vm.devices.get("bad"), undefined);
  await vm.devices.add({ name: "other", ports: { start: 0x700, length: 1 } });
});

Deno.test("devices: methods that never return are ended", async () => {
  await using vm = await machine([]);
  const forever = () => {
    for (;;);
  };
  await assert.rejects(
    vm.devices.add({ name: "attach", ports: { start: 0x700, length: 1 }, attach: forever }),
    /device attach failed in attach\(\): it did not return in time/,
  );
  await vm.devices.add({ name: "read", ports: { start: 0x700, length: 1 }, read: forever });
  await assert.rejects(vm.readPort(0x700));
});

Deno.test("devices: what has another shape is refused before the guest can meet it", async () => {
  await using vm = await machine([]);
  const wrong: [unknown, RegExp][] = [
    [null, /a device is an object, not null/],
    [5, /a device is an object, not number/],
    [{ name: "x", ports: { start: 0x700, length: 1 }, read: 5 }, /x: read is a function, not number/],
    [{ name: "x", ports: { start: 0x700, length: 1 }, save: null }, /x: save is a function, not null/],
  ];
  for (const [device, message] of wrong) {
    await assert.rejects(
      () => vm.devices.add(device as Device),
      (error) => error instanceof InputError && message.test(error.message),
    );
  }
  assert.equal(vm.devices.get("x"), undefined);
});
