import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { PciAbsent } from "./pci_absent.ts";

function subject() {
  const events: string[] = [];
  const device = new PciAbsent({ onReset: () => events.push("reset") });
  return { device, guest: new MockGuest([device]), events };
}

Deno.test("no PCI: the address can be read back, every register reads as ones", () => {
  const { guest } = subject();
  guest.out(0xcf8, 0x8000_1237, 4);
  assert.equal(guest.in(0xcf8, 4), 0x8000_1234);
  assert.equal(guest.in(0xcfc, 4), 0xffffffff);
  assert.equal(guest.in(0xcfe, 2), 0xffff);
  guest.out(0xcfc, 0, 4);
  guest.out(0xcf8, 0xff, 1); // not 32 bits wide: not the address
  assert.equal(guest.in(0xcf8, 4), 0x8000_1234);
});

Deno.test("no PCI: port 0xcf9 resets when bit 2 rises", () => {
  const { guest, events } = subject();
  guest.out(0xcf9, 0x02);
  assert.equal(guest.in(0xcf9), 0x02);
  guest.out(0xcf9, 0x06);
  guest.out(0xcf9, 0x06);
  assert.deepEqual(events, ["reset"]);
});

Deno.test("no PCI: any sequence, saved states", () => {
  anySequence(subject, { seed: 0xcf8, runs: 50 });
  refusesForeign(subject().device);
});
