import assert from "node:assert/strict";
import { InputError } from "../vm/errors.ts";
import { lapicRegisterName, lapicRegisters, lapicVectors } from "./apic.ts";
import { cpuidSummary } from "./cpuid.ts";
import { describeErrorCode, exceptionName, EXCEPTIONS, exceptionVector, hasErrorCode } from "./exceptions.ts";
import { msrName, msrNames, msrNumber } from "./msr.ts";

Deno.test("exceptions: names, vectors and error codes", () => {
  assert.equal(exceptionName(14), "#PF");
  assert.equal(exceptionName(15), undefined);
  assert.equal(exceptionName(32), undefined);
  assert.equal(exceptionVector("gp"), 13);
  assert.equal(exceptionVector("#xm"), 19);
  assert.deepEqual(EXCEPTIONS.filter((e) => hasErrorCode(e.vector)).map((e) => e.vector), [
    ...[8, 10, 11, 12, 13, 14, 17, 21, 29, 30],
  ]);
  assert.equal(describeErrorCode(14, 2), "not present, write, supervisor");
  assert.equal(describeErrorCode(14, 0x15), "protection, fetch, user");
  assert.equal(describeErrorCode(14, 9), "reserved bit, read, supervisor");
  assert.equal(describeErrorCode(13, 0x10), "selector 0x10 in GDT");
  assert.equal(describeErrorCode(13, 0x80 * 8 + 3), "vector 0x80 in IDT, during an external event");
  assert.equal(describeErrorCode(13, 0), "");
  assert.equal(describeErrorCode(21, 3), "ENDBRANCH");
});

Deno.test("msr: names and numbers are inverse, whatever the spelling", () => {
  for (const name of msrNames()) {
    const index = msrNumber(name);
    assert.ok(index !== undefined, name);
    assert.equal(msrName(index), name);
  }
  assert.equal(new Set(msrNames()).size, msrNames().length);
  assert.equal(msrNumber("ia32_efer"), 0xc0000080);
  assert.equal(msrNumber("LSTAR"), 0xc0000082);
  assert.equal(msrNumber("tsc"), 0x10);
  assert.equal(msrNumber("MSR_K7_HWCR"), 0xc0010015);
  assert.equal(msrNumber("nonsense"), undefined);
  assert.equal(msrNumber("constructor"), undefined);
  assert.equal(msrName(0x203), "IA32_MTRR_PHYSMASK1");
  assert.equal(msrName(0x26f), "IA32_MTRR_FIX4K_F8000");
  assert.equal(msrName(0x830), "X2APIC_300");
  assert.equal(msrName(0x12345), undefined);
});

Deno.test("apic: registers in words and bitmaps of vectors", () => {
  const page = new Uint8Array(1024);
  const view = new DataView(page.buffer);
  view.setUint32(0x20, 3 << 24, true);
  view.setUint32(0xf0, 0x1ff, true);
  view.setUint32(0x320, 0x200ec, true);
  view.setUint32(0x350, 0x10700, true);
  view.setUint32(0x3e0, 0b1011, true);
  view.setUint32(0x200 + 16, 1 << 4, true);
  view.setUint32(0x200 + 7 * 16, 1 << 31, true);
  const registers = lapicRegisters(page);
  const text = (name: string) => registers.find((r) => r.name === name)!.text;
  assert.equal(text("ID"), "APIC id 3");
  assert.equal(text("SVR"), "vector 0xff, enabled");
  assert.equal(text("LVT_TIMER"), "vector 0xec, periodic");
  assert.equal(text("LVT_LINT0"), "vector 0x00, ExtINT, masked");
  assert.equal(text("TIMER_DIVIDE"), "by 1");
  assert.equal(text("IRR"), "0x24 0xff");
  assert.deepEqual(lapicVectors(page, 0x200), [0x24, 0xff]);
  assert.equal(lapicRegisterName(0x210), "IRR1");
  assert.equal(lapicRegisterName(0xb0), "EOI");
  assert.equal(lapicRegisterName(0x24), undefined);
  assert.throws(() => lapicRegisters(new Uint8Array(1000)), InputError);
});

Deno.test("cpuid: vendor, signature, widths and features", () => {
  const four = (text: string) => new DataView(new TextEncoder().encode(text).buffer).getUint32(0, true);
  const leaf = (number: number, eax = 0, ebx = 0, ecx = 0, edx = 0, index = 0) => ({
    function: number,
    index,
    eax,
    ebx,
    ecx,
    edx,
  });
  const summary = cpuidSummary([
    leaf(0, 0xd, four("Auth"), four("cAMD"), four("enti")),
    leaf(1, 0x00800f12, 0, 1 << 31 | 1 << 26, 1 << 6 | 1),
    leaf(7, 0, 1 << 7, 1 << 16),
    leaf(0x40000000, 0, four("KVMK"), four("VMKV"), four("M\0\0\0")),
    leaf(0x80000001, 0, 0, 4, 1 << 29 | 1 << 20 | 1 << 11),
    leaf(0x80000008, 0x3930),
  ]);
  assert.equal(summary.vendor, "AuthenticAMD");
  assert.deepEqual([summary.family, summary.model, summary.stepping], [0x17, 1, 2]);
  assert.deepEqual([summary.physicalBits, summary.linearBits], [48, 57]);
  assert.equal(summary.hypervisor, "KVMKVMKVM");
  assert.deepEqual(summary.features, [
    "fpu",
    "pae",
    "xsave",
    "hypervisor",
    "smep",
    "la57",
    "svm",
    "syscall",
    "nx",
    "lm",
  ]);
  const empty = cpuidSummary([]);
  assert.deepEqual([empty.vendor, empty.physicalBits, empty.brand], ["", 32, undefined]);
});
