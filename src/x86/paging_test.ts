import assert from "node:assert/strict";
import fc from "fast-check";
import { FaultError, InputError } from "../vm/errors.ts";
import {
  faultOf,
  type Mapped,
  type Mapping,
  mappings,
  type Translation,
  type Unmapped,
  walk,
} from "./paging.ts";

/** 64 KiB of guest memory that holds tables. */
class Memory {
  readonly bytes = new Uint8Array(0x10000);
  readonly view = new DataView(this.bytes.buffer);
  readonly read = (gpa: bigint, into: Uint8Array): void => {
    if (gpa + BigInt(into.length) > 0x10000n) throw new FaultError("outside", { address: gpa, space: "gpa" });
    into.set(this.bytes.subarray(Number(gpa), Number(gpa) + into.length));
  };
  set64(at: number, value: bigint): this {
    this.view.setBigUint64(at, value, true);
    return this;
  }
  set32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }
}

const PG = 1n << 31n | 1n;
const NONE = { cr0: 1n, cr3: 0n, cr4: 0n, efer: 0n };
const LEGACY = { cr0: PG, cr3: 0x1018n, cr4: 0n, efer: 0n };
const PAE = { cr0: PG, cr3: 0x1020n, cr4: 0x20n, efer: 0n };
const LONG = { cr0: PG, cr3: 0x1fffn, cr4: 0x20n, efer: 0xd00n }; // PCID bits in CR3 do not count
const LA57 = { ...LONG, cr4: 0x1020n };

function now(result: Translation | Promise<Translation>): Translation {
  assert.ok(!(result instanceof Promise), "a synchronous reader must give a synchronous answer");
  return result;
}

function mapped(result: Translation | Promise<Translation>): Mapped {
  const translation = now(result);
  assert.ok(translation.ok, translation.ok ? "" : translation.message);
  return translation;
}

function unmapped(result: Translation | Promise<Translation>): Unmapped {
  const translation = now(result);
  assert.ok(!translation.ok);
  return translation;
}

Deno.test("paging: without paging linear is physical, cut to 32 bits", () => {
  const memory = new Memory();
  const result = mapped(walk(NONE, 0x1_0000_7c00n, memory.read));
  assert.equal(result.gpa, 0x7c00n);
  assert.equal(result.pageSize, 2 ** 32);
  assert.deepEqual(result.steps, []);
});

Deno.test("paging: 32-bit, with 4 MiB pages only if CR4.PSE", () => {
  const memory = new Memory().set32(0x1000, 0x2067).set32(0x2000 + 4 * 5, 0x9025).set32(0x1004, 0x0080_60e7);
  const small = mapped(walk(LEGACY, 0x5123n, memory.read));
  assert.equal(small.gpa, 0x9123n);
  assert.equal(small.writable, false);
  assert.equal(small.user, true);
  assert.equal(small.dirty, false);
  assert.deepEqual(small.steps.map((s) => [s.level, s.entryAddress]), [["PDE", 0x1000n], ["PTE", 0x2014n]]);
  assert.deepEqual(small.steps[0].flags, ["P", "R/W", "U/S", "A", "D"].slice(0, 4));
  assert.equal(small.steps[1].pageSize, 4096);
  const large = mapped(walk({ ...LEGACY, cr4: 0x10n }, 0x40_1234n, memory.read));
  assert.equal(large.gpa, 0x3_0080_1234n); // PSE-36: bits 20..13 = 3 are address bits 39..32
  assert.equal(large.pageSize, 4 << 20);
  assert.ok(large.steps[0].flags.includes("PS"));
  // CR4.PSE = 0: bit 7 is ignored and the entry names a table at 0x806000, outside memory.
  assert.equal(unmapped(walk(LEGACY, 0x40_1234n, memory.read)).reason, "no-memory");
  memory.set32(0x1008, 0x0020_00e7);
  assert.equal(unmapped(walk({ ...LEGACY, cr4: 0x10n }, 0x80_0000n, memory.read)).reason, "reserved-bit");
});

Deno.test("paging: PAE reads PDPTEs without rights and 2 MiB pages", () => {
  const memory = new Memory().set64(0x1020 + 8, 0x2001n).set64(0x2000, 0xc00000e7n).set64(0x2008, 0x3007n)
    .set64(0x3000, 1n << 63n | 0x1_2345_6005n);
  const large = mapped(walk(PAE, 0x4000_1234n, memory.read));
  assert.equal(large.gpa, 0xc000_1234n);
  assert.equal(large.pageSize, 2 << 20);
  assert.equal(large.writable, true);
  assert.deepEqual(large.steps[0].flags, ["P"]);
  assert.equal(unmapped(walk(PAE, 0x4020_0000n, memory.read)).reason, "reserved-bit"); // XD without EFER.NXE
  const page = mapped(walk({ ...PAE, efer: 0x800n }, 0x4020_0fffn, memory.read));
  assert.equal(page.gpa, 0x1_2345_6fffn);
  assert.equal(page.noExecute, true);
  memory.set64(0x1020, 0x2003n);
  const bad = unmapped(walk(PAE, 0n, memory.read));
  assert.deepEqual([bad.reason, bad.level], ["reserved-bit", "PDPTE"]);
});

Deno.test("paging: 4-level, rights are those of all levels together", () => {
  const memory = new Memory().set64(0x1000 + 8 * 511, 0x2027n).set64(0x2000 + 8 * 510, 0x3023n)
    .set64(0x3000, 0x4021n).set64(0x4008, 1n << 63n | 0x0007_7777_5167n);
  const result = mapped(walk(LONG, 0xffff_ffff_8000_1abcn, memory.read));
  assert.equal(result.gpa, 0x7777_5abcn | 0x7_0000_0000n);
  assert.deepEqual([result.writable, result.user, result.noExecute], [false, false, true]);
  assert.deepEqual([result.accessed, result.dirty, result.global], [true, true, false]);
  assert.deepEqual(result.steps.map((s) => s.level), ["PML4E", "PDPTE", "PDE", "PTE"]);
  assert.deepEqual(result.steps[3].flags, ["P", "R/W", "U/S", "A", "D", "G", "XD"]);
  const fault = faultOf(unmapped(walk(LONG, 0xffff_ffff_8000_0000n, memory.read)));
  assert.equal(fault.level, "PTE");
  assert.equal(fault.address, 0xffff_ffff_8000_0000n);
  assert.match(fault.message, /PTE at 0x4000 is not present/);
});

Deno.test("paging: 1 GiB pages, reserved bits, canonical addresses", () => {
  const memory = new Memory().set64(0x1000, 0x2007n).set64(0x2008, 0x4000_00e7n).set64(0x2010, 0x4000_20e7n)
    .set64(0x1008, 0x2087n).set64(0x2018, 1n << 45n | 0x1007n);
  const large = mapped(walk(LONG, 0x4123_4567n, memory.read));
  assert.equal(large.gpa, 0x4123_4567n);
  assert.equal(large.pageSize, 1 << 30);
  assert.equal(unmapped(walk(LONG, 0x8000_0000n, memory.read)).reason, "reserved-bit");
  assert.equal(unmapped(walk(LONG, 1n << 39n, memory.read)).level, "PML4E"); // PS in a PML4E
  assert.equal(unmapped(walk(LONG, 0xc000_0000n, memory.read)).reason, "no-memory");
  const narrow = unmapped(walk(LONG, 0xc000_0000n, memory.read, { physicalBits: 40 }));
  assert.deepEqual([narrow.reason, narrow.level], ["reserved-bit", "PDPTE"]);
  const wild = unmapped(walk(LONG, 0x8000_0000_0000n, memory.read));
  assert.deepEqual([wild.reason, wild.level], ["non-canonical", undefined]);
});

Deno.test("paging: 5-level, and a reader that answers later", async () => {
  const memory = new Memory().set64(0x1000 + 8 * 256, 0x2003n).set64(0x2000, 0x3003n).set64(0x3000, 0xe3n);
  const address = 0xff00_0000_0000_0123n;
  const result = mapped(walk(LA57, address, memory.read));
  assert.deepEqual(result.steps.map((s) => s.level), ["PML5E", "PML4E", "PDPTE"]);
  const later = walk(LA57, address, (gpa, into) => Promise.resolve(memory.read(gpa, into)));
  assert.ok(later instanceof Promise);
  assert.equal((await later as Mapped).gpa, result.gpa);
  const fault = await walk({ ...LA57, cr3: 0x20000n }, address, (gpa, into) => {
    return new Promise((done) => done(memory.read(gpa, into)));
  });
  assert.equal((fault as Unmapped).reason, "no-memory");
  const boom = new Error("boom");
  assert.throws(() =>
    walk(LA57, address, () => {
      throw boom;
    }), boom);
});

async function all(list: AsyncIterable<Mapping>): Promise<Mapping[]> {
  return await Array.fromAsync(list);
}

Deno.test("paging: mappings are merged into ranges, as asked for", async () => {
  const memory = new Memory().set64(0x1000, 0x2007n).set64(0x2000, 0x3007n).set64(0x3000, 0x4007n)
    .set64(0x4000, 0x8003n).set64(0x4008, 0x9003n).set64(0x4010, 0xf003n).set64(0x4018, 0xa001n)
    .set64(0x1ff8, 0x5007n).set64(0x5ff0, 0x0000_0087n);
  const show = (m: Mapping) => [m.start, m.size, m.gpa];
  assert.deepEqual((await all(mappings(LONG, memory.read))).map(show), [
    [0n, 0x2000n, 0x8000n],
    [0x2000n, 0x1000n, 0xf000n],
    [0x3000n, 0x1000n, 0xa000n],
    [0xffff_ffff_8000_0000n, 1n << 30n, 0n],
  ]);
  const merged = await all(mappings(LONG, memory.read, { merge: "rights" }));
  assert.deepEqual(merged.map((m) => m.size), [0x3000n, 0x1000n, 1n << 30n]);
  assert.equal((await all(mappings(LONG, memory.read, { merge: "none", to: 0x3000n }))).length, 3);
  assert.equal((await all(mappings(NONE, memory.read))).length, 1);
});

Deno.test("paging: a table that maps itself 512 times comes to an end", async () => {
  const memory = new Memory();
  for (let i = 0; i < 512; i++) memory.set64(0x1000 + 8 * i, 0x1007n);
  const seen: Mapping[] = [];
  await assert.rejects(async () => {
    for await (const m of mappings(LONG, memory.read, { tables: 50, merge: "rights" })) seen.push(m);
  }, InputError);
  assert.equal(seen.length, 1);
});

Deno.test("paging: random tables never crash a walk, and it agrees with the listing", async () => {
  const registers = fc.constantFrom(
    LEGACY,
    { ...LEGACY, cr4: 0x10n },
    PAE,
    { ...PAE, efer: 0x800n },
    LONG,
    LA57,
  );
  await fc.assert(
    fc.asyncProperty(
      fc.infiniteStream(fc.nat(0xffff)),
      fc.bigInt(0n, (1n << 64n) - 1n),
      registers,
      async (words, address, r) => {
        const memory = new Memory();
        let i = 0;
        // Entries that mostly point back into the 64 KiB, so that walks get deep.
        for (const word of words) {
          if (i >= 0x10000) break;
          memory.view.setUint32(i, word, true);
          i += r.cr4 & 0x20n ? 8 : 4;
        }
        const result = now(walk(r, address, memory.read));
        if (!result.ok) return void assert.ok(result.steps.length <= 5);
        const linear = r.efer & 0x400n ? address : address & 0xffff_ffffn;
        const listed = await all(mappings(r, memory.read, { from: linear, to: linear + 1n, merge: "none" }));
        assert.equal(listed.length, 1);
        assert.equal(listed[0].gpa + linear - listed[0].start, result.gpa);
        assert.deepEqual(
          [listed[0].writable, listed[0].user, listed[0].noExecute],
          [result.writable, result.user, result.noExecute],
        );
      },
    ),
    { seed: 4, numRuns: 60 },
  );
});

Deno.test("entries of a paravirtual guest hold machine addresses: the walk asks where those are guest-physical", async () => {
  const MACHINE = 0x8000_0000n;
  const tables = new Map([[0x1000n, 0x2000n], [0x2000n, 0x3000n], [0x3000n, 0x4000n], [0x4000n, 0x5000n]]);
  const registers = {
    cr0: 1n << 31n | 1n,
    cr3: MACHINE + 0x1000n,
    cr4: 1n << 5n,
    efer: 1n << 10n,
    physicalOf: (machine: bigint) => machine - MACHINE,
  };
  const read = (gpa: bigint, into: Uint8Array) => {
    new DataView(into.buffer).setBigUint64(0, (tables.get(gpa) ?? 0n) + MACHINE | 3n, true);
  };
  const found = await walk(registers, 0x123n, read);
  assert.ok(found.ok);
  assert.equal(found.gpa, 0x5123n);
  assert.deepEqual(found.steps.map(({ entryAddress }) => entryAddress), [0x1000n, 0x2000n, 0x3000n, 0x4000n]);
  assert.equal(found.steps[0].value, MACHINE + 0x2003n);
  const rooted = await walk({ ...registers, cr3: 0n, root: 0x1000n }, 0x123n, read);
  assert.ok(rooted.ok);
  assert.equal(rooted.gpa, 0x5123n);
});
