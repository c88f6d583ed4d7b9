import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { BusAccess } from "./bus_access.ts";
import { FAKE_CAPABILITIES } from "../vm/fake/capabilities.ts";

function access(irqchip: boolean) {
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  return { buses, access: new BusAccess({ buses, capabilities: FAKE_CAPABILITIES, irqchip, open() {} }) };
}

Deno.test("bus access: chips in the hypervisor are not answered for by all ones", async () => {
  const { buses, access: inside } = access(true);
  for (const port of [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x43, 0x61]) {
    await assert.rejects(inside.readPort(port, 1), {
      name: "UnsupportedError",
      message: /which is in the hypervisor/,
    });
    await assert.rejects(inside.writePort(port, 1, 0), { name: "UnsupportedError" });
  }
  await assert.rejects(inside.readMmio(0xfec00010n, 4), /IOAPIC/);
  await assert.rejects(inside.writeMmio(0xfee000b0n, 4, 0), /local APIC/);
  assert.equal(await inside.readPort(0x22, 1), 0xffn);
  assert.equal(await inside.readPort(0x44, 1), 0xffn);
  assert.equal(await inside.readMmio(0xfec00100n, 4), 0xffff_ffffn);
  // A timer of our own beside the hypervisor's interrupt controllers.
  buses.port.add({ name: "pit", ports: { start: 0x40, length: 4 }, read: (_, data) => void data.fill(7) });
  assert.equal(await inside.readPort(0x40, 1), 7n);
  const { access: outside } = access(false);
  assert.equal(await outside.readPort(0x21, 1), 0xffn);
});
