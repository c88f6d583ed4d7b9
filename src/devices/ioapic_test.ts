import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { IoApic } from "./ioapic.ts";
import { MockGuest } from "./mock_guest.ts";

const AT = 0xfec0_0000n;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;

/** A guest that notes the vectors it is sent. */
class Guest extends MockGuest {
  get vectors(): number[] {
    return this.messages.map(([, data]) => data & 0xff);
  }
}

function machine() {
  const guest = new Guest();
  const device = guest.add(new IoApic());
  const set = (register: number, value: number) => {
    guest.store(AT, register, 4);
    guest.store(AT + 0x10n, value, 4);
  };
  const get = (register: number) => {
    guest.store(AT, register, 4);
    return guest.load(AT + 0x10n, 4);
  };
  return { guest, device, set, get, line: (gsi: number) => device.controller.line(gsi) };
}

Deno.test("ioapic: version, identity, and a table that is masked after a reset", () => {
  const { set, get, device } = machine();
  assert.equal(get(1), 0x0017_0020);
  set(0, 0xffff_ffff);
  assert.deepEqual([get(0), get(2)], [0x0f00_0000, 0x0f00_0000]);
  for (let i = 0; i < 24; i++) assert.deepEqual([get(0x10 + 2 * i), get(0x11 + 2 * i)], [MASKED, 0]);
  set(0x12, 0xffff_ffff);
  set(0x13, 0xffff_ffff);
  assert.deepEqual([get(0x12), get(0x13)], [0x1_afff, 0xff00_0000]);
  assert.equal(get(0x40), 0);
  device.reset();
  assert.deepEqual([get(0), get(0x12)], [0, MASKED]);
});

Deno.test("ioapic: an edge is sent once, one that is masked is lost, the timer is on input 2", () => {
  const { guest, set, line } = machine();
  line(4).raise();
  set(0x18, 0x34);
  assert.deepEqual(guest.vectors, []);
  line(4).raise();
  assert.deepEqual(guest.vectors, []);
  line(4).lower();
  line(4).raise();
  assert.deepEqual(guest.vectors, [0x34]);
  set(0x14, 0x30);
  line(0).raise();
  assert.deepEqual(guest.vectors, [0x34, 0x30]);
  set(0x1a, 0x400); // an NMI goes nowhere
  line(5).raise();
  assert.equal(guest.vectors.length, 2);
});

Deno.test("ioapic: a level is sent when it is opened, again after its end, and not while it is being served", () => {
  const { guest, set, get, line } = machine();
  const end = (vector: number) => guest.store(AT + 0x40n, vector, 4);
  line(20).raise();
  set(0x38, LEVEL | 0x51);
  assert.deepEqual([guest.vectors, get(0x38)], [[0x51], 0x4000 | LEVEL | 0x51]);
  line(20).raise();
  end(0x50);
  assert.equal(guest.vectors.length, 1);
  end(0x51);
  assert.deepEqual(guest.vectors, [0x51, 0x51]);
  line(20).lower();
  end(0x51);
  assert.deepEqual([guest.vectors.length, get(0x38)], [2, LEVEL | 0x51]);
  line(20).raise();
  set(0x38, 0x51); // edge-triggered now: nothing is waited for
  assert.equal(get(0x38), 0x51);
});

Deno.test("ioapic: a level whose line fell is sent again, though its end was told to a LAPIC alone", () => {
  const { guest, set, line } = machine();
  set(0x38, LEVEL | 0x51);
  for (let i = 0; i < 2; i++) {
    line(20).raise();
    line(20).lower();
  }
  assert.deepEqual(guest.vectors, [0x51, 0x51]);
});

Deno.test("ioapic: what an entry sends goes to the LAPICs that it names", () => {
  const { guest, set, line } = machine();
  set(0x19, 0x0200_0000);
  set(0x18, 0x34);
  line(4).raise();
  set(0x1b, 0xff00_0000);
  set(0x1a, 0x800 | 0x100 | 0x35);
  line(5).raise();
  assert.deepEqual(guest.messages, [[0xfee0_2000, 0x34], [0xfeef_f004, 0x135]]);
});

Deno.test("ioapic: accesses of other widths, and registers that are not there", () => {
  const { guest, get, set } = machine();
  set(0x10, 0x22);
  guest.store(AT, 0x10, 1);
  assert.equal(guest.load(AT, 1), 0x10);
  assert.equal(guest.load(AT + 0x10n, 1), 0);
  guest.store(AT + 0x10n, 0x55, 2);
  assert.equal(get(0x10), 0x22);
  assert.equal(guest.load(AT + 0x800n, 4), 0);
});

Deno.test("ioapic: any sequence, saved states", () => {
  anySequence(() => {
    const { guest, device } = machine();
    return { guest, device };
  }, { seed: 82093, runs: 100 });
  refusesForeign(machine().device);
});
