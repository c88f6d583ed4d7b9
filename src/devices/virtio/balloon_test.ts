import assert from "node:assert/strict";
import { carry } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { VirtioBalloon } from "./balloon.ts";
import { MockDriver } from "./mock_driver.ts";
import { FEATURE } from "./spec.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;
const MEMORY = 0x80000;
const KINDS = [["split", FEATURE.EVENT_IDX], ["packed", FEATURE.RING_PACKED | FEATURE.EVENT_IDX]] as const;
const ALL = (1n << 24n) - 1n;

function machine(features = 0n, accepted = ALL) {
  const guest = new MockGuest([], MEMORY);
  const balloon = new VirtioBalloon();
  const device = guest.add(new VirtioMmio(balloon, { place: { at: AT, irq: 5 } }));
  const driver = new MockDriver(guest, { at: AT, features: features | accepted });
  return { guest, balloon, device, driver };
}

const pages = (...numbers: number[]) => new Uint8Array(Uint32Array.from(numbers).buffer);

function statistic(tag: number, value: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(10));
  view.setUint16(0, tag, true);
  view.setBigUint64(2, value, true);
  return new Uint8Array(view.buffer);
}

for (const [kind, ring] of KINDS) {
  Deno.test(`virtio balloon, ${kind}: pages go to the host, the others stay`, () => {
    const { driver, guest, balloon } = machine(ring);
    driver.start(5);
    guest.memory.fill(0x55, 0x60000);
    driver.ask(0, [pages(0x70, 0x71, 0x72, 0x75, 0x64, 0x63)]);
    const kept = [];
    for (let page = 0x60; page < 0x80; page++) if (guest.memory[page << 12] === 0x55) kept.push(page);
    assert.deepEqual(
      kept,
      Array.from({ length: 32 }, (_, i) => 0x60 + i).filter((p) =>
        ![0x70, 0x71, 0x72, 0x75, 0x64, 0x63].includes(p)
      ),
    );
    assert.equal(balloon.inspect().givenBack, 6 << 12);
    driver.ask(1, [pages(0x70)]);
    guest.store(AT + 0x104n, 5, 4); // actual
    assert.equal(balloon.actual, 5 << 12);
  });

  Deno.test(`virtio balloon, ${kind}: a target is a change of configuration`, () => {
    const { driver, guest, balloon, device } = machine(ring);
    driver.start(5);
    balloon.target = 10 * 4096 + 7;
    assert.deepEqual([guest.load(AT + 0x100n, 4), driver.get(0x060), balloon.target], [10, 2, 40960]);
    carry(device, device);
    assert.throws(() => balloon.target = -1, { name: "InputError" });
    assert.throws(() => balloon.target = NaN, { name: "InputError" });
  });

  Deno.test(`virtio balloon, ${kind}: statistics come when they are asked for`, async () => {
    const { driver, balloon } = machine(ring);
    driver.start(5);
    driver.offer(2, [statistic(4, 1000n), statistic(77, 1n)]);
    driver.kick(2);
    assert.deepEqual(driver.taken(2), []);
    for (const free of [5n, 6n]) {
      const asked = balloon.statistics({ timeoutMs: 10_000 });
      assert.equal(driver.taken(2).length, 1, "giving the buffer back is asking");
      driver.offer(2, [statistic(4, free), statistic(5, 9n)]);
      driver.kick(2);
      assert.deepEqual(await asked, { free, total: 9n });
    }
    const gone = balloon.statistics({ timeoutMs: 10_000 });
    driver.set(0x070, 0);
    await assert.rejects(gone, /driver of balloon0 is gone/);
    await assert.rejects(balloon.statistics(), /no driver/);
  });

  for (const queue of [3, 4]) {
    Deno.test(`virtio balloon, ${kind}: free pages reported on queue ${queue} go to the host, whole ones`, () => {
      const { driver, guest, balloon } = machine(ring);
      driver.start(5);
      const before = driver.allocate(3 * 4096 + 100, 4096);
      guest.memory.fill(0x55, before, before + 3 * 4096 + 100);
      driver.start(5);
      driver.allocate(before - driver.allocate(1), 1);
      // A buffer of two pages and a bit, from just behind the start of a page.
      const at = driver.allocate(1);
      driver.offer(queue, [2 * 4096 + 4096 - (at & 4095)]);
      driver.kick(queue);
      assert.equal(driver.taken(queue).length, 1);
      assert.equal(balloon.inspect().reported, balloon.inspect().givenBack);
      assert.ok((balloon.inspect().reported as number) >= 2 << 12);
    });
  }
}

Deno.test("virtio balloon: without the statistics queue, free pages are reported on its number", () => {
  const { driver, balloon } = machine(0n, 1n << 5n);
  driver.start(4);
  driver.allocate(4096 - driver.allocate(1) % 4096 - 1);
  driver.offer(2, [8192]);
  driver.kick(2);
  assert.ok((balloon.inspect().reported as number) >= 4096);
});

Deno.test("virtio balloon: a page that is lent and written all the same is memory again", () => {
  const { driver, guest } = machine();
  driver.start(5);
  driver.ask(0, [pages(0x70)]);
  guest.write(0x70010n, Uint8Array.of(1, 2, 3)); // a disk's DMA, say
  assert.deepEqual([...guest.memory.subarray(0x70010, 0x70013)], [1, 2, 3]);
});

Deno.test("virtio balloon: pages that are no memory, and requests without end, are refused", () => {
  for (
    const [bad, said] of [[pages(MEMORY >> 12), /No memory/], [pages(0xffff_ffff), /No memory/], [
      new Uint8Array(65540),
      /65540 bytes of page numbers/,
    ]] as const
  ) {
    const { driver, device } = machine();
    driver.start(1);
    driver.offer(0, [bad]);
    driver.kick(0);
    assert.match(device.virtio.fault ?? "", said);
  }
});
