import assert from "node:assert/strict";
import { VirtioEntropy } from "../devices/virtio/entropy.ts";
import { VirtioMmio } from "../devices/virtio/virtio_mmio.ts";
import { acpiWrite } from "./acpi.ts";

Deno.test("acpi: virtio devices are described where they are, others are not", () => {
  const rng = new VirtioMmio(new VirtioEntropy(), { place: { at: 0xd000_5000n, irq: 21 } });
  const text = (write = acpiWrite({ cpus: 1, devices: [{ name: "other" }, rng] }, [])) =>
    String.fromCharCode(...write?.bytes ?? []);
  assert.equal(text().split("LNRO0005").length, 2);
  assert.ok(text().includes("\x00\x50\x00\xd0\x00\x10\x00\x00")); // address and length
  assert.ok(text().includes("\x89\x06\x00\x01\x01\x15\x00\x00\x00")); // interrupt 21
});

Deno.test("acpi: no tables where the boot image lies", () => {
  const machine = { cpus: 1, devices: [] };
  const bytes = new Uint8Array(16);
  assert.equal(acpiWrite(machine, [{ at: 0xffff0n, bytes, name: "image" }]), undefined);
  assert.equal(acpiWrite(machine, [{ at: 0xe0000n, bytes, zeros: 0x20000, name: "image" }]), undefined);
  assert.equal(acpiWrite(machine, [{ at: 0x100000n, bytes, name: "image" }])?.at, 0xf0000n);
});
