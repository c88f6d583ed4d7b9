import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { Dma8237 } from "./dma8237.ts";
import { MockGuest } from "./mock_guest.ts";

function subject() {
  const device = new Dma8237();
  return { device, guest: new MockGuest([device]) };
}

Deno.test("dma: addresses and counts go low byte first, and a cleared flip-flop starts again", () => {
  const { guest, device } = subject();
  guest.out(0x04, 0x34);
  guest.out(0x04, 0x12);
  guest.out(0x0c, 0);
  guest.out(0x05, 0xff);
  guest.out(0x05, 0x01);
  guest.out(0x04, 0x78); // half written
  guest.out(0x0c, 0);
  assert.equal(guest.in(0x04), 0x78);
  assert.equal(guest.in(0x04), 0x12);
  assert.equal(guest.in(0x05) | guest.in(0x05) << 8, 0x1ff);
  guest.out(0x0b, 0x46);
  assert.equal(device.inspect().channel2, "address 1278 count 1ff mode 44");
});

Deno.test("dma: the second controller is at even ports, pages read back", () => {
  const { guest, device } = subject();
  guest.out(0xc4, 0xcd);
  guest.out(0xc4, 0xab);
  assert.match(device.inspect().channel5 as string, /address abcd/);
  guest.out(0x81, 0x0e);
  assert.equal(guest.in(0x81), 0x0e);
  assert.equal(guest.in(0x92), 0xff); // not one of them
});

Deno.test("dma: masks, requests and master clear", () => {
  const { guest, device } = subject();
  assert.equal(device.inspect().mask1, 0x0f);
  guest.out(0x0a, 0x02);
  assert.equal(device.inspect().mask1, 0x0b);
  guest.out(0x0e, 0);
  guest.out(0x0a, 0x05);
  assert.equal(device.inspect().mask1, 0x02);
  guest.out(0x09, 0x06);
  assert.equal(guest.in(0x08), 0x40);
  guest.out(0x0d, 0);
  assert.equal(guest.in(0x08), 0x00);
  assert.equal(device.inspect().mask1, 0x0f);
});

Deno.test("dma: any sequence, saved states", () => {
  anySequence(subject, { seed: 8237, runs: 100 });
  refusesForeign(subject().device);
});
