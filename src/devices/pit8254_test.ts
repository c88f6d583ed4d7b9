import assert from "node:assert/strict";
import { anySequence, carry, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Pit8254, type Pit8254Options, PIT_HZ } from "./pit8254.ts";
import { Port61 } from "./port61.ts";

function timer(options: Partial<Pit8254Options> = {}) {
  const guest = new MockGuest();
  const pit = guest.add(new Pit8254({ time: guest.clock, ...options }));
  guest.add(new Port61({ time: guest.clock, timer: pit }));
  const program = (channel: number, mode: number, count: number) => {
    guest.out(0x43, channel << 6 | 0x30 | mode << 1);
    guest.out(0x40 + channel, count & 0xff);
    guest.out(0x40 + channel, count >> 8);
  };
  const latched = (channel: number) => {
    guest.out(0x43, channel << 6);
    return guest.in(0x40 + channel) | guest.in(0x40 + channel) << 8;
  };
  let gone = 0n;
  /** Moves to the moment at which `count` more ticks are over. */
  const ticks = (count: number) => {
    const before = gone * BigInt(PIT_HZ) / 1_000_000_000n;
    const at = ((before + BigInt(count)) * 1_000_000_000n + BigInt(PIT_HZ) - 1n) / BigInt(PIT_HZ);
    guest.run(at - gone);
    gone = at;
  };
  return { guest, pit, program, latched, ticks, line: guest.line(0) };
}

Deno.test("pit: nothing ticks until it is programmed; as a BIOS leaves it, 18.2 times a second", () => {
  const bare = timer();
  bare.guest.run(1_000_000_000);
  assert.equal(bare.line.edges, 0);
  assert.equal(bare.guest.clock.next, undefined);
  const configured = timer({ configured: true });
  const before = configured.line.edges;
  configured.guest.run(10_000_000_000n);
  assert.equal(configured.line.edges - before, 182);
});

Deno.test("pit: mode 2 interrupts once a period and counts down", () => {
  const { program, latched, ticks, line } = timer();
  program(0, 2, 1000);
  const edges = line.edges;
  assert.equal(latched(0), 1000);
  ticks(1);
  assert.equal(latched(0), 999);
  ticks(998);
  assert.equal(latched(0), 1);
  assert.equal(line.edges, edges);
  ticks(1);
  assert.equal(latched(0), 1000);
  assert.equal(line.edges, edges + 1);
  ticks(9000);
  assert.equal(line.edges, edges + 10);
});

Deno.test("pit: mode 3 counts by two and is high for the longer half", () => {
  const { guest, pit, program, latched, ticks } = timer();
  guest.out(0x61, 0x01);
  program(2, 3, 5);
  const seen: string[] = [];
  for (let i = 0; i < 6; i++) {
    seen.push(`${latched(2)}${pit.output2 ? "h" : "l"}`);
    ticks(1);
  }
  assert.deepEqual(seen, ["4h", "2h", "0h", "4l", "2l", "4h"]);
  assert.equal(pit.tone, PIT_HZ / 5);
  guest.out(0x61, 0x00);
  assert.equal(pit.tone, undefined);
  assert.equal(pit.output2, true);
});

Deno.test("pit: mode 0 on channel 2 with its gate, as firmware calibrates the TSC", () => {
  const { guest, program, ticks } = timer();
  guest.out(0x61, 0x01);
  program(2, 0, 0x800);
  assert.equal(guest.in(0x61) & 0x20, 0);
  ticks(0x7ff);
  assert.equal(guest.in(0x61) & 0x20, 0);
  guest.out(0x61, 0x00); // the gate holds it
  ticks(1000);
  assert.equal(guest.in(0x61) & 0x20, 0);
  guest.out(0x61, 0x01);
  ticks(1);
  assert.equal(guest.in(0x61) & 0x20, 0x20);
  ticks(0x20000);
  assert.equal(guest.in(0x61) & 0x20, 0x20);
});

Deno.test("pit: mode 0 on channel 0 interrupts once, and its first byte stops it", () => {
  const { guest, program, ticks, line, latched } = timer();
  program(0, 0, 500);
  assert.equal(line.level, false);
  ticks(400);
  guest.out(0x40, 0xff);
  ticks(400);
  assert.equal(line.level, false);
  guest.out(0x40, 0x00); // 255 from here
  ticks(255);
  assert.equal(line.level, true);
  assert.equal(latched(0), 0);
  ticks(1);
  assert.equal(latched(0), 0xffff); // it goes on behind zero
  assert.equal(line.edges, 1);
});

Deno.test("pit: mode 4 strobes once, also when the host looks late", () => {
  const { program, ticks, line, guest } = timer();
  program(0, 4, 10_000);
  const edges = line.edges;
  ticks(10_000);
  assert.equal(line.edges, edges);
  ticks(1);
  assert.equal(line.edges, edges + 1);
  program(0, 4, 10_000);
  guest.advance(1_000_000_000);
  assert.equal(line.edges, edges + 2);
  assert.equal(guest.clock.next, undefined);
});

Deno.test("pit: modes 1 and 5 wait for the gate", () => {
  const { guest, pit, program, ticks } = timer();
  program(2, 1, 100);
  ticks(1000);
  assert.equal(pit.output2, true);
  guest.out(0x61, 0x01);
  assert.equal(pit.output2, false);
  ticks(60);
  guest.out(0x61, 0x00);
  guest.out(0x61, 0x01); // starts again
  ticks(99);
  assert.equal(pit.output2, false);
  ticks(1);
  assert.equal(pit.output2, true);
  program(2, 5, 10);
  assert.equal(pit.output2, true);
  guest.out(0x61, 0x00);
  guest.out(0x61, 0x01);
  ticks(10);
  assert.equal(pit.output2, false);
  ticks(1);
  assert.equal(pit.output2, true);
});

Deno.test("pit: a new count takes over at the end of the period, or of the half period", () => {
  const rate = timer();
  rate.program(0, 2, 1000);
  rate.ticks(100);
  rate.guest.out(0x40, 10_000 & 0xff);
  rate.guest.out(0x40, 10_000 >> 8);
  assert.equal(rate.latched(0), 900);
  const edges = rate.line.edges;
  rate.ticks(900);
  assert.equal(rate.line.edges, edges + 1);
  assert.equal(rate.latched(0), 10_000);
  const square = timer();
  square.guest.out(0x61, 0x01);
  square.program(2, 3, 100);
  square.guest.out(0x42, 20);
  square.guest.out(0x42, 0);
  square.ticks(49);
  assert.equal(square.pit.output2, true);
  square.ticks(1);
  assert.equal(square.pit.output2, false);
  square.ticks(9);
  assert.equal(square.pit.output2, false);
  square.ticks(1);
  assert.equal(square.pit.output2, true);
});

Deno.test("pit: read-back latches count and status, status first", () => {
  const { guest, program, ticks } = timer();
  guest.out(0x43, 0x34);
  guest.out(0x43, 0xe2); // status of channel 0: output high, null count, low then high, mode 2
  assert.equal(guest.in(0x40), 0xf4);
  program(0, 2, 0x1234);
  ticks(4);
  guest.out(0x43, 0xc2);
  ticks(100);
  guest.out(0x43, 0xc2); // latched already
  assert.equal(guest.in(0x40), 0xb4);
  assert.equal(guest.in(0x40), 0x30);
  assert.equal(guest.in(0x40), 0x12);
  assert.equal(guest.in(0x40), (0x1234 - 104) & 0xff); // live again
  assert.equal(guest.in(0x43), 0xff);
  guest.out(0x43, 0x00); // a latched count starts with its low byte, in the middle of an unlatched one too
  const latched = 0x1234 - 104;
  assert.equal(guest.in(0x40), latched & 0xff);
  assert.equal(guest.in(0x40), latched >> 8);
  assert.equal(guest.in(0x40), latched >> 8); // and here the unlatched one goes on
});

Deno.test("pit: BCD, and one-byte access", () => {
  const { guest, ticks } = timer();
  guest.out(0x43, 0x35);
  guest.out(0x40, 0x00);
  guest.out(0x40, 0x10); // 1000 decimal
  ticks(1);
  guest.out(0x43, 0x00);
  assert.equal(guest.in(0x40) | guest.in(0x40) << 8, 0x0999);
  guest.out(0x43, 0x94); // channel 2, low byte only, mode 2
  guest.out(0x61, 0x01);
  guest.out(0x42, 7);
  assert.equal(guest.in(0x42), 7);
  assert.equal(guest.in(0x42), 7);
  guest.out(0x43, 0xa4); // high byte only
  guest.out(0x42, 2);
  assert.equal(guest.in(0x42), 2);
});

Deno.test("pit: interrupts that came too late follow when the last one was taken, up to a bound", () => {
  const { guest, pit, program, line } = timer();
  program(0, 2, 1193); // 1 ms
  const edges = line.edges;
  guest.advance(5_100_000);
  assert.equal(line.edges, edges + 1);
  for (let i = 0; i < 10; i++) pit.acknowledged();
  assert.equal(line.edges, edges + 5);
  guest.advance(1_000_000_000_000n);
  assert.equal(pit.inspect().owed, 200);
  program(0, 2, 0); // 18.2 Hz
  guest.advance(1_000_000_000_000n);
  assert.equal(pit.inspect().owed, 4);
});

Deno.test("pit: a period too short for the host does not keep it busy", () => {
  const { guest, program } = timer();
  program(0, 2, 2);
  guest.advance(1);
  assert.ok(guest.clock.next! >= 199_000n);
});

Deno.test("pit: restored elsewhere it goes on in the middle of its period", () => {
  const { pit, program, ticks } = timer();
  program(0, 2, 1000);
  ticks(700);
  const other = timer();
  other.guest.advance(987_654_321);
  carry(pit, other.pit);
  assert.equal(other.latched(0), 300);
  const edges = other.line.edges;
  other.guest.run(300 * 1_000_000_000 / PIT_HZ + 1 | 0);
  assert.equal(other.line.edges, edges + 1);
});

Deno.test("pit: any sequence, saved states", () => {
  anySequence(() => {
    const { guest, pit, program } = timer();
    program(0, 3, 0);
    return { guest, device: pit };
  }, { seed: 8254, runs: 400 });
  refusesForeign(timer().pit);
});
