import assert from "node:assert/strict";
import { InputError } from "../../vm/errors.ts";
import type { Registers } from "../../vm/registers.ts";
import { type Mapped, walk } from "../paging.ts";
import { arrange, type BootImage, memoryMap } from "./image.ts";
import { bootSectorImage, firmwareImage, flatImage } from "./raw.ts";

const MIB = 1 << 20;

/** Guest memory as the image leaves it, as a reader for page walks. */
function reader(image: BootImage) {
  return (gpa: bigint, into: Uint8Array): void => {
    const write = image.writes.find((w) =>
      w.at <= gpa && gpa + BigInt(into.length) <= w.at + BigInt(w.bytes.length)
    );
    assert.ok(write, `nothing was written at 0x${gpa.toString(16)}`);
    const at = Number(gpa - write.at);
    into.set(write.bytes.subarray(at, at + into.length));
  };
}

function bytesAt(image: BootImage, name: string): { at: bigint; bytes: Uint8Array } {
  const write = image.writes.find((w) => w.name === name);
  assert.ok(write, `no write named ${name}`);
  return write;
}

Deno.test("boot sector: at 7c00 in real mode with DL and a stack", () => {
  const sector = new Uint8Array(512);
  sector.set([0x55, 0xaa], 510);
  const image = bootSectorImage(sector, MIB);
  const { cs, cs_base, rip, rdx, ss, rsp } = image.registers;
  assert.deepEqual([cs, cs_base, rip, rdx, ss, rsp], [0n, 0n, 0x7c00n, 0x80n, 0n, 0x7c00n]);
  assert.equal(bytesAt(image, "boot sector").at, 0x7c00n);
  assert.deepEqual(image.notes, []);
  const area = bytesAt(image, "BIOS data area").bytes;
  assert.equal(area[0x13] | area[0x14] << 8, 639);
  assert.match(bootSectorImage(new Uint8Array(100), MIB).notes[0], /55 aa/);
});

Deno.test("boot sector: empty, oversized and homeless ones are refused", () => {
  assert.throws(() => bootSectorImage(new Uint8Array(), MIB), InputError);
  assert.throws(() => bootSectorImage(new Uint8Array(0x98001), MIB), InputError);
  const whole = bootSectorImage(new Uint8Array(0x98000), MIB).writes.find(({ name }) =>
    name === "boot sector"
  );
  assert.equal(whole?.bytes.length, 0x98000);
  assert.throws(() => bootSectorImage(new Uint8Array(512), 0x7000), InputError);
});

Deno.test("flat: real mode below and above 64 KiB", () => {
  const low = flatImage(Uint8Array.of(0xf4), { memory: MIB }).registers;
  assert.deepEqual([low.cs, low.rip, low.ss, low.rsp], [0n, 0x1000n, 0n, 0x1000n]);
  const high = flatImage(Uint8Array.of(0xf4), { memory: MIB, at: 0x2_0008 }).registers;
  assert.deepEqual([high.cs, high.cs_base, high.rip, high.ss], [0x2000n, 0x20000n, 8n, 0x9000n]);
  assert.equal(flatImage(Uint8Array.of(0xf4), { memory: 0x1000, at: 0 }).registers.rip, 0n);
});

Deno.test("flat: protected mode has a GDT in guest memory that agrees with the segment registers", () => {
  const image = flatImage(Uint8Array.of(0xf4), { memory: 2 * MIB, mode: "protected" });
  const r = image.registers;
  assert.deepEqual([r.rip, r.cr0, r.cs, r.ds, r.cs_limit], [0x100000n, 0x11n, 8n, 0x10n, 0xffff_ffffn]);
  const table = bytesAt(image, "GDT");
  assert.equal(table.at, r.gdtr_base);
  assert.deepEqual([...table.bytes.subarray(8, 16)], [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]);
  assert.equal(Number(r.gdtr_limit), table.bytes.length - 1);
  assert.ok(table.at + 0x1000n <= 0x9fc00n);
});

Deno.test("flat: long mode maps the first 4 GiB to themselves", () => {
  const image = flatImage(Uint8Array.of(0xf4), { memory: 2 * MIB, mode: "long" });
  const registers = image.registers as Registers;
  for (const address of [0n, 0x100000n, 0xfee0_0abcn, 0xffff_ffffn]) {
    const result = walk(registers, address, reader(image)) as Mapped;
    assert.deepEqual([result.ok, result.gpa, result.pageSize, result.user], [true, address, 2 << 20, true]);
  }
  assert.equal((walk(registers, 1n << 32n, reader(image)) as Mapped).ok, false);
  assert.equal(registers.cs_attributes, 0xa09bn);
});

Deno.test("flat: tables keep out of the image's way", () => {
  const big = flatImage(new Uint8Array(0x98000), { memory: 4 * MIB, mode: "long", at: 0x7000 });
  const tables = bytesAt(big, "page tables");
  assert.ok(tables.at >= 0x100000n);
  assert.throws(
    () => flatImage(new Uint8Array(0x98000), { memory: MIB, mode: "long", at: 0x7000 }),
    /no room/,
  );
});

Deno.test("flat: what does not fit is refused", () => {
  const code = Uint8Array.of(0xf4);
  assert.throws(() => flatImage(new Uint8Array(), { memory: MIB }), InputError);
  assert.throws(() => flatImage(code, { memory: MIB, at: MIB }), InputError);
  assert.throws(() => flatImage(code, { memory: 2 * MIB, at: MIB }), /real mode/);
  assert.throws(() => flatImage(code, { memory: 5 << 10 << 20, at: 1n << 32n, mode: "long" }), InputError);
  assert.throws(() => flatImage(code, { memory: MIB, at: -1 }), InputError);
});

Deno.test("firmware: ends at 4 GiB, its last 128 KiB are below 1 MiB, the vCPU is at reset", () => {
  const rom = new Uint8Array(256 << 10).fill(1);
  rom.fill(2, 128 << 10);
  const image = firmwareImage(rom, MIB);
  assert.equal(image.roms![0].at, (1n << 32n) - 0x40000n);
  assert.equal(image.writes[0].at, 0xe0000n);
  assert.equal(image.writes[0].bytes.length, 128 << 10);
  assert.equal(image.writes[0].bytes[0], 2);
  assert.deepEqual(image.registers, {});
  assert.equal(firmwareImage(new Uint8Array(0x10000), MIB).writes[0].at, 0xf0000n);
  for (const bytes of [0, 1000, (16 << 20) + 4096]) {
    assert.throws(() => firmwareImage(new Uint8Array(bytes), MIB), InputError);
  }
  assert.throws(() => firmwareImage(rom, 0x80000), InputError);
});

Deno.test("image: RAM above 3 GiB continues at 4 GiB", () => {
  const map = memoryMap(4 * 1024 * MIB);
  assert.deepEqual(map.map((e) => [e.at, e.size, e.type]), [
    [0n, 0x9fc00n, 1],
    [0x9fc00n, 0x400n, 2],
    [0xf0000n, 0x10000n, 2],
    [0x100000n, 0xbfee0000n, 1],
    [0xbffe0000n, 0x20000n, 2],
    [0xfffbc000n, 0x44000n, 2],
    [1n << 32n, 1n << 30n, 1],
  ]);
  const at = (n: bigint) => [{ at: n, bytes: new Uint8Array(16), name: "x" }];
  assert.throws(() => arrange(at(0xc000_0000n), 4 * 1024 * MIB), /not all RAM/);
  assert.equal(arrange(at(1n << 32n), 4 * 1024 * MIB).length, 1);
  assert.throws(() => arrange([...at(0n), ...at(8n)], MIB), /overlaps/);
});
