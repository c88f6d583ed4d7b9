import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { PciHost } from "./pci_host.ts";
import { Piix4Pm } from "./piix4_pm.ts";

function machine(configured = true) {
  const guest = new MockGuest();
  const events: string[] = [];
  const pm = new Piix4Pm({
    time: guest.clock,
    configured,
    onPowerOff: () => events.push("off"),
    onSuspend: () => events.push("suspend"),
  });
  const host = guest.add(new PciHost());
  host.plug({ slot: 1, function: 3 }, pm);
  guest.add(pm);
  return { guest, pm, events, sci: guest.line(9) };
}

Deno.test("pm: firmware puts the registers somewhere and switches them on", () => {
  const { guest } = machine(false);
  const set = (register: number, value: number) => {
    guest.out(0xcf8, 0x8000_0b00 | register, 4);
    guest.out(0xcfc, value, 4);
  };
  guest.out(0xcf8, 0x8000_0b58, 4);
  assert.equal(guest.in(0xcfc, 4) >>> 25 & 1, 1); // no SMM to set up
  set(0x40, 0x601);
  assert.equal(guest.decodes(0x600), false);
  set(0x80, 1);
  assert.equal(guest.in(0x608, 4), 0);
  assert.equal(guest.in(0x63f), 0);
  assert.equal(guest.decodes(0x640), false);
  set(0x40, 0xb001);
  assert.equal(guest.decodes(0x608), false);
  assert.equal(guest.decodes(0xb008), true);
});

Deno.test("pm: the timer counts at 3.58 MHz in 24 bits", () => {
  const { guest } = machine();
  guest.advance(1_000_000_000);
  assert.equal(guest.in(0x608, 4), 3_579_545);
  guest.advance(4_000_000_000);
  assert.equal(guest.in(0x608, 4), 5 * 3_579_545 & 0xff_ffff);
});

Deno.test("pm: the timer's overflow interrupts every 2.34 s when it may", () => {
  const { guest, sci } = machine();
  guest.out(0x602, 0x0001, 2);
  guest.out(0x604, 0x0001, 2);
  guest.run(2_343_000_000);
  assert.equal(sci.level, false);
  guest.run(1_000_000);
  assert.equal(sci.level, true);
  assert.equal(guest.in(0x600, 2), 0x0001);
  guest.out(0x600, 0x0001, 2);
  assert.equal(sci.level, false);
  guest.run(2_344_000_000);
  assert.equal(sci.level, true);
});

Deno.test("pm: power-off and suspend", () => {
  const { guest, events } = machine();
  guest.out(0x604, 0x2000, 2); // what kernels for QEMU do
  guest.out(0x604, 0x3400, 2);
  guest.out(0x604, 0x2400, 2);
  guest.out(0x604, 0x0000, 2);
  assert.deepEqual(events, ["off", "off", "suspend"]);
  guest.out(0x605, 0x20); // by halves too
  assert.equal(events.length, 4);
});

Deno.test("pm: the power button is told by the SCI once ACPI is on", () => {
  const { guest, pm, sci } = machine();
  assert.equal(pm.pressPower(), false);
  guest.out(0x600, 0x0100, 2);
  guest.out(0x602, 0x0100, 2);
  assert.equal(pm.pressPower(), true);
  assert.equal(sci.level, false);
  guest.out(0xb2, 0xf1);
  assert.equal(guest.in(0x604, 2), 0x0001);
  assert.equal(sci.level, true);
  guest.out(0xb2, 0xf0);
  assert.equal(sci.level, false);
  guest.out(0xb3, 0x5a);
  assert.equal(guest.in(0xb2, 2), 0x5af0);
});

Deno.test("pm: any sequence, saved states", () => {
  anySequence(() => {
    const { guest, pm } = machine();
    return { guest, device: pm };
  }, { seed: 0x7113, runs: 200 });
  refusesForeign(machine().pm);
});
