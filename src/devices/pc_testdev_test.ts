import assert from "node:assert/strict";
import { anySequence, carry, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { PcTestdev } from "./pc_testdev.ts";

function subject() {
  const device = new PcTestdev();
  return { device, guest: new MockGuest([device]) };
}

Deno.test("pc-testdev: ports and memory give back what was written", () => {
  const { guest } = subject();
  guest.out(0xe0, 0x11223344, 4);
  assert.equal(guest.in(0xe0, 4), 0x11223344);
  guest.out(0xe1, 0x99, 1); // whichever byte is accessed, it is the lowest
  assert.equal(guest.in(0xe0, 4), 0x11223399);
  assert.equal(guest.in(0xe8, 1), 0x99);
  guest.out(0xe0, 0xffff_fff0, 4);
  assert.equal(guest.in(0xe0, 2), 0xfff0);
  guest.out(0xe4, 0x1000, 4);
  guest.store(0xff00_fffcn, 0xdeadbeef, 4);
  assert.equal(guest.load(0xff00_fffcn, 4), 0xdeadbeef);
  assert.equal(guest.load(0xff00_fffdn, 1), 0xbe);
});

Deno.test("pc-testdev: a port for each interrupt line", () => {
  const { guest, device } = subject();
  guest.out(0x2000 + 5, 1, 1);
  guest.out(0x2000 + 23, 0x80, 1);
  assert.deepEqual([guest.line(5).level, guest.line(23).level, guest.line(4).level], [true, true, false]);
  guest.out(0x2000 + 5, 0, 1);
  assert.equal(guest.line(5).level, false);
  device.reset();
  assert.equal(guest.line(23).level, false);
});

Deno.test("pc-testdev: lines and memory are carried to another", () => {
  const from = subject();
  from.guest.out(0x2009, 1, 1);
  from.guest.store(0xff00_1234n, 0x5a, 1);
  const to = subject();
  carry(from.device, to.device);
  assert.equal(to.guest.line(9).level, true);
  assert.equal(to.guest.load(0xff00_1234n, 1), 0x5a);
  to.device.detach();
  assert.equal(to.guest.line(9).level, false);
});

Deno.test("pc-testdev: any sequence, saved states", () => {
  anySequence(subject, { seed: 0x7e57, runs: 20 });
  refusesForeign(subject().device);
});
