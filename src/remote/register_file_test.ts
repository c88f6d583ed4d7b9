import assert from "node:assert/strict";
import { RegisterFile } from "./register_file.ts";

const FILE = new RegisterFile({
  architecture: "i386:x86-64",
  registers: [
    { name: "rax", number: 0, size: 8, offset: 0 },
    { name: "eflags", number: 1, size: 4, offset: 8 },
    { name: "odd", number: 2, size: 6, offset: 12 },
    { name: "rbx", number: 3, size: 8, offset: 18 },
  ],
});
const answer = (text: string) => new TextEncoder().encode(text);

Deno.test("an answer to g: registers of any size, those that are not known, those that are left out", () => {
  const whole = answer("EFcdab8967452301" + "02xx00xx" + "0102030405ff");
  const values = FILE.read(whole);
  assert.equal(values.get("rax"), 0x0123456789abcdefn);
  assert.equal(values.get("rflags"), 2n);
  assert.equal(FILE.extra("odd", whole), 0xff0504030201n);
  assert.equal(values.get("rbx"), undefined);
  assert.equal(values.get("rcx"), undefined);
  assert.equal(FILE.read(whole, new Set(["rax"])).get("rax"), undefined);
});

Deno.test("an answer to g that is none is refused, at the latest where it is read", () => {
  for (const text of ["", "E01", "123"]) {
    assert.throws(() => FILE.read(answer(text)), /the stub's answer to g makes no sense/, text);
  }
  for (const text of ["E.not now, please", "zz00000000000000", "0g00000000000000", "+100000000000000"]) {
    assert.throws(() => FILE.read(answer(text.padEnd(36, "0"))).get("rax"), /makes no sense/, text);
  }
});
