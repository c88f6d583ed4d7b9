import assert from "node:assert/strict";
import { decodeBits } from "./register_bits.ts";

Deno.test("register bits: names of what is set, fields with their values, up to bit 31", () => {
  const bits = { top: 0x8000_0000, wide: 0x00ff_0000, pair: 0x06, low: 0x01 };
  assert.equal(decodeBits(0, bits), "");
  assert.equal(decodeBits(0x8012_0007, bits), "top wide=0x12 pair=3 low");
  assert.equal(decodeBits(0xffn, bits), "pair=3 low");
  assert.equal(decodeBits(-1, { all: 0xffff_ffff }), "all=0xffffffff");
});
