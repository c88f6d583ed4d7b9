import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { type DeviceRange, NO_LINE } from "../../vm/device.ts";
import { I440fx, type PamArea } from "./i440fx.ts";
import { type BarRange, PciFunction } from "./pci_function.ts";
import { ECAM_START, PciHost } from "./pci_host.ts";
import { Piix3 } from "./piix3.ts";

/** A function with an I/O and a 64-bit memory range that remembers what was written where. */
class Probe extends PciFunction {
  readonly seen: string[] = [];

  constructor(name = "probe") {
    super(name, {
      vendor: 0x1234,
      device: 0x5678,
      classCode: 0xff_00_00,
      pin: 1,
      bars: [{ kind: "io", size: 32 }, undefined, { kind: "memory64", size: 0x1000, prefetchable: true }],
    });
  }

  read(offset: number, data: Uint8Array): void {
    data.fill(offset);
  }

  write(offset: number, _data: Uint8Array, range: DeviceRange): void {
    this.seen.push(`${(range as BarRange).bar}+${offset}`);
  }
}

function machine() {
  const resets: string[] = [];
  const pam: PamArea[] = [];
  const piix3 = new Piix3();
  const bridge = new I440fx({ onPam: (area) => pam.push(area) });
  const host = new PciHost({ onReset: () => resets.push("reset"), router: piix3 });
  const probe = new Probe();
  host.plug({ slot: 0 }, bridge);
  host.plug({ slot: 1 }, piix3);
  host.plug({ slot: 4 }, probe);
  const guest = new MockGuest([host, bridge, piix3, probe]);
  const at = (slot: number, register: number) => 0x8000_0000 + (slot << 11) + (register & 0xfc);
  const get = (slot: number, register: number, size: 1 | 2 | 4 = 4) => {
    guest.out(0xcf8, at(slot, register), 4);
    return guest.in(0xcfc + (register & 3), size);
  };
  const set = (slot: number, register: number, value: number, size: 1 | 2 | 4 = 4) => {
    guest.out(0xcf8, at(slot, register), 4);
    guest.out(0xcfc + (register & 3), value, size);
  };
  return { guest, host, bridge, piix3, probe, get, set, pam, resets };
}

Deno.test("pci: identities, and ones where nobody is", () => {
  const { get, guest } = machine();
  assert.equal(get(0, 0), 0x1237_8086);
  assert.equal(get(0, 0x2c), 0x1100_1af4);
  assert.equal(get(0, 0x0a, 2), 0x0600);
  assert.equal(get(1, 0x0e, 1), 0x80);
  assert.equal(get(2, 0), 0xffff_ffff);
  assert.equal(get(0, 0x02, 2), 0x1237);
  guest.out(0xcf8, 0x0000_0000, 4); // not enabled
  assert.equal(guest.in(0xcfc, 4), 0xffff_ffff);
  guest.out(0xcf8, 0x8001_0000, 4); // bus 1
  assert.equal(guest.in(0xcfc, 4), 0xffff_ffff);
  assert.equal(guest.in(0xcf8, 4), 0x8001_0000);
});

Deno.test("pci: what is fixed can't be written; status errors are cleared by ones", () => {
  const { get, set, probe } = machine();
  set(4, 0x00, 0);
  assert.equal(get(4, 0), 0x5678_1234);
  probe.config.set(0x06, 0xf900, 2);
  set(4, 0x04, 0x8000_ffff);
  assert.equal(get(4, 0x04), 0x7900_0547);
  set(4, 0x3c, 0xff0b);
  assert.equal(get(4, 0x3c), 0x010b);
});

Deno.test("pci: base address registers tell their size and decode where they are put", () => {
  const { guest, get, set, probe } = machine();
  set(4, 0x10, 0xffff_ffff);
  assert.equal(get(4, 0x10), 0xffff_ffe1);
  set(4, 0x18, 0xffff_ffff);
  set(4, 0x1c, 0xffff_ffff);
  assert.equal(get(4, 0x18), 0xffff_f00c);
  assert.equal(get(4, 0x1c), 0xffff_ffff);
  set(4, 0x10, 0xc000);
  assert.equal(guest.decodes(0xc000), false); // not enabled yet
  set(4, 0x04, 0x0001, 2);
  assert.equal(guest.in(0xc003), 3);
  guest.out(0xc01f, 1);
  assert.deepEqual(probe.seen, ["0+31"]);
  assert.equal(guest.decodes(0xc020), false);
  set(4, 0x10, 0xd000);
  assert.equal(guest.decodes(0xc000), false);
  assert.equal(guest.in(0xd003), 3);
  set(4, 0x04, 0x0000, 2);
  assert.equal(guest.decodes(0xd000), false);
});

Deno.test("pci: a range put over another device does not throw, and comes back when moved away", () => {
  const { guest, get, set } = machine();
  set(4, 0x04, 0x0003, 2);
  set(4, 0x10, 0x0ce0); // over 0xcf8
  assert.equal(get(4, 0), 0x5678_1234);
  set(4, 0x10, 0xffe0); // the end of the port space
  assert.equal(guest.in(0xffff), 31);
  set(4, 0x10, 0xffff_ffe0); // behind it
  assert.equal(guest.in(0xffff), 0xff);
  set(4, 0x10, 0xc000);
  assert.equal(guest.in(0xc001), 1);
  set(4, 0x18, 0xffff_f000);
  set(4, 0x1c, 0xffff_ffff);
});

Deno.test("pci: PAM registers tell which areas below 1 MiB are RAM", () => {
  const { set, pam, bridge, get } = machine();
  assert.equal(bridge.areas.length, 13);
  assert.ok(bridge.areas.every((a) => !a.readRam && !a.writeRam));
  const all = { start: 0xc0000, length: 0x40000, readRam: false, writeRam: false };
  assert.deepEqual(pam, [all], "what is not RAM is told when it is plugged in, neighbours as one");
  pam.length = 0;
  set(0, 0x58, 0x3300_3000 | 0); // 0x59 is byte 1, 0x5b byte 3
  assert.deepEqual(pam, [
    { start: 0xc8000, length: 0x8000, readRam: true, writeRam: true },
    { start: 0xf0000, length: 0x10000, readRam: true, writeRam: true },
  ]);
  pam.length = 0;
  set(0, 0x59, 0xff, 1);
  assert.equal(get(0, 0x59, 1), 0x30);
  assert.deepEqual(pam, []);
  set(0, 0x59, 0x10, 1);
  assert.deepEqual(pam, [{ start: 0xf0000, length: 0x10000, readRam: true, writeRam: false }]);
  bridge.reset();
  assert.deepEqual(pam.slice(1).map(({ start }) => start), [0xc8000, 0xf0000]);
});

Deno.test("pci: what writes RAM but reads ROM has its writes done by the bridge, and reads nothing where no ROM is", () => {
  const written: [number, number[]][] = [];
  const bridge = new I440fx({ onHidden: (at, bytes) => written.push([at, [...bytes]]) });
  const guest = new MockGuest([bridge]);
  guest.store(0xd4001n, 1, 1);
  bridge.configWrite(0x5c, 0x20, 1); // 0xd4000
  guest.store(0xd4001n, 0x1234, 2);
  guest.store(0xd0000n, 1, 1);
  assert.equal(guest.load(0xd4001n, 2), 0xffff);
  bridge.configWrite(0x5c, 0x30, 1);
  guest.store(0xd4001n, 2, 1);
  bridge.configWrite(0x59, 0x20, 1);
  guest.store(0xffffcn, 0x01020304, 4);
  bridge.reset();
  guest.store(0xffffcn, 5, 4);
  assert.deepEqual(written, [[0xd4001, [0x34, 0x12]], [0xffffc, [4, 3, 2, 1]]]);
});

Deno.test("pci: interrupt pins lead through the PIRQ routes, shared levels count", () => {
  const { guest, host, set, probe } = machine();
  const other = new Probe("other");
  host.plug({ slot: 8 }, other); // the same PIRQ as slot 4: D
  probe.intx.raise();
  assert.equal(guest.line(11).level, false); // not routed
  set(1, 0x63, 0x0b, 1);
  assert.equal(guest.line(11).level, true);
  other.intx.raise();
  probe.intx.lower();
  assert.equal(guest.line(11).level, true);
  set(1, 0x63, 0x0a, 1);
  assert.equal(guest.line(11).level, false);
  assert.equal(guest.line(10).level, true);
  other.intx.lower();
  assert.equal(guest.line(10).level, false);
  set(1, 0x63, 0x00, 1); // the timer's: not possible
  other.intx.raise();
  assert.equal(guest.line(0).level, false);
});

Deno.test("pci: reset control", () => {
  const { guest, resets } = machine();
  guest.out(0xcf9, 0x02);
  guest.out(0xcf9, 0x06);
  assert.deepEqual(resets, ["reset"]);
  assert.equal(guest.in(0xcf9), 0x06);
});

Deno.test("pci: places that are taken or not there, registers that make no sense", () => {
  const { host } = machine();
  for (const place of [{ slot: 4 }, { slot: 32 }, { slot: 1, function: 8 }, { slot: -1 }]) {
    assert.throws(() => host.plug(place, new Probe("x")), { name: "InputError" });
  }
  class Bad extends PciFunction {
    constructor(size: number) {
      super("bad", { vendor: 1, device: 2, classCode: 0, bars: [{ kind: "io", size }] });
    }
  }
  for (const size of [0, 2, 5, 1.5, 2 ** 40]) assert.throws(() => new Bad(size), { name: "InputError" });
});

Deno.test("pci: any sequence of configuration accesses to any function, saved states", () => {
  for (const slot of [0, 1, 4]) {
    anySequence(() => {
      const { guest, host, bridge, piix3, probe } = machine();
      probe.intx.raise();
      guest.out(0xcf8, 0x8000_0000 + (slot << 11) + 0x10, 4);
      // The functions' state goes along with the ports'.
      const functions = [bridge, piix3, probe];
      const device = {
        name: "all",
        ports: host.ports,
        reset: () => [host, ...functions].forEach((d) => d.reset()),
        save: () => [host, ...functions].map((d) => d.save()),
        restore: (saved: unknown) =>
          [host, ...functions].forEach((d, i) => d.restore((saved as unknown[])[i])),
        inspect: () => Object.assign({}, ...[host, ...functions].map((d) => d.inspect())),
      };
      return { guest, device };
    }, { seed: 0xcf8 + slot, runs: 150 });
  }
  const { host, bridge, piix3, probe } = machine();
  for (const device of [host, bridge, piix3, probe]) refusesForeign(device);
});

class Card extends PciFunction {
  override readonly slot?: number;

  constructor(name: string, slot?: number) {
    const bars = [{ kind: "memory" as const, size: 0x100 }, { kind: "memory64" as const, size: 0x10000 }];
    super(name, { vendor: 0x1234, device: 0x5678, classCode: 0xff0000, pin: 1, bars });
    this.slot = slot;
  }
}

Deno.test("pci: functions join where there is room, and leave", () => {
  const host = new PciHost();
  const cards = [new Card("a"), new Card("b", 4), new Card("c")];
  for (const card of cards) host.join(card, () => true);
  host.join(cards[0], () => true); // it is there
  assert.deepEqual(host.functions.map(({ slot, device }) => [slot, device.name]), [[3, "a"], [4, "b"], [
    5,
    "c",
  ]]);
  assert.throws(() => host.join(new Card("d", 5), () => true), /d can't be PCI function 5.0: c is there/);
  assert.deepEqual(cards[0].config.mappings, [], "firmware gives addresses");
  host.leave(cards[0]);
  host.leave(cards[0]);
  host.join(new Card("e"), () => true);
  assert.equal(host.functions[0].device.name, "e");
  for (let slot = 6; slot < 32; slot++) host.join(new Card(`more${slot}`), () => true);
  assert.throws(() => host.join(new Card("f"), () => true), /no such place/);
});

Deno.test("pci: without firmware a function that joins has addresses and an interrupt, and keeps them", () => {
  const isa = new Piix3({ configured: true });
  const host = new PciHost({ configured: true, router: isa });
  const card = new Card("a");
  host.join(card, (start) => start >= 0xe000_1000n);
  const mapped = () => card.config.mappings.map(({ bar, start }) => [bar, start]);
  assert.deepEqual([mapped(), card.config.get(0x3c, 1)], [[[0, 0xe000_1000n], [1, 0xe001_0000n]], 11]);
  card.configWrite(0x10, 0xf000_0000, 4);
  card.reset();
  assert.deepEqual(mapped(), [[0, 0xe000_1000n], [1, 0xe001_0000n]]);
  assert.throws(() => host.join(new Card("b"), () => false), /no room left for b/);
  assert.equal(host.functions.length, 1);
});

Deno.test("pci: configuration space is reached by addresses, where tables say so", () => {
  const guest = new MockGuest();
  const host = guest.add(new PciHost({ ecam: true }));
  host.join(guest.add(new Card("a")), () => true);
  const at = ECAM_START + (3n << 15n);
  assert.deepEqual([guest.load(at, 4), guest.load(at + 2n, 2), guest.load(at + 1n, 1)], [
    0x5678_1234,
    0x5678,
    0x12,
  ]);
  guest.store(at + 4n, 2, 2);
  guest.out(0xcf8, 0x8000_1804, 4);
  assert.equal(guest.in(0xcfc, 2), 2);
  assert.deepEqual([guest.load(at + 0x100n, 4), guest.load(at + 0x8000n, 4)], [0xffff_ffff, 0xffff_ffff]);
  guest.store(at + 0xffcn, 0, 4);
  guest.store(at + 0xf_8000n - (3n << 15n), 0, 4);
});

Deno.test("pci: on a bus with others functions join from its end, where nobody is, and what they claim is given back", () => {
  const told: string[] = [];
  let refuses = false;
  const host = new PciHost({
    claims: {
      claim: (slot) => {
        if (refuses) throw new Error("no");
        told.push(`claim ${slot}`);
      },
      release: (slot) => void told.push(`release ${slot}`),
    },
    router: { route: (slot, pin) => (told.push(`pin ${slot} ${pin}`), NO_LINE), irq: () => undefined },
  });
  host.reserve(new Set([0, 1, 2, 5, 31]));
  const free = () => true;
  const probe = new Probe();
  host.join(probe, free);
  host.join(probe, free);
  assert.deepEqual(told.splice(0), ["pin 30 1", "claim 30"]);
  const taken = Object.assign(new Probe("taken"), { slot: 5 });
  assert.throws(() => host.join(taken, free), {
    name: "InputError",
    message: "taken can't be in PCI slot 5: the guest's device model has that",
    remedy: /^take one of 3, 4, 6, .*, 29, or leave the slot out$/,
  });
  assert.throws(() => host.join(Object.assign(new Probe("two"), { slot: 30 }), free), /probe is there/);
  refuses = true;
  assert.throws(() => host.join(new Probe("third"), free), /^Error: no$/);
  refuses = false;
  assert.deepEqual(host.functions.map(({ slot }) => slot), [30]);
  told.length = 0;
  host.leave(probe);
  host.leave(probe);
  assert.deepEqual([told, host.functions], [["release 30"], []]);
});
