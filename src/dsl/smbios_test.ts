import assert from "node:assert/strict";
import { smbiosWrite } from "./smbios.ts";

const MACHINE = { cpus: 2, memory: 5 * 2 ** 30 };

Deno.test("smbios: the entry point's sums are right, and it leads to the structures", () => {
  const { at, bytes } = smbiosWrite(MACHINE, [])!;
  const sum = (from: number, to: number) => bytes.subarray(from, to).reduce((a, b) => a + b, 0) & 0xff;
  assert.deepEqual([sum(0, 31), sum(16, 31)], [0, 0]);
  assert.equal(new TextDecoder().decode(bytes.subarray(0, 4)), "_SM_");
  assert.equal(at % 16n, 0n, "kernels search in steps of 16");
  const view = new DataView(bytes.buffer);
  const structures = view.getUint32(24, true) - Number(at);
  assert.equal(bytes[structures], 1, "system information");
  assert.equal(view.getUint16(22, true), bytes.length - structures);
});

Deno.test("smbios: no tables where the boot image lies", () => {
  const bytes = new Uint8Array(16);
  assert.equal(smbiosWrite(MACHINE, [{ at: 0xffff0n, bytes, name: "image" }]), undefined);
  assert.equal(smbiosWrite(MACHINE, [{ at: 0x100000n, bytes, name: "image" }])?.at, 0xff000n);
});
