import assert from "node:assert/strict";
import { InputError } from "../../vm/errors.ts";
import type { Registers } from "../../vm/registers.ts";
import { type Mapped, walk } from "../paging.ts";
import { elfImage, type ElfOptions } from "./elf_image.ts";
import type { BootImage } from "./image.ts";

const MIB = 1 << 20;
const OPTIONS: ElfOptions = { memory: 64 * MIB };

function fixture(name: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL(`../../../fixtures/${name}.bin`, import.meta.url));
}

/** The guest's first 64 MiB after all writes. */
function memoryOf(image: BootImage): DataView {
  const view = new DataView(new ArrayBuffer(64 * MIB));
  for (const w of image.writes) new Uint8Array(view.buffer).set(w.bytes, Number(w.at));
  return view;
}

function text(memory: DataView, at: number): string {
  const bytes = new Uint8Array(memory.buffer, at);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

const bytes = (s: string) => new TextEncoder().encode(s);

Deno.test("multiboot: the information structure says what the specification asks for", () => {
  const image = elfImage(fixture("multiboot"), {
    ...OPTIONS,
    name: "kernel.elf",
    cmdline: "a=1",
    modules: [{ bytes: bytes("one"), cmdline: "one.txt x" }, { bytes: bytes(""), cmdline: "two" }],
  });
  const r = image.registers;
  assert.equal(image.protocol, "multiboot");
  assert.deepEqual([r.rax, r.cs, r.ds, r.rflags, r.cr0], [0x2badb002n, 8n, 0x10n, 2n, 0x11n]);
  const memory = memoryOf(image);
  const info = Number(r.rbx);
  assert.equal(info, 0x9000);
  const field = (at: number) => memory.getUint32(info + at, true);
  assert.equal(field(0), 0x36f);
  assert.deepEqual([field(4), field(8), field(12)], [639, 0xfb80, 0x8000ffff]);
  assert.equal(text(memory, field(16)), "kernel.elf a=1");
  assert.equal(text(memory, field(64)), "hvsh");
  assert.equal(field(20), 2);
  const modules = field(24);
  const [start, end, name] = [0, 4, 8].map((o) => memory.getUint32(modules + o, true));
  assert.deepEqual([start % 4096, end - start, text(memory, start), text(memory, name)], [
    0,
    3,
    "one",
    "one.txt x",
  ]);
  assert.equal(memory.getUint32(modules + 16, true), memory.getUint32(modules + 20, true));
  // Memory map: entries of 24 bytes, each with size 20 in front.
  assert.equal(field(44), 6 * 24);
  assert.equal(memory.getUint32(field(48), true), 20);
  assert.equal(memory.getBigUint64(field(48) + 12, true), 0x9fc00n);
  assert.equal(memory.getUint32(field(48) + 20, true), 1);
  // Section headers, with the symbol table loaded where its sh_addr says.
  const [count, size, table, strings] = [28, 32, 36, 40].map(field);
  assert.equal(size, 40);
  assert.ok(strings < count);
  const headers = Array.from({ length: count }, (_, i) => table + i * size);
  const symtab = headers.find((h) => memory.getUint32(h + 4, true) === 2)!;
  const symbols = memory.getUint32(symtab + 12, true);
  assert.ok(symbols >= 0x100000);
  assert.deepEqual([...new Uint8Array(memory.buffer, symbols, 16)], new Array(16).fill(0)); // the null symbol
  const configuration = field(60);
  assert.deepEqual([memory.getUint16(configuration, true), memory.getUint8(configuration + 2)], [8, 0xfc]);
});

/** A flat file with a multiboot header at `offset` that has load addresses. */
function kludged(addresses: number[], length = 0x400, offset = 0x40, flags = 0x10000): Uint8Array {
  const view = new DataView(new ArrayBuffer(length));
  [0x1badb002, flags, -(0x1badb002 + flags), ...addresses].forEach((n, i) =>
    view.setUint32(offset + 4 * i, n, true)
  );
  view.setUint8(0, 0xf4);
  return new Uint8Array(view.buffer);
}

Deno.test("multiboot: load addresses in the header, with .bss", () => {
  const image = elfImage(kludged([0x200040, 0x200000, 0x200200, 0x203000, 0x200010]), OPTIONS);
  const kernel = image.writes.find((w) => w.name === "multiboot kernel")!;
  assert.deepEqual([kernel.at, kernel.bytes.length, kernel.zeros], [0x200000n, 0x200, 0x2e00]);
  assert.equal(image.registers.rip, 0x200010n);
  assert.equal(image.symbols, undefined);
  const whole = elfImage(kludged([0x200040, 0x200020, 0, 0, 0x200020]), OPTIONS);
  assert.equal(whole.writes.find((w) => w.name === "multiboot kernel")!.bytes.length, 0x400 - 0x20);
});

Deno.test("multiboot: headers that lie are refused", () => {
  const refused = (file: Uint8Array, what: RegExp) =>
    assert.throws(
      () => elfImage(file, OPTIONS),
      (e: unknown) => e instanceof InputError && what.test(e.message),
    );
  refused(kludged([0x1fff00, 0x200000, 0, 0, 0]), /load_addr/);
  refused(kludged([0x300000, 0x200000, 0, 0, 0]), /load_addr/);
  refused(kludged([0x200040, 0x200000, 0x210000, 0, 0]), /load_end_addr/);
  refused(kludged([0x200040, 0x200000, 0x1ff000, 0, 0]), /load_end_addr/);
  refused(kludged([0x200040, 0x200000, 0, 0x200100, 0]), /bss_end_addr/);
  refused(kludged([0x200040, 0x200000, 0, 0xf000_0000, 0]), /not all RAM/);
  refused(kludged([], 0x400, 0x40, 8), /features/);
  refused(kludged([], 0x400, 0x40, 3), /no ELF file/);
  refused(kludged([], 0x50, 0x40), /cut off/);
  refused(kludged([0x200040], 0x400, 0x42), /neither ELF/); // not 4-aligned
  refused(kludged([0, 0, 0, 0, 0], 0x4000, 0x2000), /neither ELF/); // behind the first 8192 bytes
  assert.throws(() => elfImage(fixture("elf64"), { ...OPTIONS, protocol: "multiboot" }), InputError);
});

Deno.test("elf: an entry outside every segment is refused, by every protocol", () => {
  for (const name of ["multiboot", "elf64", "pvh"]) {
    const file = fixture(name);
    const view = new DataView(file.buffer);
    if (name === "pvh") {
      // The note's entry: behind the owner "Xen" and type 18.
      const at = file.findIndex((_, i) =>
        view.getUint32(Math.min(i, file.length - 4), true) === 18 && text(view, i + 4) === "Xen"
      );
      view.setUint32(at + 8, 0x30_0000, true);
    } else if (file[4] === 2) view.setBigUint64(24, 0x30_0000n, true);
    else view.setUint32(24, 0x30_0000, true);
    assert.throws(() => elfImage(file, OPTIONS), /entry 0x300000 lies in no segment/, name);
  }
});

Deno.test("multiboot: room is found for everything in a small guest, else it is refused", () => {
  const file = fixture("multiboot");
  const image = elfImage(file, { memory: 2 * MIB, modules: [{ bytes: new Uint8Array(512 << 10) }] });
  assert.ok(image.writes.some((w) => w.name === "module 0" && w.at >= 0x100000n));
  assert.throws(
    () => elfImage(file, { memory: 2 * MIB, modules: [{ bytes: new Uint8Array(MIB) }] }),
    /no room/,
  );
  assert.throws(() => elfImage(file, { ...OPTIONS, cmdline: "x".repeat(70000) }), /command line/);
  assert.throws(() => elfImage(file, { ...OPTIONS, cmdline: "a\0b" }), /zero/);
  // A kernel at 0x8000 drives the information elsewhere.
  const low = elfImage(kludged([0x8040, 0x8000, 0, 0, 0x8000], 0x2000), OPTIONS);
  assert.ok(low.registers.rbx! > 0xa000n);
});

Deno.test("pvh: start info, version 1", () => {
  const image = elfImage(fixture("pvh"), {
    ...OPTIONS,
    cmdline: "console=ttyS0",
    modules: [{ bytes: bytes("initrd"), cmdline: "i" }],
  });
  assert.equal(image.protocol, "pvh");
  const memory = memoryOf(image);
  const info = Number(image.registers.rbx);
  const long = (at: number) => Number(memory.getBigUint64(info + at, true));
  assert.deepEqual([0, 4, 8, 12].map((o) => memory.getUint32(info + o, true)), [0x336ec578, 1, 0, 1]);
  assert.equal(text(memory, long(24)), "console=ttyS0");
  assert.equal(memory.getUint32(info + 48, true), 6);
  assert.equal(memory.getBigUint64(long(40) + 8, true), 0x9fc00n);
  const module = Number(memory.getBigUint64(long(16), true));
  assert.equal(text(memory, module), "initrd");
  assert.equal(memory.getBigUint64(long(16) + 8, true), 6n);
  assert.deepEqual([image.registers.cr0, image.registers.cr4, image.registers.cs_attributes], [
    0x11n,
    0n,
    0xc09bn,
  ]);
});

Deno.test("plain ELF64: entered by its linear address, mapped to where its segments lie", () => {
  const image = elfImage(fixture("elf64_high"), OPTIONS);
  assert.equal(image.protocol, "elf64");
  const r = image.registers as Registers;
  assert.equal(r.rip, 0xffffffff80300000n);
  const memory = memoryOf(image);
  const read = (gpa: bigint, into: Uint8Array) =>
    into.set(new Uint8Array(memory.buffer, Number(gpa), into.length));
  const result = walk(r, r.rip, read) as Mapped;
  assert.deepEqual([result.ok, result.gpa], [true, 0x300000n]);
  assert.equal((walk(r, r.gdtr_base, read) as Mapped).gpa, r.gdtr_base);
  assert.equal((walk(r, r.rsp - 8n, read) as Mapped).gpa, r.rsp - 8n);
});

Deno.test("plain ELF: protocols can be forced where the file has them", () => {
  assert.equal(elfImage(fixture("elf64"), OPTIONS).protocol, "elf64");
  assert.equal(elfImage(fixture("pvh"), { ...OPTIONS, protocol: "elf64" }).protocol, "elf64");
  const plain = elfImage(fixture("multiboot"), { ...OPTIONS, protocol: "elf32", cmdline: "x" });
  assert.equal(plain.protocol, "elf32");
  assert.equal(plain.notes.length, 1);
  assert.throws(() => elfImage(fixture("multiboot"), { ...OPTIONS, protocol: "elf64" }), /is ELF32/);
  assert.throws(() => elfImage(fixture("elf64"), { ...OPTIONS, protocol: "pvh" }), /PHYS32_ENTRY/);
  assert.throws(() => elfImage(new Uint8Array(), OPTIONS), InputError);
  assert.throws(() => elfImage(fixture("elf64"), { memory: MIB }), /not all RAM/);
});
