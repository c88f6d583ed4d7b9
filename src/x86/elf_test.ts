import assert from "node:assert/strict";
import { InputError } from "../vm/errors.ts";
import { elfNotes, loadSegments, parseElf, sectionBytes, SHT_SYMTAB, stringAt } from "./elf.ts";

function fixture(name: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL(`../../fixtures/${name}.bin`, import.meta.url));
}

/** A copy with some bytes changed: offset to little-endian value and its width in bits. */
function patched(bytes: Uint8Array, ...patches: [at: number, value: bigint, bits: number][]): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  for (const [at, value, bits] of patches) {
    for (let i = 0; i < bits / 8; i++) view.setUint8(at + i, Number(value >> BigInt(8 * i) & 0xffn));
  }
  return copy;
}

function refused(bytes: Uint8Array, what: RegExp): void {
  assert.throws(() => loadSegments(parseElf(bytes)), (error: unknown) => {
    assert.ok(error instanceof InputError, String(error));
    assert.match(error.message, what);
    assert.ok(error.remedy);
    return true;
  });
}

const ELF64 = fixture("elf64");
const ELF32 = fixture("multiboot");
const PHDR64 = 64;

Deno.test("elf: headers, segments and sections of both classes", () => {
  const wide = parseElf(ELF64);
  assert.deepEqual([wide.bits, wide.type, wide.entry], [64, 2, 0x200000n]);
  const [segment] = loadSegments(wide);
  assert.equal(segment.at, 0x200000n);
  assert.ok(segment.size > BigInt(segment.bytes.length)); // .bss
  assert.equal(segment.bytes[0], 0x48); // lea
  const narrow = parseElf(ELF32);
  assert.equal(narrow.bits, 32);
  assert.equal(loadSegments(narrow)[0].at, 0x100000n);
  for (const file of [wide, narrow]) {
    assert.deepEqual(file.sections.map((s) => s.name).filter((n) => /^\.(text|symtab)$/.test(n)), [
      ".text",
      ".symtab",
    ]);
    const symbols = file.sections.find((s) => s.type === SHT_SYMTAB)!;
    assert.ok(sectionBytes(file, symbols)!.length > 0);
  }
  const high = loadSegments(parseElf(fixture("elf64_high")));
  assert.deepEqual([high[0].at, high[0].vaddr], [0x300000n, 0xffffffff80300000n]);
});

Deno.test("elf: the PVH note is found", () => {
  const notes = [...elfNotes(parseElf(fixture("pvh")))];
  assert.ok(notes.some((n) => n.name === "Xen" && n.type === 18 && n.description.length === 4));
  assert.deepEqual([...elfNotes(parseElf(ELF64))], []);
});

Deno.test("elf: what is malformed is refused by name", () => {
  refused(new TextEncoder().encode("hello"), /no ELF/);
  refused(ELF64.slice(0, 40), /ends in its header/);
  refused(ELF64.slice(0, 60), /ends in its header/);
  refused(patched(ELF64, [4, 3n, 8]), /class is 3/);
  refused(patched(ELF64, [5, 2n, 8]), /little-endian/);
  refused(patched(ELF64, [18, 183n, 16]), /machine 183/);
  refused(patched(ELF64, [4, 1n, 8]), /machine 62, not 3/);
  refused(patched(ELF64, [16, 1n, 16]), /type 1/);
  refused(patched(ELF64, [56, 0xffffn, 16]), /65535 program headers/);
  refused(patched(ELF64, [56, 0xfffen, 16]), /65534 program headers/);
  refused(patched(ELF64, [32, 1n << 63n, 64]), /program headers at offset/);
  refused(patched(ELF64, [54, 8n, 16]), /8 bytes each/);
  refused(patched(ELF64, [56, 0n, 16]), /no segment/);
  refused(ELF64.slice(0, 3000), /truncated|the file has 3000/);
  refused(patched(ELF64, [PHDR64 + 32, 1n << 40n, 64]), /can't shrink/);
  refused(patched(ELF64, [PHDR64 + 8, 1n << 40n, 64]), /ends at offset/);
  refused(patched(ELF64, [PHDR64 + 24, (1n << 64n) - 16n, 64]), /wraps around/);
  refused(patched(ELF64, [PHDR64 + 16, (1n << 64n) - 16n, 64]), /wraps around/);
  refused(patched(fixture("elf64_high"), [PHDR64 + 56 + 24, 0x300040n, 64]), /overlap/);
});

Deno.test("elf: broken section headers leave the file without sections", () => {
  assert.deepEqual(parseElf(patched(ELF64, [40, 1n << 60n, 64])).sections, []);
  const odd = parseElf(patched(ELF64, [62, 0xfff0n, 16]));
  assert.ok(odd.sections.every((s) => s.name === ""));
  assert.equal(stringAt(undefined, 0), "");
  assert.equal(stringAt(Uint8Array.of(65, 66), 1), "B");
});
