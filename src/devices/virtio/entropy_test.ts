import assert from "node:assert/strict";
import { MockGuest } from "../mock_guest.ts";
import { VirtioEntropy } from "./entropy.ts";
import { MockDriver } from "./mock_driver.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;

function machine(type: VirtioEntropy, memory = 0x40000) {
  const guest = new MockGuest([], memory);
  guest.add(new VirtioMmio(type, { place: { at: AT, irq: 5 } }));
  return new MockDriver(guest, { at: AT }).start(1);
}

Deno.test("virtio entropy: every byte asked for comes from the source", () => {
  let next = 0;
  const driver = machine(new VirtioEntropy({ source: (into) => into.forEach((_, i) => into[i] = next++) }));
  assert.deepEqual([...driver.ask(0, [3, 2])], [0, 1, 2, 3, 4]);
  assert.deepEqual([...driver.ask(0, [2])], [5, 6]);
});

Deno.test("virtio entropy: the host's generator does not repeat itself, and gives 64 KiB at most", () => {
  const driver = machine(new VirtioEntropy(), 0x80000);
  assert.notDeepEqual(driver.ask(0, [32]), driver.ask(0, [32]));
  driver.offer(0, [0x1_0100]);
  driver.kick(0);
  assert.equal(driver.taken(0)[0].written, 0x1_0000);
});
