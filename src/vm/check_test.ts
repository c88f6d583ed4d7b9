import assert from "node:assert/strict";
import { elf, flat, gpa, gva, open } from "../dsl/mod.ts";
import { checkAddress } from "./check.ts";

Deno.test("check: an address is a bigint of 64 bits, with its space or without", () => {
  assert.equal(checkAddress(5n), 5n);
  assert.equal(checkAddress(gva(5n)), 5n);
  assert.equal(checkAddress((1n << 64n) - 1n), (1n << 64n) - 1n);
  for (const wrong of [5, "5", undefined, null, {}, -1n, 1n << 64n]) {
    assert.throws(() => checkAddress(wrong as bigint), { name: "InputError" });
  }
});

Deno.test("check: what makes no sense is refused in one sentence, wherever it is given", async () => {
  const code = Uint8Array.of(0x90, 0xeb, 0xfd);
  await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
  const any = <T>(value: unknown) => value as T;
  const calls: [() => Promise<unknown>, RegExp][] = [
    [() => vm.memory.read(any(0x1000), 1), /bigint, not the number 4096/],
    [() => vm.memory.write(1n << 64n, [1]), /64 bits/],
    [() => vm.vcpus[0].memory.read(-1n, 1), /64 bits/],
    [() => vm.breakpoints.add(any(0x1000)), /bigint, not the number 4096/],
    [() => vm.breakpoints.add(gva(0x1000n), any({ access: "foo" })), /access is one of .*"foo"/],
    [() => vm.breakpoints.add(gva(0x1000n), any({ kind: "soft" })), /kind is one of .*"soft"/],
    [() => vm.breakpoints.add(gva(0x1000n), any({ access: "write", size: 3 })), /size is one of .*3/],
    [() => vm.breakpoints.add(gva(0x1000n), any({ conditions: () => true })), /no option "conditions"/],
    [() => vm.breakpoints.add(gva(0x1000n), any({ condition: "x" })), /condition is a function/],
    [() => vm.breakpoints.add(gpa(0x1000n), any("once")), /object with options/],
    [() => vm.breakpoints.onAccess(any({ space: "io", start: 1 })), /space is one of/],
    [() => vm.breakpoints.onAccess(any({ space: "port", start: 1, direction: "in" })), /direction is one of/],
    [() => vm.breakpoints.onAccess(any({ space: "port", start: "x" })), /whole number/],
    [() => vm.runUntil(any(0x1001)), /bigint/],
    [() => vm.step(any({ counts: 5 })), /no option "counts"/],
    [() => vm.continue(any({ timeout: 5 })), /no option "timeout"/],
    [
      () => open(any({ backend: "fake", boot: elf(code, any({ commandline: "x" })) })),
      /no option "commandline"/,
    ],
    [() => open(any({ backend: "fake", boot: flat(code, any({ mode: "huge" })) })), /mode is one of/],
  ];
  for (const [call, said] of calls) {
    await assert.rejects(async () => await call(), (error: Error) => {
      assert.equal(error.name, "InputError", `${said}: ${error.stack}`);
      assert.match(error.message, said);
      return true;
    });
  }
});
