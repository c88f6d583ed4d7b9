import assert from "node:assert/strict";
import { carry } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { chipset } from "./chipset.ts";

Deno.test("chipset: a scan of the bus finds the bridges and power management, and nothing else", () => {
  const guest = new MockGuest();
  const pc = chipset({ time: guest.clock, onReset() {}, onPowerOff() {} });
  pc.devices.forEach((device) => guest.add(device));
  const found: string[] = [];
  for (let place = 0; place < 256; place++) {
    guest.out(0xcf8, 0x8000_0000 + (place << 8), 4);
    const id = guest.in(0xcfc, 4);
    if (id !== 0xffff_ffff) found.push(`${place >> 3}.${place & 7} ${id.toString(16)}`);
  }
  assert.deepEqual(found, ["0.0 12378086", "1.0 70008086", "1.3 71138086"]);
  assert.equal(pc.host.inspect()["00:01.3"], "piix4-pm 8086:7113");
});

Deno.test("chipset: a saved one is carried to another, ranges included", () => {
  const make = (configured: boolean) => {
    const guest = new MockGuest();
    const pc = chipset({ time: guest.clock, onReset() {}, onPowerOff() {}, configured });
    pc.devices.forEach((device) => guest.add(device));
    return { guest, pc };
  };
  const from = make(true);
  const to = make(false);
  assert.equal(to.guest.decodes(0x608), false);
  from.pc.devices.forEach((device, i) => carry(device, to.pc.devices[i]));
  assert.equal(to.guest.decodes(0x608), true);
});

Deno.test("chipset: a guest without firmware finds every function on, as SeaBIOS leaves it", () => {
  const made = (configured: boolean) => {
    const guest = new MockGuest();
    const pc = chipset({ time: guest.clock, onReset() {}, onPowerOff() {}, configured });
    pc.devices.forEach((device) => guest.add(device));
    return pc.host.functions.map(({ device }) => device.config.get(0x04, 2));
  };
  assert.deepEqual(made(true), [0x103, 0x103, 0x103]);
  assert.deepEqual(made(false), [0, 0, 0]);
});
