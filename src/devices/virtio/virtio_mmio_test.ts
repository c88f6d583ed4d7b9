import assert from "node:assert/strict";
import { MockGuest } from "../mock_guest.ts";
import { anySequence, carry, refusesForeign } from "../device_contract.ts";
import { VirtioEntropy } from "./entropy.ts";
import { MockDriver } from "./mock_driver.ts";
import { STATUS } from "./spec.ts";
import { VirtioMmio } from "./virtio_mmio.ts";
import type { VirtioType } from "./virtio_type.ts";

const AT = 0xd000_0000n;
const REG = {
  DriverFeatures: 0x20,
  DriverFeaturesSel: 0x24,
  QueueSel: 0x30,
  QueueNumMax: 0x34,
  Status: 0x70,
};

function machine(type: VirtioType = new VirtioEntropy()) {
  const guest = new MockGuest([], 0x40000);
  const device = guest.add(new VirtioMmio(type, { place: { at: AT, irq: 5 } }));
  return { guest, device, driver: new MockDriver(guest, { at: AT }) };
}

Deno.test("virtio-mmio: magic, version, device; absent queues and shared memory are told as such", () => {
  const { driver } = machine();
  assert.deepEqual([driver.get(0), driver.get(4), driver.get(8)], [0x74726976, 2, 4]);
  assert.deepEqual([driver.get(REG.QueueNumMax), driver.get(0xb0), driver.get(0xbc)], [
    64,
    0xffffffff,
    0xffffffff,
  ]);
  driver.set(REG.QueueSel, 1);
  assert.equal(driver.get(REG.QueueNumMax), 0);
  driver.set(REG.QueueSel, 0xffffffff);
  assert.deepEqual([driver.get(REG.QueueNumMax), driver.get(0x44)], [0, 0]);
});

Deno.test("virtio-mmio: registers are 32 bits wide; other accesses read zeros and write nothing", () => {
  const { guest } = machine();
  assert.deepEqual([guest.load(AT, 1), guest.load(AT, 2), guest.load(AT + 2n, 4)], [0, 0, 0]);
  guest.store(AT + 0x70n, STATUS.ACKNOWLEDGE, 1);
  assert.equal(guest.load(AT + 0x70n, 4), 0);
});

Deno.test("virtio-mmio: features that were not offered, or no VERSION_1, are not accepted", () => {
  const { driver } = machine();
  const negotiate = (low: number, high: number) => {
    driver.set(REG.Status, 0);
    driver.set(REG.Status, 3);
    for (const [half, value] of [low, high].entries()) {
      driver.set(REG.DriverFeaturesSel, half);
      driver.set(REG.DriverFeatures, value);
    }
    driver.set(REG.Status, 3 | STATUS.FEATURES_OK);
    return (driver.status & STATUS.FEATURES_OK) !== 0;
  };
  assert.deepEqual([negotiate(0, 1), negotiate(0, 0), negotiate(1, 1), negotiate(0, 0x8000_0001)], [
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("virtio-mmio: features can't be changed once they were accepted", () => {
  const { driver, device } = machine();
  driver.start(1);
  const { accepted } = device.virtio;
  driver.set(REG.DriverFeaturesSel, 0);
  driver.set(REG.DriverFeatures, 0xffff_ffff);
  assert.equal(device.virtio.accepted, accepted);
});

Deno.test("virtio-mmio: DRIVER_OK without FEATURES_OK needs a reset", () => {
  const { driver, device } = machine();
  driver.set(REG.Status, STATUS.DRIVER_OK);
  assert.equal(driver.status & STATUS.DEVICE_NEEDS_RESET, STATUS.DEVICE_NEEDS_RESET);
  assert.match(device.virtio.fault ?? "", /FEATURES_OK/);
});

Deno.test("virtio-mmio: configuration space ends where the type says, and the generation counts changes", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
  let change = () => {};
  const { driver, guest } = machine({
    name: "config",
    id: 42,
    queues: [8],
    configBytes: 6,
    request: () => {},
    readConfig: (offset, data) => data.set(bytes.subarray(offset, offset + data.length)),
    writeConfig: (offset, data) => bytes.set(data, offset),
    start: (link) => change = link.configChanged,
  });
  assert.deepEqual([driver.get(0x100), driver.get(0x104), driver.get(0x108)], [0x04030201, 0x0605, 0]);
  guest.store(AT + 0x105n, 9, 1);
  guest.store(AT + 0x105n, 0xffff, 2); // across the end
  assert.equal(driver.get(0x104), 0x0905);
  driver.start(1);
  change();
  assert.deepEqual([driver.get(0xfc), driver.get(0x60), guest.line(5).level], [1, 2, true]);
});

Deno.test("virtio-mmio: a device that may choose takes the first free page, one that was told does not move", () => {
  const free = new VirtioMmio(new VirtioEntropy());
  free.place((start) => start >= 0xd000_2000n);
  assert.deepEqual([free.mmio.start, free.irq], [0xd000_2000n, 18]);
  assert.throws(() => free.place(() => false), /no place left for rng0/);
  const told = new VirtioMmio(new VirtioEntropy(), { place: { at: AT, irq: 5 } });
  told.place(() => false);
  assert.equal(told.mmio.start, AT);
  assert.throws(() => new VirtioMmio(new VirtioEntropy(), { place: { at: AT + 1n, irq: 5 } }), /4096/);
  assert.throws(() => new VirtioMmio(new VirtioEntropy(), { place: { at: AT, irq: 99 } }), /input 99/);
});

Deno.test("virtio-mmio: types that make no sense are refused", () => {
  const type: VirtioType = { name: "bad", id: 42, queues: [8], request: () => {} };
  for (
    const [change, said] of [
      [{ id: 0 }, /id/],
      [{ queues: [] }, /queues/],
      [{ queues: [6] }, /power of 2/],
      [{ features: 1n << 32n }, /bits 0 to 23/],
      [{ configBytes: 0x1000 }, /configuration space/],
    ] as const
  ) assert.throws(() => new VirtioMmio({ ...type, ...change }), said);
});

Deno.test("virtio-mmio: any sequence of accesses, resets and saves", () => {
  anySequence(() => {
    const { guest, device } = machine();
    return { guest, device };
  }, { seed: 3 });
});

Deno.test("virtio-mmio: a state is carried, a foreign one refused", () => {
  const { driver, device } = machine();
  driver.start(1);
  driver.ask(0, [16]);
  carry(device, machine().device);
  refusesForeign(device);
});
