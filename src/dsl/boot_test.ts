import assert from "node:assert/strict";
import { InputError } from "../vm/errors.ts";
import { bootSector, elf, flat } from "./boot.ts";
import { open } from "./open.ts";

const MEMORY = 16 << 20;

/** What gzip makes of bytes. */
async function packed(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

Deno.test("boot: a kernel that gzip made is unpacked; a damaged one is refused", async () => {
  const kernel = await Deno.readFile(new URL("../../fixtures/elf64.bin", import.meta.url));
  const small = await packed(kernel);
  const [plain, unpacked] = [await elf(kernel).resolve(MEMORY), await elf(small).resolve(MEMORY)];
  assert.deepEqual(unpacked.writes, plain.writes);
  small[small.length >> 1] ^= 0xff;
  await assert.rejects(elf(small).resolve(MEMORY), InputError);
  await assert.rejects(elf(small.subarray(0, 40)).resolve(MEMORY), InputError);
});

Deno.test("boot: a service of the BIOS that is not there says so, and memory's size is told", async () => {
  // clc; mov ah, 2; int 0x13; setc bl; int 0x12; cli; hlt
  const code = Uint8Array.of(0xf8, 0xb4, 2, 0xcd, 0x13, 0x0f, 0x92, 0xc3, 0x88, 0xe7, 0xcd, 0x12, 0xfa, 0xf4);
  await using vm = await open({ backend: "fake", memory: MEMORY, boot: bootSector(code) });
  const stop = await vm.continue({ timeoutMs: 10_000 });
  assert.equal(stop.kind, "halt");
  // BL: carry. BH: AH of INT 13H, "function not supported".
  assert.deepEqual([stop.registers.rbx & 0xffffn, stop.registers.rax & 0xffffn], [0x8601n, 639n]);
  // What is flat has the low memory for itself.
  await using bare = await open({ backend: "fake", memory: MEMORY, boot: flat(code) });
  assert.equal(await bare.memory.readUint(0x4cn, 4), 0n);
});
