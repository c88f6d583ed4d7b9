import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Port61 } from "./port61.ts";

function subject() {
  const guest = new MockGuest();
  const timer = { output2: false, gate: false, setGate2: (open: boolean) => void (timer.gate = open) };
  const speaker: boolean[] = [];
  const device = guest.add(new Port61({ time: guest.clock, timer, onSpeaker: (on) => speaker.push(on) }));
  return { guest, device, timer, speaker };
}

Deno.test("port 61: gate, speaker and the timer's output", () => {
  const { guest, timer, speaker } = subject();
  guest.out(0x61, 0xff);
  assert.equal(timer.gate, true);
  assert.deepEqual(speaker, [true]);
  assert.equal(guest.in(0x61) & 0xef, 0x0f);
  timer.output2 = true;
  assert.equal(guest.in(0x61) & 0xef, 0x2f);
  guest.out(0x61, 0);
  assert.equal(timer.gate, false);
  assert.deepEqual(speaker, [true, false]);
});

Deno.test("port 61: the refresh bit toggles every 15 us", () => {
  const { guest } = subject();
  const first = guest.in(0x61) & 0x10;
  assert.equal(guest.in(0x61) & 0x10, first);
  guest.advance(15_085);
  assert.equal(guest.in(0x61) & 0x10, first ^ 0x10);
});

Deno.test("port 61: alone, refresh and output toggle with each read, so that no loop waits for ever", () => {
  const guest = new MockGuest([new Port61()]);
  const a = guest.in(0x61);
  const b = guest.in(0x61);
  assert.equal((a ^ b) & 0x30, 0x30);
});

Deno.test("port 61: any sequence, saved states", () => {
  anySequence(subject, { seed: 61, runs: 50 });
  anySequence(() => {
    const device = new Port61();
    return { device, guest: new MockGuest([device]) };
  }, { seed: 61, runs: 50 });
  refusesForeign(subject().device);
});
