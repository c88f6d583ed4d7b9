import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { A20Gate } from "./a20_gate.ts";
import { Port92 } from "./port92.ts";

function subject() {
  const events: string[] = [];
  const a20 = new A20Gate((open) => events.push(`a20 ${open}`));
  const device = new Port92({ onReset: () => events.push("reset"), a20 });
  return { device, guest: new MockGuest([device]), events, a20 };
}

Deno.test("port 92: A20 is open at first; a change is told once", () => {
  const { guest, events } = subject();
  assert.equal(guest.in(0x92), 0x02);
  guest.out(0x92, 0x02);
  guest.out(0x92, 0x00);
  guest.out(0x92, 0x02);
  assert.deepEqual(events, ["a20 false", "a20 true"]);
});

Deno.test("port 92: it shows what others did to the gate; a reset opens it, a restored record sets it", () => {
  const { guest, events, device, a20 } = subject();
  const open = device.save();
  a20.set(false);
  assert.equal(guest.in(0x92), 0x00);
  const closed = device.save();
  device.reset();
  device.restore(closed);
  device.restore(open);
  assert.deepEqual(events, ["a20 false", "a20 true", "a20 false", "a20 true"]);
});

Deno.test("port 92: a reset needs bit 0 to rise", () => {
  const { guest, events, device } = subject();
  guest.out(0x92, 0x03);
  guest.out(0x92, 0x03);
  assert.deepEqual(events, ["reset"]);
  device.reset();
  assert.equal(guest.in(0x92), 0x02);
  guest.out(0x92, 0x03);
  assert.deepEqual(events, ["reset", "reset"]);
});

Deno.test("port 92: any sequence, saved states", () => {
  anySequence(subject, { seed: 92, runs: 50 });
  refusesForeign(subject().device);
});
