import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Pit8254 } from "./pit8254.ts";
import { Port61 } from "./port61.ts";
import { Speaker } from "./speaker.ts";

const MS = 1_000_000;

/** Timer, port and speaker, wired as in a PC. */
function subject() {
  const guest = new MockGuest();
  const timer = guest.add(new Pit8254({ time: guest.clock, onTone: () => speaker.update() }));
  const speaker: Speaker = new Speaker({ time: guest.clock, timer });
  const port = guest.add(new Port61({ time: guest.clock, timer, onSpeaker: (on) => speaker.connect(on) }));
  return { guest, timer, speaker, port };
}

/** As every program beeps: mode 3, a count, both bits of port 0x61. */
function beep(guest: MockGuest, count: number): void {
  guest.out(0x43, 0xb6);
  guest.out(0x42, count & 0xff);
  guest.out(0x42, count >> 8);
  guest.out(0x61, guest.in(0x61) | 3);
}

Deno.test("speaker: a beep has its tone and its times, and is a WAV file", () => {
  const { guest, speaker } = subject();
  guest.advance(5 * MS);
  beep(guest, 1193);
  guest.advance(100 * MS);
  assert.equal(speaker.summary(), "1000 Hz");
  guest.out(0x61, 0);
  guest.advance(50 * MS);
  assert.deepEqual(speaker.tones.map(({ at, hz }) => [Number(at - speaker.tones[0].at), Math.round(hz)]), [
    [0, 1000],
    [100 * MS, 0],
  ]);
  const wav = speaker.wav();
  assert.equal(new TextDecoder().decode(wav.subarray(0, 4)), "RIFF");
  const samples = wav.subarray(44);
  assert.equal(samples.length, Math.floor(22_050 * 0.15));
  let periods = 0;
  for (let i = 1; i < samples.length; i++) if (samples[i] > 0x80 && samples[i - 1] < 0x80) periods++;
  assert.ok(Math.abs(periods - 99) <= 1, `${periods} periods in 100 ms of 1000 Hz`);
  assert.ok(samples.subarray(2300).every((sample) => sample === 0x80), "then silence");
});

Deno.test("speaker: a count that is written while it sounds is the next tone", () => {
  const { guest, speaker } = subject();
  beep(guest, 2386);
  guest.advance(10 * MS);
  guest.out(0x42, 1193 & 0xff);
  guest.out(0x42, 1193 >> 8);
  guest.advance(10 * MS);
  guest.out(0x43, 0xb0); // mode 0 makes no tone
  assert.deepEqual(speaker.tones.map(({ hz }) => Math.round(hz)), [500, 1000, 0]);
});

Deno.test("speaker: without the timer's gate, or without its own bit, nothing sounds", () => {
  const { guest, speaker } = subject();
  beep(guest, 1000);
  guest.out(0x61, 2);
  assert.equal(speaker.hz, 0);
  guest.out(0x61, 1);
  assert.equal(speaker.hz, 0);
  guest.out(0x61, 3);
  assert.notEqual(speaker.hz, 0);
});

Deno.test("speaker: whatever a guest does, no more than the last tones and ten minutes are kept", () => {
  const { guest, speaker } = subject();
  for (let i = 0; i < 5000; i++) {
    beep(guest, 100 + i);
    guest.advance(MS);
  }
  assert.equal(speaker.tones.length, 4096);
  guest.advance(3600 * 1000 * MS);
  assert.equal(speaker.wav().length, 44 + 600 * 22_050);
  assert.equal(typeof speaker.inspect().last, "string");
});

Deno.test("speaker: its state goes over, and foreign records are refused", () => {
  const { guest, speaker, timer } = subject();
  beep(guest, 1193);
  const other = new Speaker({ time: guest.clock, timer });
  other.restore(speaker.save());
  assert.equal(other.hz, speaker.hz);
  refusesForeign(other);
});

Deno.test("speaker: any sequence of accesses to timer and port leaves it whole", () => {
  anySequence(() => {
    const { guest, port } = subject();
    return { guest, device: port };
  }, { seed: 0x61 });
});
