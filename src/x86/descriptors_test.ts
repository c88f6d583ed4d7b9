import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../vm/errors.ts";
import {
  decodeDescriptor,
  descriptorTable,
  encodeDescriptor,
  encodeGate,
  type GateDescriptor,
  interruptTable,
  type SegmentDescriptor,
} from "./descriptors.ts";

function bytes(...quads: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(quads).buffer);
}

Deno.test("descriptors: flat code and data, a 16-bit segment, a null entry", () => {
  const code = decodeDescriptor(bytes(0x00cf9b000000ffffn), 0, false) as SegmentDescriptor;
  assert.deepEqual(
    [code.kind, code.base, code.limit, code.attributes, code.type],
    ["code", 0n, 0xffff_ffffn, 0xc09bn, "code RX A"],
  );
  const data = decodeDescriptor(bytes(0x0000_f334_5678_ffffn), 0, false);
  assert.deepEqual([data.kind, data.type, data.dpl], ["data", "data RW A", 3]);
  const small = decodeDescriptor(bytes(0x12009a345678abcdn), 0, false) as SegmentDescriptor;
  assert.deepEqual([small.base, small.limit, small.dpl], [0x12345678n, 0xabcdn, 0]);
  assert.equal(decodeDescriptor(bytes(0n), 0, true).kind, "null");
});

Deno.test("descriptors: a TSS takes 16 bytes in IA-32e mode", () => {
  const table = bytes(0n, 0x80008b_7f0000_2067n, 0xffff_ff01n, 0x00af9b000000ffffn);
  const entries = [...descriptorTable(table, true)];
  assert.deepEqual(entries.map((e) => [e.index, e.descriptor.kind]), [[0, "null"], [8, "tss"], [24, "code"]]);
  const tss = entries[1].descriptor as SegmentDescriptor;
  assert.equal(tss.base, 0xffff_ff01_807f_0000n);
  assert.equal(tss.type, "tss busy");
  assert.deepEqual([...descriptorTable(table, false)].map((e) => e.index), [0, 8, 16, 24]);
  assert.deepEqual([...descriptorTable(table.subarray(0, 16), true)].map((e) => e.index), [0]);
});

Deno.test("descriptors: gates of every width", () => {
  const long = encodeGate(
    { kind: "interrupt-gate", selector: 0x10, offset: 0xffff_ffff_8123_4567n, ist: 3 },
    true,
  );
  const gate = decodeDescriptor(long, 0, true) as GateDescriptor;
  assert.deepEqual(
    [gate.kind, gate.selector, gate.offset, gate.ist, gate.present, gate.attributes],
    ["interrupt-gate", 0x10, 0xffff_ffff_8123_4567n, 3, true, 0x8en],
  );
  const trap = encodeGate({ kind: "trap-gate", selector: 8, offset: 0x8123_4567n, dpl: 3 });
  assert.deepEqual([...trap], [0x67, 0x45, 8, 0, 0, 0xef, 0x23, 0x81]);
  const call16 = decodeDescriptor(bytes(0x0000_e403_0008_1234n), 0, false) as GateDescriptor;
  assert.deepEqual([call16.kind, call16.offset, call16.parameters, call16.dpl], ["call-gate", 0x1234n, 3, 3]);
  assert.equal(decodeDescriptor(bytes(0x0000_e403_0008_1234n), 0, true).kind, "reserved");
  assert.equal([...interruptTable(new Uint8Array(0x1008), true)].length, 256);
  assert.throws(() => encodeGate({ kind: "task-gate", selector: 0x28, offset: 0n }, true), RangeError);
  assert.throws(() => encodeGate({ kind: "call-gate", selector: 8, offset: 1n << 32n }), RangeError);
});

Deno.test("descriptors: encoding is the inverse of decoding", () => {
  const segment = fc.record({
    base: fc.bigInt(0n, 0xffff_ffffn),
    limit: fc.bigInt(0n, 0xfffffn),
    attributes: fc.nat(0xffff).map((n) => BigInt((n & 0xf0ff) | 0x10)),
  });
  fc.assert(
    fc.property(segment, ({ base, limit, attributes }) => {
      const scaled = attributes & 0x8000n ? limit << 12n | 0xfffn : limit;
      const back = decodeDescriptor(encodeDescriptor({ base, limit: scaled, attributes }), 0, false);
      assert.ok(back.kind === "code" || back.kind === "data");
      assert.deepEqual([back.base, back.limit, back.attributes], [base, scaled, attributes]);
    }),
    { seed: 6 },
  );
  const tss = { base: 0xffff_8000_0000_1000n, limit: 0x67n, attributes: 0x8bn };
  const back = decodeDescriptor(encodeDescriptor(tss, true), 0, true) as SegmentDescriptor;
  assert.deepEqual([back.base, back.limit, back.attributes], [tss.base, tss.limit, tss.attributes]);
});

Deno.test("descriptors: what can't be expressed or is cut off is refused", () => {
  assert.throws(() => encodeDescriptor({ base: 1n << 32n, limit: 0n, attributes: 0x93n }), RangeError);
  assert.throws(() => encodeDescriptor({ base: 0n, limit: 0x100000n, attributes: 0x93n }), RangeError);
  assert.throws(() => encodeDescriptor({ base: 0n, limit: 0x1000n, attributes: 0x8093n }), RangeError);
  assert.throws(() => decodeDescriptor(new Uint8Array(8), 4, false), InputError);
  assert.throws(() => decodeDescriptor(bytes(0x8b00_0000_0000n), 0, true), InputError);
});

Deno.test("descriptors: random tables are listed to their end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (table, long) => {
      const entries = [...descriptorTable(table, long)];
      assert.ok(entries.length <= table.length / 8);
    }),
    { seed: 7 },
  );
});
