import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import type { DeviceRange } from "../../vm/device.ts";
import { I440fx, type PamArea } from "./i440fx.ts";
import { type BarRange, PciFunction } from "./pci_function.ts";
import { PciHost } from "./pci_host.ts";
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
