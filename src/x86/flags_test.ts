import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../vm/errors.ts";
import { decodeFlags, encodeFlags, FLAG_TABLES, flagRow, type FlagTable, flagTableOf } from "./flags.ts";

const TABLES = Object.keys(FLAG_TABLES) as FlagTable[];

Deno.test("flags: rows of a table never share a bit, nor a name", () => {
  for (const table of TABLES) {
    const { rows, fixed } = FLAG_TABLES[table];
    let seen = fixed;
    for (const row of rows) {
      assert.equal(seen & row.mask, 0n, `${table}.${row.name}`);
      seen |= row.mask;
    }
    assert.equal(new Set(rows.map((r) => r.name)).size, rows.length, table);
  }
});

Deno.test("flags: well-known values", () => {
  assert.deepEqual(decodeFlags("rflags", 0x3246n), ["PF", "ZF", "IF", "IOPL=3"]);
  assert.deepEqual(decodeFlags("cr0", 0x60000010n), ["ET", "NW", "CD"]); // at reset
  assert.deepEqual(decodeFlags("efer", 0xd01n), ["SCE", "LME", "LMA", "NXE"]);
  assert.deepEqual(decodeFlags("dr6", 0xffff4ff1n), ["B0", "BS"]);
  assert.deepEqual(decodeFlags("dr7", 0x000d_0402n), ["G0", "R/W0=1", "LEN0=3"]);
  assert.deepEqual(decodeFlags("attributes", 0xa09bn), ["code RX A", "P", "L", "G"]);
  assert.deepEqual(decodeFlags("attributes", 0x8bn), ["tss busy", "P"]);
  assert.deepEqual(decodeFlags("attributes", 0xc0f3n), ["data RW A", "DPL=3", "P", "D/B", "G"]);
  assert.deepEqual(decodeFlags("pf-error", 7n), ["P", "W/R", "U/S"]);
  assert.deepEqual(decodeFlags("mxcsr", 0x1f80n), ["IM", "DM", "ZM", "OM", "UM", "PM"]);
  assert.deepEqual(decodeFlags("fsw", 0x3800n), ["TOP=7"]);
  assert.deepEqual(decodeFlags("apic_base", 0xfee00900n), ["BSP", "EN", "BASE=0xfee00000"]);
  assert.deepEqual(decodeFlags("cr0", 1n << 22n), ["bit22"]);
});

Deno.test("flags: names to values, whatever the case", () => {
  assert.equal(encodeFlags("rflags", ["if", "iopl=3"]), 0x3202n);
  assert.equal(encodeFlags("attributes", ["Code RX A", "P", "L", "G"]), 0xa09bn);
  assert.equal(encodeFlags("apic_base", ["EN", "base=0xfee00000"]), 0xfee00800n);
  for (const bad of ["XF", "IOPL=4", "IOPL", "IF=2", "bit64", ""]) {
    assert.throws(() => encodeFlags("rflags", [bad]), InputError, bad);
  }
});

Deno.test("flags: decoding and encoding are inverse", () => {
  fc.assert(
    fc.property(fc.constantFrom(...TABLES), fc.bigInt(0n, (1n << 64n) - 1n), (table, value) => {
      const whole = value | FLAG_TABLES[table].fixed;
      assert.equal(encodeFlags(table, decodeFlags(table, whole)), whole);
    }),
    { seed: 5, numRuns: 500 },
  );
});

Deno.test("flags: tables and rows are found by the names users type", () => {
  assert.equal(flagTableOf("gs_attributes"), "attributes");
  assert.equal(flagTableOf("eflags"), "rflags");
  assert.equal(flagTableOf("rax"), undefined);
  assert.equal(flagTableOf("toString"), undefined);
  assert.match(flagRow("rflags", "iopl=2")!.meaning, /privilege/);
});
