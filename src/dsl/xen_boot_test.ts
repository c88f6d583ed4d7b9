import assert from "node:assert/strict";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { elf, flat } from "./boot.ts";
import { xenBoot } from "./xen_boot.ts";

const MEMORY = 64 << 20;
const fixture = (name: string) => Deno.readFileSync(new URL(`../../fixtures/${name}.bin`, import.meta.url));

Deno.test("what makes no PV kernel is refused before a domain is made for it", async () => {
  await assert.rejects(xenBoot("pv", elf(new Uint8Array(0)), MEMORY), InputError);
  await assert.rejects(xenBoot("pv", elf(fixture("boot_sector")), MEMORY), InputError);
  await assert.rejects(xenBoot("pv", elf(fixture("elf64")), MEMORY), (error: Error) => {
    assert.ok(error instanceof UnsupportedError);
    assert.match(error.message, /no notes of Xen's/);
    assert.match(error.remedy ?? "", /xen-pvh/);
    return true;
  });
  await assert.rejects(xenBoot("pv", flat(Uint8Array.of(0xf4)), MEMORY), UnsupportedError);
  await assert.rejects(xenBoot("pv", undefined, MEMORY), UnsupportedError);
});

Deno.test("a kernel is handed to Xen's toolstack where its notes are for it, and else loaded by hvsh", async () => {
  const kernel = fixture("three_ways");
  assert.deepEqual((await xenBoot("pv", elf(kernel), MEMORY)).kernel?.image, kernel);
  assert.deepEqual((await xenBoot("pvh", elf(kernel), MEMORY)).kernel?.image, kernel);
  assert.equal((await xenBoot("pvh", elf(fixture("elf64")), MEMORY)).kernel, undefined);
});
