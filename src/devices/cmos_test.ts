import assert from "node:assert/strict";
import fc from "fast-check";
import { Cmos, type CmosOptions } from "./cmos.ts";
import { anySequence, refusesForeign, runs } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";

const SECOND = 1_000_000_000;
const GiB = 1024 ** 3;

function clock(options: Partial<CmosOptions> = {}) {
  const guest = new MockGuest();
  const cmos = guest.add(
    new Cmos({ memory: 64 << 20, time: guest.clock, date: new Date("2024-02-28T23:59:58Z"), ...options }),
  );
  const get = (index: number) => {
    guest.out(0x70, index);
    return guest.in(0x71);
  };
  const set = (index: number, value: number) => {
    guest.out(0x70, index);
    guest.out(0x71, value);
  };
  const time = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map((i) => get(i).toString(16).padStart(2, "0")).join(" ");
  return { guest, cmos, get, set, time, line: guest.line(8) };
}

Deno.test("cmos: the clock starts in BCD, 24 hours, and counts over a leap day", () => {
  const { guest, time, get } = clock();
  assert.equal(get(0x0a), 0x26);
  assert.equal(get(0x0b), 0x02);
  assert.equal(get(0x0d), 0x80);
  assert.equal(time(), "20 24 02 28 04 23 59 58");
  guest.run(2 * SECOND);
  assert.equal(time(), "20 24 02 29 05 00 00 00");
  guest.run(86_400 * SECOND);
  assert.equal(time(), "20 24 03 01 06 00 00 00");
});

Deno.test("cmos: binary and 12-hour formats", () => {
  const { guest, time, set } = clock();
  set(0x0b, 0x80 | 0x04); // SET, binary, 12 hours
  for (const [index, value] of [[0, 59], [2, 59], [4, 0x80 | 11], [7, 31], [8, 12], [9, 99], [0x32, 20]]) {
    set(index, value);
  }
  set(0x0b, 0x04);
  assert.equal(time(), "14 63 0c 1f 04 8b 3b 3b");
  guest.run(SECOND);
  assert.equal(time(), "15 00 01 01 05 0c 00 00"); // 12 in the morning
  guest.run(13 * 3600 * SECOND);
  assert.equal(time().slice(15, 17), "81"); // 1 in the afternoon
});

Deno.test("cmos: SET holds the time; coming out of divider reset the first update is half a second away", () => {
  const { guest, time, set, get } = clock();
  set(0x0b, 0x82);
  set(0, 0x10);
  guest.run(10 * SECOND);
  assert.equal(time(), "20 24 02 28 04 23 59 10");
  set(0x0a, 0x76);
  set(0x0b, 0x02);
  guest.run(10 * SECOND);
  assert.equal(get(0), 0x10);
  set(0x0a, 0x26);
  guest.run(SECOND / 2 - 1);
  assert.equal(get(0), 0x10);
  guest.run(1);
  assert.equal(get(0), 0x11);
});

Deno.test("cmos: UIP is set in the 244 us before an update", () => {
  const { guest, get } = clock();
  guest.run(SECOND - 245_000);
  assert.equal(get(0x0a), 0x26);
  guest.run(1_000);
  assert.equal(get(0x0a), 0xa6);
  guest.run(244_000);
  assert.equal(get(0x0a), 0x26);
});

Deno.test("cmos: update-ended and alarm interrupts, cleared by reading C", () => {
  const { guest, get, set, line } = clock();
  set(0x0b, 0x12);
  guest.run(SECOND);
  assert.equal(line.level, true);
  assert.equal(get(0x0c) & 0xbf, 0x90); // PF comes along, unasked for
  assert.equal(line.level, false);
  assert.equal(get(0x0c), 0);
  set(1, 0x05);
  set(3, 0xc0);
  set(5, 0xff);
  set(0x0b, 0x22);
  guest.run(5 * SECOND);
  assert.equal(line.level, false);
  guest.run(SECOND); // 00:00:05
  assert.equal(line.level, true);
  assert.equal(get(0x0c) & 0xbf, 0xb0);
  guest.run(59 * SECOND);
  assert.equal(get(0x0c) & 0xbf, 0x10);
  guest.run(SECOND);
  assert.equal(get(0x0c) & 0xbf, 0xb0);
});

Deno.test("cmos: an alarm is found even when nobody looked for days", () => {
  const { guest, get, set } = clock();
  set(1, 0x30);
  set(3, 0x15);
  set(5, 0x12);
  guest.advance(3 * 86_400 * SECOND);
  assert.equal(get(0x0c) & 0xbf, 0x30);
  guest.advance(3600 * SECOND);
  assert.equal(get(0x0c) & 0xbf, 0x10);
});

Deno.test("cmos: the periodic interrupt comes 1024 times a second and catches up when it was late", () => {
  const { guest, get, set, line } = clock();
  set(0x0b, 0x42);
  for (let i = 0; i < 1024; i++) {
    guest.run(976_563);
    assert.equal(get(0x0c) & 0xc0, 0xc0, `period ${i}`);
  }
  const edges = line.edges;
  guest.advance(SECOND / 100 + 1);
  let late = 0;
  while (get(0x0c) & 0x40) late++;
  assert.equal(late, 10);
  assert.equal(line.edges, edges + 10);
  guest.advance(100 * SECOND);
  late = 0;
  while (get(0x0c) & 0x40) late++;
  assert.equal(late, 257);
  // Not enabled: a flag for polling, never owed.
  set(0x0b, 0x02);
  guest.advance(SECOND);
  assert.equal(get(0x0c) & 0x40, 0x40);
  assert.equal(get(0x0c) & 0x40, 0);
  assert.equal(guest.clock.next, undefined);
});

Deno.test("cmos: a guest that is slower than the periodic interrupt has time between two of them", () => {
  const { guest, get, set, line } = clock();
  set(0x0b, 0x42);
  let taken = 0;
  for (let i = 0; i < 100; i++) {
    guest.run(1_500_000);
    if (line.level) taken++;
    assert.equal(get(0x0c) & 0x40, 0x40);
    assert.equal(line.level, false, `behind interrupt ${i} the guest goes on`);
  }
  assert.ok(taken > 90);
  // Fast again, it is given what it was late for.
  while (!line.level) guest.run(100_000);
  let late = 0;
  while (get(0x0c) & 0x40) late++;
  assert.ok(late > 40, `${late} were owed`);
});

Deno.test("cmos: memory sizes, CPUs and boot order", () => {
  const word = (get: (i: number) => number, i: number) => get(i) | get(i + 1) << 8;
  const small = clock({ cpus: 4, boot: ["cdrom", "disk"] });
  assert.equal(word(small.get, 0x15), 640);
  assert.equal(word(small.get, 0x17), 63 * 1024);
  assert.equal(word(small.get, 0x30), 63 * 1024);
  assert.equal(word(small.get, 0x34), 48 * 16);
  assert.equal(word(small.get, 0x5b), 0);
  assert.equal(small.get(0x5f), 3);
  assert.equal(small.get(0x3d), 0x23);
  assert.equal(small.get(0x38), 0);
  const large = clock({ memory: 5 * GiB });
  assert.equal(word(large.get, 0x30), 0xffff);
  assert.equal(word(large.get, 0x34), (3 * GiB - (16 << 20)) / 65_536);
  assert.equal(word(large.get, 0x5b) | large.get(0x5d) << 16, 2 * GiB / 65_536);
  const tiny = clock({ memory: 512 * 1024 });
  assert.equal(word(tiny.get, 0x15), 512);
  assert.equal(word(tiny.get, 0x30), 0);
});

Deno.test("cmos: RAM keeps what is written, over a reset too; port 0x70 masks NMIs and can't be read", () => {
  const { guest, cmos, get, set } = clock();
  set(0x0f, 0x0a);
  set(0x8f, 0x0a);
  assert.equal(cmos.nmiMasked, true);
  set(0x0b, 0x72);
  guest.run(SECOND);
  cmos.reset();
  assert.equal(cmos.nmiMasked, false);
  assert.equal(get(0x0f), 0x0a);
  assert.equal(get(0x0b), 0x02);
  assert.equal(get(0x0c), 0);
  assert.equal(guest.in(0x70), 0xff);
  guest.out(0x70, 0x5540, 2); // one 16-bit access: index 0x40, value 0x55
  assert.equal(get(0x40), 0x55);
  cmos.poke(0x12, 0xf0);
  const sum = Array.from({ length: 0x2e - 0x10 }, (_, i) => get(0x10 + i)).reduce((a, b) => a + b);
  assert.equal(get(0x2e) << 8 | get(0x2f), sum);
  assert.throws(() => cmos.poke(0x0b, 1), { name: "InputError" });
  assert.equal(cmos.peek(0x12), 0xf0);
});

Deno.test("cmos: restored elsewhere it goes on where it was", () => {
  const { guest, cmos, set } = clock();
  set(0x0b, 0x52);
  guest.run(SECOND * 5 + 300_000_000);
  const saved = JSON.parse(JSON.stringify(cmos.save()));
  const other = clock({ date: new Date(0) });
  other.guest.advance(123_456_789);
  other.cmos.restore(saved);
  assert.deepEqual(other.cmos.save(), saved);
  assert.equal(other.line.level, true);
  other.guest.run(699_999_999);
  assert.equal(other.get(0), 0x03);
  other.guest.run(1);
  assert.equal(other.get(0), 0x04);
  for (const bad of [0, { ...saved, device: "rtc" }, { ...saved, ram: [] }, { ...saved, phase: SECOND }]) {
    assert.throws(() => cmos.restore(bad), { name: "InputError" });
  }
});

Deno.test("cmos: any sequence of accesses and time keeps every register a byte", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), index: fc.nat(255), value: fc.nat(255) }),
    fc.record({ kind: fc.constant("get" as const), index: fc.nat(255) }),
    fc.record({ kind: fc.constant("time" as const), ns: fc.oneof(fc.nat(3_000_000), fc.nat(2 ** 31 - 1)) }),
    fc.record({ kind: fc.constant("days" as const), days: fc.nat(40_000) }),
    fc.record({ kind: fc.constant("restore" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { guest, cmos, get, set, line } = clock();
      for (const s of steps) {
        if (s.kind === "set") set(s.index, s.value);
        else if (s.kind === "get") get(s.index);
        else if (s.kind === "time") guest.advance(s.ns);
        else if (s.kind === "days") guest.advance(BigInt(s.days) * 86_400_000_000_000n);
        else cmos.restore(JSON.parse(JSON.stringify(cmos.save())));
      }
      assert.equal((cmos.inspect().C as number) >> 7 === 1, line.level);
      for (let i = 0; i < 128; i++) assert.ok(Number.isInteger(cmos.peek(i)) && cmos.peek(i) <= 0xff);
    }),
    { seed: 146818, numRuns: runs(300) },
  );
});

Deno.test("cmos: any sequence on the ports, saved states", () => {
  anySequence(() => {
    const { guest, cmos } = clock();
    return { guest, device: cmos };
  }, { seed: 70 });
  refusesForeign(clock().cmos);
});
