import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { FPU, registerBits, VECTOR } from "../vm/registers.ts";
import * as xsave from "./xsave.ts";

const NAMES = [...FPU, ...VECTOR];

Deno.test("xsave: initial components read as their reset values, whatever the bytes are", () => {
  const area = xsave.initialXsave();
  area.fill(0xaa, 32, 512);
  area.fill(0xaa, 576);
  assert.equal(xsave.get(area, "fcw"), 0x37fn);
  assert.equal(xsave.get(area, "ftw"), 0xffffn);
  assert.equal(xsave.get(area, "mxcsr"), 0x1f80n);
  for (const name of ["st0", "fsw", "fip", "xmm5", "ymm15"] as const) assert.equal(xsave.get(area, name), 0n);
});

Deno.test("xsave: offsets and XSTATE_BV are those of the SDM", () => {
  const area = xsave.initialXsave();
  xsave.set(area, "xmm1", 0x0102030405060708090a0b0c0d0e0f10n);
  assert.equal(area[512], 2);
  assert.equal(area[176], 0x10);
  assert.equal(area[191], 0x01);
  xsave.set(area, "ymm2", 1n << 255n);
  assert.equal(area[512], 6);
  assert.equal(area[576 + 2 * 16 + 15], 0x80);
  xsave.set(area, "st7", 0x3fff8000000000000000n);
  assert.equal(area[512], 7);
  assert.deepEqual([...area.subarray(144, 154)], [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
  assert.equal(area[0] | area[1] << 8, 0x37f);
});

Deno.test("xsave: a ymm register with a zero upper half leaves AVX initial", () => {
  const area = xsave.initialXsave();
  xsave.set(area, "ymm0", 5n);
  assert.equal(area[512], 2);
  assert.equal(xsave.get(area, "ymm0"), 5n);
});

Deno.test("xsave: the full tag word follows TOP and the contents", () => {
  const area = xsave.initialXsave();
  xsave.set(area, "fsw", 0x3000n); // TOP = 6: ST0 is physical register 6, ST1 is 7, ST2 is 0
  xsave.set(area, "ftw", 0x0ffcn); // 6, 7 and 0 in use
  assert.equal(area[4], 0b1100_0001);
  xsave.set(area, "st0", 0x3fff8000000000000000n); // 1.0: valid
  xsave.set(area, "st1", 0n); // zero
  xsave.set(area, "st2", 0x7fff8000000000000000n); // infinity: special
  assert.equal(xsave.get(area, "ftw"), 0b01_00_11_11_11_11_11_10n);
});

Deno.test("xsave: what is set is read back, and no other register moves", () => {
  const register = fc.constantFrom(...NAMES).chain((name) =>
    fc.tuple(fc.constant(name), fc.bigInt(0n, (1n << BigInt(registerBits(name))) - 1n))
  );
  fc.assert(
    fc.property(fc.array(register, { maxLength: 20 }), ([...writes]) => {
      const area = xsave.initialXsave();
      const model = new Map<string, bigint>();
      for (const [name, value] of writes) {
        xsave.set(area, name, value);
        if (name === "ftw") continue;
        model.set(name, value);
        const other = name.slice(3);
        if (name.startsWith("ymm")) model.set(`xmm${other}`, value & (1n << 128n) - 1n);
        if (name.startsWith("xmm")) {
          const wide = `ymm${other}`;
          if (model.has(wide)) model.set(wide, (model.get(wide)! >> 128n << 128n) | value);
        }
      }
      for (const name of NAMES) {
        if (model.has(name)) assert.equal(xsave.get(area, name), model.get(name), name);
      }
    }),
    { seed: 13, numRuns: 300 },
  );
});

Deno.test("xsave: refuses short and compacted areas, wide values and AVX without room", () => {
  assert.throws(() => xsave.get(new Uint8Array(512), "xmm0"), InputError);
  const compacted = xsave.initialXsave();
  compacted[527] = 0x80;
  assert.throws(() => xsave.get(compacted, "xmm0"), InputError);
  assert.throws(() => xsave.set(xsave.initialXsave(), "fcw", 0x10000n), RangeError);
  assert.throws(() => xsave.set(xsave.initialXsave(), "mxcsr", -1n), RangeError);
  assert.throws(() => xsave.get(xsave.initialXsave(576), "ymm0"), UnsupportedError);
});
