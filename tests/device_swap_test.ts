/** Wrapping and swapping devices while the guest runs. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type Device, flat, InputError, open, Uart16550 } from "../mod.ts";

// In real mode: mov dx, 0x3f8; mov al, 'a'; out dx, al; in al, dx; hlt... the port is read once, written twice.
const CODE = Uint8Array.of(0xba, 0x80, 0x00, 0xb0, 0x61, 0xee, 0xec, 0xee, 0xfa, 0xf4);

/** Opens a guest that writes 'a' to port 0x80, reads it and writes what it read. */
async function guest() {
  return await open({ backend: "fake", boot: flat(CODE) });
}

Deno.test("wrap: accesses are seen, changed and dropped; the newest is asked first; then all is as before", async () => {
  await using vm = await guest();
  const seen: string[] = [];
  const inner = vm.devices.wrap("post", {
    write(offset, data, next) {
      seen.push(`inner ${offset} ${data[0]}`);
      if (data[0] !== 9) next();
    },
  });
  using _outer = vm.devices.wrap("post", {
    write(_offset, data, next) {
      seen.push(`outer ${data[0]}`);
      data[0]++;
      next();
    },
    read(_offset, data, next) {
      next();
      seen.push(`read ${data[0]}`);
      data[0] = 8;
    },
  });
  assert.deepEqual(vm.devices.get("post")!.ranges.length, 1);
  assert.equal((await vm.continue({ timeoutMs: 5000 })).kind, "halt");
  assert.deepEqual(seen, ["outer 97", "inner 0 98", "read 98", "outer 8", "inner 0 9"]);
  assert.equal(await vm.readPort(0x80), 8n);
  inner[Symbol.dispose]();
  inner[Symbol.dispose]();
  await vm.writePort(0x80, 1, 8);
  assert.equal(seen.length, 7);
});

Deno.test("wrap: what it throws stops the guest with a fault that names the device", async () => {
  await using vm = await guest();
  vm.devices.wrap("post", {
    write() {
      throw new Error("no more");
    },
  });
  const stop = await vm.continue({ timeoutMs: 5000 });
  assert.ok(stop.kind === "fault");
  assert.match(stop.reason, /device post threw .*no more/);
  assert.throws(() => vm.devices.wrap("nobody", {}), {
    name: "InputError",
    message: /no device named nobody/,
  });
});

Deno.test("swap: the state goes over, and the guest goes on with the new one", async () => {
  await using vm = await guest();
  await vm.writePort(0x3ff, 1, 0x5a);
  const printed: number[] = [];
  const uart = new Uart16550({
    name: "uart0",
    base: 0x3f8,
    irq: 4,
    time: vm.clock,
    sink: (bytes) => void printed.push(...bytes),
  });
  const handle = await vm.devices.swap(uart);
  assert.equal(handle.device, uart);
  assert.equal(await vm.readPort(0x3ff), 0x5an, "the scratch register went over");
  await vm.writePort(0x3f8, 1, 0x41);
  assert.deepEqual(printed, [0x41]);
  assert.equal(vm.console.text, "");
});

Deno.test("swap: one that fails leaves the old device, its state, its ranges and its wrappers", async () => {
  await using vm = await guest();
  await vm.writePort(0x3ff, 1, 0x5a);
  let writes = 0;
  using _wrap = vm.devices.wrap("uart0", { write: (_offset, _data, next) => (writes++, next()) });
  const old = vm.devices.get("uart0")!.device;
  const bad: [Device, RegExp][] = [
    [{ name: "uart0", ports: { start: 0x70, length: 1 } }, /overlaps cmos/],
    [{
      name: "uart0",
      ports: { start: 0x3f8, length: 8 },
      restore: () => {
        throw new InputError("not mine");
      },
    }, /not mine/],
    [{
      name: "uart0",
      ports: { start: 0x3f8, length: 8 },
      attach: () => {
        throw new InputError("no room");
      },
    }, /no room/],
  ];
  for (const [device, message] of bad) {
    await assert.rejects(vm.devices.swap(device), { name: "InputError", message });
    assert.equal(vm.devices.get("uart0")!.device, old);
    assert.equal(await vm.readPort(0x3ff), 0x5an);
  }
  await vm.writePort(0x3f8, 1, 0x41);
  assert.deepEqual([writes, vm.console.text], [1, "A"]);
  await assert.rejects(vm.devices.swap({ name: "ide0", ports: [] }), { message: /PCI function/ });
});

Deno.test("keyboard: what is typed waits for the guest; without one that reads, it is said", async () => {
  await using vm = await guest();
  await vm.keyboard!.type("a");
  assert.equal(await vm.readPort(0x60), 0x1en);
  await assert.rejects(vm.keyboard!.press("ctrl-nokey"), { name: "InputError" });
  await assert.rejects(vm.keyboard!.type("a".repeat(2000), { timeoutMs: 20 }), { name: "TimeoutError" });
  await using bare = await open({ backend: "fake", boot: flat(CODE), defaultDevices: false });
  assert.equal(bare.keyboard, undefined);
});

Deno.test("swap: a device that throws or never returns in save, restore or detach is named, and the guest goes on", async () => {
  const place = { start: 0x777, length: 1 };
  const spin = () => {
    for (;;);
  };
  const fail = () => {
    throw new Error("no more");
  };
  let left = 1;
  const failOnce = () => {
    if (left-- > 0) fail();
  };
  const answers = (value: number): Device => ({
    name: "mine",
    ports: place,
    read: (_offset, data) => void data.fill(value),
  });
  for (
    const [method, old, next] of [
      ["save", { ...answers(1), save: fail }, answers(2)],
      ["save", { ...answers(1), save: spin }, answers(2)],
      ["restore", { ...answers(1), save: () => 5 }, { ...answers(2), restore: spin }],
      ["restore", { ...answers(1), save: () => 5 }, { ...answers(2), restore: fail, detach: fail }],
      ["detach", { ...answers(1), detach: failOnce }, answers(2)],
    ] as const
  ) {
    await using vm = await guest();
    await vm.devices.add(old);
    await assert.rejects(vm.devices.swap(next), {
      name: "HvshError",
      message: new RegExp(`^device mine failed in ${method}\\(\\): (no more|it did not return)`),
    });
    assert.equal(vm.devices.get("mine")!.device, old, method);
    assert.equal(await vm.readPort(0x777), 1n);
  }
});
