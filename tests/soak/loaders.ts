/**
 * Hostile images for the ELF, multiboot and Linux loaders: whatever the bytes, a loader gives an image that lies
 * in RAM or refuses with an InputError. `deno run -A tests/soak/loaders.ts [RUNS [SEED]]` runs 100,000 of each.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { elfImage, type ElfProtocol } from "../../src/x86/boot/elf_image.ts";
import { arrange, type BootImage } from "../../src/x86/boot/image.ts";
import { InputError } from "../../src/vm/errors.ts";

const MEMORY = 64 << 20;
/** What a loader may make itself beside views of the file: page tables and small structures. */
const OWN_BYTES = 5 << 20;
const FIXTURES = ["multiboot", "pvh", "elf64", "elf64_high"].map((name) =>
  Deno.readFileSync(new URL(`../../fixtures/${name}.bin`, import.meta.url))
);
const PROTOCOLS: readonly (ElfProtocol | undefined)[] = [
  undefined,
  undefined,
  "multiboot",
  "pvh",
  "elf32",
  "elf64",
];

/** Loads `bytes`; anything but a sound image or an InputError with a remedy is a failure. */
function load(bytes: Uint8Array, protocol: ElfProtocol | undefined, modules: number): void {
  let image: BootImage;
  try {
    image = elfImage(bytes, {
      memory: MEMORY,
      cmdline: "console=ttyS0",
      name: "kernel",
      modules: Array.from({ length: modules }, () => ({ bytes: new Uint8Array(100), cmdline: "module" })),
      ...(protocol === undefined ? {} : { protocol }),
    });
  } catch (error) {
    assert.ok(error instanceof InputError, `not an InputError: ${error}`);
    assert.ok(error.remedy, error.message);
    return;
  }
  assert.deepEqual(arrange(image.writes, MEMORY), image.writes);
  const total = image.writes.reduce((sum, w) => sum + w.bytes.length, 0);
  assert.ok(total <= 3 * bytes.length + OWN_BYTES, `${total} bytes made of ${bytes.length}`);
  assert.ok(image.registers.rip !== undefined);
}

/** Values that break arithmetic more often than random ones do. */
const evil = fc.constantFrom(
  0,
  1,
  0xff,
  0xffff,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
  0xffff_f000,
  0x10_0000,
  0x1000,
);
const word = fc.oneof(evil, fc.integer({ min: 0, max: 0xffff_ffff }));

/** A valid image with some words changed, most of them in its headers, and perhaps cut off. */
const mutated = fc.record({
  fixture: fc.constantFrom(...FIXTURES),
  patches: fc.array(fc.tuple(fc.oneof(fc.nat(0x140), fc.nat(12000)), word, fc.constantFrom(1, 2, 4)), {
    maxLength: 8,
  }),
  cut: fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(12000) }),
}).map(({ fixture, patches, cut }) => {
  const bytes = fixture.slice(0, cut ?? fixture.length);
  const view = new DataView(bytes.buffer);
  for (const [at, value, size] of patches) {
    if (at + size > bytes.length) continue;
    if (size === 4) view.setUint32(at, value, true);
    else if (size === 2) view.setUint16(at, value & 0xffff, true);
    else view.setUint8(at, value & 0xff);
  }
  return bytes;
});

/** A flat file whose multiboot header has a right checksum and wild addresses. */
const multiboot = fc.record({
  offset: fc.nat(2100).map((n) => n * 4),
  flags: fc.constantFrom(0x10000, 0x10003, 0x10007, 3, 0x10008),
  addresses: fc.array(word, { minLength: 5, maxLength: 5 }),
  near: fc.boolean(),
  after: fc.nat(9000),
}).map(({ offset, flags, addresses, near, after }) => {
  const length = Math.min(offset + after, 16000);
  const view = new DataView(new ArrayBuffer(length));
  const base = 0x20_0000;
  const fields = near ? addresses.map((a) => base + (a & 0x3fff)) : addresses;
  if (near) fields[0] = fields[1] + offset;
  [0x1badb002, flags, -(0x1badb002 + flags), ...fields].forEach((n, i) => {
    if (offset + 4 * i + 4 <= length) view.setUint32(offset + 4 * i, n, true);
  });
  return new Uint8Array(view.buffer);
});

/** Files with a sound ELF header, and program and section headers of wild or nearly sane words. */
const invented = fc.record({
  wide: fc.boolean(),
  segments: fc.nat(6),
  sections: fc.nat(6),
  sane: fc.boolean(),
  words: fc.array(word, { minLength: 8, maxLength: 120 }),
  tail: fc.nat(3000),
}).map(({ wide, segments, sections, sane, words, tail }) => {
  const head = wide ? 64 : 52;
  const segmentSize = wide ? 56 : 32;
  const sectionSize = wide ? 64 : 40;
  const sectionsAt = head + segments * segmentSize;
  const view = new DataView(new ArrayBuffer(sectionsAt + sections * sectionSize + tail));
  for (let at = head, i = 0; at + 4 <= view.byteLength; at += 4, i++) {
    const value = words[i % words.length];
    // Small numbers make offsets and sizes that lie in the file, and types that mean something.
    view.setUint32(at, sane ? wide && i % 2 === 1 ? 0 : value % 700 : value, true);
  }
  for (let i = 0; i < segments; i++) view.setUint32(head + i * segmentSize, i % 4 === 3 ? 4 : 1, true);
  [0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1].forEach((byte, i) => view.setUint8(i, byte));
  view.setUint16(16, 2, true);
  view.setUint16(18, wide ? 62 : 3, true);
  view.setUint32(24, words[0], true);
  view.setUint32(wide ? 32 : 28, head, true);
  view.setUint32(wide ? 40 : 32, sectionsAt, true);
  [segmentSize, segments, sectionSize, sections, words[1] % 8].forEach((n, i) =>
    view.setUint16((wide ? 54 : 42) + 2 * i, n, true)
  );
  return new Uint8Array(view.buffer);
});

/** Any bytes at all. */
const random = fc.uint8Array({ maxLength: 2000 });

/**
 * Checks `runs` mutated images, as many invented multiboot kernels and ELF files, and as many random files.
 *
 * @throws {AssertionError} With the seed and the smallest counterexample.
 */
export function loadersHold({ runs, seed }: { runs: number; seed: number }): void {
  for (const images of [mutated, multiboot, invented, random]) {
    fc.assert(fc.property(images, fc.constantFrom(...PROTOCOLS), fc.nat(2), load), { numRuns: runs, seed });
  }
}

if (import.meta.main) {
  const [runs = 100_000, seed = Date.now() & 0x7fff_ffff] = Deno.args.map(Number);
  console.log(`loaders: ${runs} runs of each kind, seed ${seed}`);
  loadersHold({ runs, seed });
  console.log(`loaders: held, ${Math.round(Deno.memoryUsage().rss / 2 ** 20)} MiB resident`);
}
