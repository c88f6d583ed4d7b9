/** A flash chip below firmware: the guest reads it as memory, programs it by commands, and runs on. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { firmware, gpa, hosts, MiB, open } from "../mod.ts";

const PAGE = 4096;
const CHIP = 0xffff_e000n;

/** A ROM of a page, with the chip's page at CS:E000: a byte to CL, the status to CH, 0x0f is programmed, DL has the byte. */
function rom(): Uint8Array {
  const image = new Uint8Array(PAGE).fill(0xf4);
  image.set([
    ...[0xbb, 0x05, 0xe0], // mov bx, 0xe005
    ...[0x2e, 0x8a, 0x0f], // mov cl, [cs:bx]
    ...[0x2e, 0xc6, 0x07, 0x70], // mov byte [cs:bx], READ_STATUS
    ...[0x2e, 0x8a, 0x2f], // mov ch, [cs:bx]
    ...[0x2e, 0xc6, 0x07, 0x40], // mov byte [cs:bx], PROGRAM
    ...[0x2e, 0xc6, 0x07, 0x0f],
    ...[0x2e, 0xc6, 0x07, 0xff], // mov byte [cs:bx], READ_ARRAY
    ...[0x2e, 0x8a, 0x17], // mov dl, [cs:bx]
    0xf4, // hlt
  ]);
  image.set([0xe9, 0x0d, 0xf0], 0xff0); // jmp 0xf000
  return image;
}

const usable = new Map((await hosts()).map((host) => [host.backend, host.usable]));
for (const backend of ["fake", "kvm"] as const) {
  const test = (name: string, fn: () => Promise<void>) =>
    Deno.test({ name: `flash: ${name} [${backend}]`, ignore: usable.get(backend) === false, fn });

  test("the guest reads it, its status, and what it has programmed", async () => {
    const variables = new Uint8Array(PAGE).fill(0x47);
    const boot = firmware(rom(), { variables, vgabios: "none" });
    await using vm = await open({ backend, memory: MiB(2), boot });
    const stop = await vm.continue({ timeoutMs: 60_000 });
    assert.equal(stop.kind, "halt");
    const { rcx, rdx } = stop.registers;
    assert.deepEqual([rcx & 0xffn, rcx >> 8n & 0xffn, rdx & 0xffn], [0x47n, 0x80n, 0x07n]);
    assert.deepEqual([variables[4], variables[5]], [0x47, 0x07]);
    assert.equal((await vm.memory.read(gpa(CHIP + 5n), 1))[0], 0x07);
    assert.equal(vm.devices.get("flash")?.device.inspect?.().programmed, 1);
  });

  test("a snapshot leaves the file as it is", async () => {
    const variables = new Uint8Array(PAGE).fill(0x47);
    const boot = firmware(rom(), { variables, snapshot: true, vgabios: "none" });
    await using vm = await open({ backend, memory: MiB(2), boot });
    const stop = await vm.continue({ timeoutMs: 60_000 });
    assert.equal(stop.registers.rdx & 0xffn, 0x07n);
    assert.equal(variables[5], 0x47);
  });
}

Deno.test("flash: a chip needs devices of ours, and a size", async () => {
  const boot = (bytes: number) => firmware(rom(), { variables: new Uint8Array(bytes) });
  await assert.rejects(open({ backend: "fake", boot: boot(512) }), /no flash chip/);
  await assert.rejects(open({ backend: "fake", boot: boot(PAGE), defaultDevices: false }), /flash chip/);
});
