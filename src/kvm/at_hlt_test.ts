import assert from "node:assert/strict";
import { FaultError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { standsAtHlt } from "./at_hlt.ts";

Deno.test("HLT is seen where it comes next, and nowhere else", () => {
  const ram = new Uint8Array(0x1000);
  ram[0x10f] = 0xf4;
  const memory = {
    read(at: bigint, into: Uint8Array) {
      if (at >= 0x1000n) throw new FaultError("none", { address: at, space: "gpa" });
      into.set(ram.subarray(Number(at), Number(at) + into.length));
    },
  };
  const at = (rip: bigint) =>
    ({
      rip,
      cs_base: 0n,
      cs_attributes: 0x9bn,
      cr0: 0x10n,
      cr3: 0n,
      cr4: 0n,
      efer: 0n,
    }) as unknown as Registers;
  assert.equal(standsAtHlt(at(0x10fn), memory), true);
  assert.equal(standsAtHlt(at(0x110n), memory), false);
  assert.equal(standsAtHlt(at(0x2000n), memory), false);
});
