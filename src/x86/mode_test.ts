import assert from "node:assert/strict";
import type { RegisterName, Registers, RegisterValues } from "../vm/registers.ts";
import { REGISTER_NAMES } from "../vm/registers.ts";
import * as mode from "./mode.ts";

function registers(values: RegisterValues): Registers {
  const all = Object.fromEntries(REGISTER_NAMES.map((n): [RegisterName, bigint] => [n, 0n]));
  return { ...all, ...values } as Registers;
}

const CODE16 = 0x9bn;
const CODE32 = 0xc09bn;
const CODE64 = 0xa09bn;

Deno.test("mode: every operating mode is told apart", () => {
  const rows: [RegisterValues, mode.CpuMode, number][] = [
    [{ cs_attributes: CODE16 }, "real", 16],
    [{ cs_attributes: CODE32 }, "real", 32], // between `mov cr0` and the far jump
    [{ cr0: 1n, cs_attributes: CODE16 }, "protected16", 16],
    [{ cr0: 1n, cs_attributes: CODE32 }, "protected32", 32],
    [{ cr0: 1n, rflags: 0x20002n, cs_attributes: 0xf3n }, "virtual-8086", 16],
    [{ cr0: 0x80000001n, efer: 0x500n, cs_attributes: CODE64 }, "long", 64],
    [{ cr0: 0x80000001n, efer: 0x500n, cs_attributes: CODE32 }, "compat32", 32],
    [{ cr0: 0x80000001n, efer: 0x500n, cs_attributes: CODE16 }, "compat16", 16],
  ];
  for (const [values, name, bits] of rows) {
    assert.equal(mode.cpuMode(registers(values)), name);
    assert.equal(mode.bitness(registers(values)), bits);
  }
});

Deno.test("mode: privilege level is SS.DPL, with CS.RPL where attributes are unknown", () => {
  assert.equal(mode.cpl(registers({ cs: 0xf003n })), 0);
  assert.equal(mode.cpl(registers({ cr0: 1n, rflags: 0x20000n })), 3);
  assert.equal(mode.cpl(registers({ cr0: 1n, cs: 0xf003n, ss_attributes: 0x93n })), 0);
  assert.equal(mode.cpl(registers({ cr0: 1n, cs: 0x33n, ss_attributes: 0xf3n })), 3);
  assert.equal(mode.cpl(registers({ cr0: 1n, cs: 0x33n })), 3);
});

Deno.test("mode: linear addresses at reset, in protected and in long mode", () => {
  const reset = registers({ cs_base: 0xffff0000n, rip: 0xfff0n, ss_base: 0x20n, rsp: 0x12345n });
  assert.equal(mode.linearRip(reset), 0xfffffff0n);
  assert.equal(mode.linearStack(reset), 0x2365n);
  const wrapping = registers({ cr0: 1n, cs_attributes: CODE32, ds_base: 0xffff_f000n });
  assert.equal(mode.linear(wrapping, "ds", 0x2000n), 0x1000n);
  const long = registers({
    cr0: 0x80000001n,
    efer: 0x500n,
    cs_attributes: CODE64,
    cs_base: 0x1000n,
    ds_base: 0x1000n,
    fs_base: 0xffff_8880_0000_0000n,
    rip: 0xffff_ffff_8000_0000n,
    rsp: 0xffff_c900_0000_0000n,
  });
  assert.equal(mode.linearRip(long), long.rip);
  assert.equal(mode.linearStack(long), long.rsp);
  assert.equal(mode.linear(long, "ds", 8n), 8n);
  assert.equal(mode.linear(long, "fs", 8n), 0xffff_8880_0000_0008n);
});

Deno.test("mode: paging modes and widths", () => {
  const rows: [RegisterValues, mode.PagingMode, number][] = [
    [{ cr4: 0x1020n, efer: 0x400n }, "none", 32],
    [{ cr0: 1n << 31n }, "32-bit", 32],
    [{ cr0: 1n << 31n, cr4: 0x20n }, "pae", 32],
    [{ cr0: 1n << 31n, cr4: 0x20n, efer: 0x500n }, "4-level", 48],
    [{ cr0: 1n << 31n, cr4: 0x1020n, efer: 0x500n }, "5-level", 57],
  ];
  for (const [values, name, bits] of rows) {
    assert.equal(mode.pagingMode(registers(values)), name);
    assert.equal(mode.linearAddressBits(name), bits);
  }
  assert.ok(mode.isCanonical(0x7fff_ffff_ffffn, 48));
  assert.ok(!mode.isCanonical(0x8000_0000_0000n, 48));
  assert.ok(mode.isCanonical(0xffff_8000_0000_0000n, 48));
  assert.ok(mode.isCanonical(0x8000_0000_0000n, 57));
});
