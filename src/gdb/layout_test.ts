import assert from "node:assert/strict";
import { PacketReader } from "../abi/rsp.ts";
import type { RegisterName, Registers } from "../vm/registers.ts";
import { REGISTER_NAMES, registerBits } from "../vm/registers.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { LAYOUT, numberOf, TARGET_XML } from "./layout.ts";
import {
  expeditedFrame,
  readRegister,
  readRegisters,
  REGISTERS_BYTES,
  writtenRegister,
  writtenRegisters,
} from "./registers.ts";
import { hexBytes, PacketError } from "./text.ts";

/** Each register holds another number, as wide as it is. */
const registers = Object.fromEntries(REGISTER_NAMES.map((name, i) => {
  const bits = BigInt(registerBits(name));
  let value = 0n;
  for (let byte = 0n; byte < bits / 8n; byte++) value |= (BigInt(i) * 7n + byte + 1n & 0xffn) << byte * 8n;
  return [name, value];
})) as Registers;
// A whole YMM register holds its XMM.
const consistent = {
  ...registers,
  ...Object.fromEntries(Array.from({ length: 16 }, (_, i) => {
    const whole = registers[`ymm${i}` as RegisterName];
    return [`xmm${i}`, whole & (1n << 128n) - 1n];
  })),
} as Registers;

Deno.test("the description names every register of the layout, once", () => {
  const named = [...TARGET_XML.matchAll(/<reg name="(\w+)" bitsize="(\d+)" type="\w+" regnum="(\d+)"/g)];
  assert.deepEqual(
    named.map(([, name, bits]) => [name, Number(bits)]),
    LAYOUT.map(({ name, bits }) => [name, bits]),
  );
  assert.deepEqual(named.map(([, , , number]) => Number(number)), LAYOUT.map((_, i) => i));
  assert.equal(new Set(LAYOUT.map(({ name }) => name)).size, LAYOUT.length);
  assert.equal(numberOf("rip"), 16);
});

Deno.test("registers are little-endian and lie beside each other", () => {
  const all = readRegisters(consistent);
  assert.equal(all.length, 2 * REGISTERS_BYTES);
  assert.equal(LAYOUT.map((_, i) => readRegister(consistent, i)).join(""), all);
  assert.equal(readRegister({ ...registers, rax: 0x1122_3344_5566_7788n }, 0), "8877665544332211");
  assert.equal(readRegister({ ...registers, fip: 0xaaaa_bbbb_cccc_ddddn }, numberOf("fioff")), "ddddcccc");
  assert.equal(readRegister({ ...registers, fip: 0xaaaa_bbbb_cccc_ddddn }, numberOf("fiseg")), "bbbb0000");
});

Deno.test("a stop reply is a packet of its own, with the registers that a client wants at once", () => {
  for (const values of [registers, { ...registers, rax: 0n, rip: 0xffff_ffff_ffff_ffffn, rflags: 2n }]) {
    const reader = new PacketReader({ limit: 4096, runLengths: false });
    const [event] = reader.feed(expeditedFrame("T05thread:1;", values));
    assert(event.kind === "packet", event.kind);
    const [, ...told] = new TextDecoder().decode(event.payload).split(/(?<=^T05thread:1;)|;/).filter(Boolean);
    assert.equal(told.length, 18);
    for (const pair of told) {
      const [number, digits] = pair.split(":");
      assert.equal(digits, readRegister(values, parseInt(number, 16)), number);
    }
  }
});

Deno.test("what is written without a change changes nothing; what is changed alone is written", () => {
  const all = hexBytes(readRegisters(consistent));
  assert.deepEqual(writtenRegisters(consistent, all), {});
  const changed = { ...consistent, rbx: 5n, cs: 0x10n, st3: 9n, mxcsr: 0x1f80n };
  assert.deepEqual(writtenRegisters(consistent, hexBytes(readRegisters(changed))), {
    rbx: 5n,
    cs: 0x10n,
    st3: 9n,
    mxcsr: 0x1f80n,
  });
  const vector = { ...consistent, xmm2: 1n, ymm2: 2n << 128n | 1n };
  assert.deepEqual(writtenRegisters(consistent, hexBytes(readRegisters(vector))), { ymm2: vector.ymm2 });
});

Deno.test("one register keeps the bits that gdb is not shown", () => {
  const rflags = 0x1_0000_0002n;
  assert.deepEqual(writtenRegister({ ...registers, rflags }, numberOf("eflags"), hexBytes("46020000")), {
    rflags: 0x1_0000_0246n,
  });
  const written = writtenRegister(registers, numberOf("ymm0h"), hexBytes("01" + "00".repeat(15)));
  assert.deepEqual(written, { ymm0: registers.ymm0 & (1n << 128n) - 1n | 1n << 128n });
  assert.throws(() => writtenRegister(registers, 0, hexBytes("00")), PacketError);
  assert.throws(() => writtenRegister(registers, 9999, hexBytes("00")), PacketError);
  assert.throws(() => writtenRegisters(registers, new Uint8Array(9)), PacketError);
});

Deno.test("a register that the host does not have is unavailable, and not written", () => {
  const without = Object.defineProperty({ ...consistent }, "ymm0", {
    get: () => {
      throw new UnsupportedError("ymm0", "no AVX");
    },
  });
  assert.equal(readRegister(without, numberOf("ymm0h")), "x".repeat(32));
  assert.deepEqual(writtenRegisters(without, new Uint8Array(hexBytes(readRegisters(consistent)))), {});
});
