import assert from "node:assert/strict";
import fc from "fast-check";
import { colorStyle, plainStyle } from "../ansi.ts";
import { branchHint } from "./disassembly.ts";
import { hexdump } from "./hexdump.ts";
import { extended, formatChar, formatFloat, formatNumber, formatString } from "./number.ts";
import { follow, stackLines } from "./stack.ts";
import { clip, grid, pad, size, table, visible, wrap } from "./text.ts";

Deno.test("numbers in gdb's formats", () => {
  const show = (
    value: bigint,
    letter: Parameters<typeof formatNumber>[1]["letter"],
    bits = 32,
    padded = false,
  ) => formatNumber(value, { letter, bits, padded });
  assert.equal(show(255n, "x"), "0xff");
  assert.equal(show(255n, "x", 16, true), "0x00ff");
  assert.equal(show(255n, "z"), "0x000000ff");
  assert.equal(show(-1n, "x", 16), "0xffff");
  assert.equal(show(0xffn, "d", 8), "-1");
  assert.equal(show(-1n, "u", 8), "255");
  assert.equal(show(8n, "o"), "010");
  assert.equal(show(0n, "o", 8, true), "0");
  assert.equal(show(5n, "t"), "101");
  assert.equal(show(5n, "t", 8, true), "00000101");
  assert.equal(formatNumber(16n, { letter: "a", bits: 64, symbol: () => "f+0x10" }), "0x10 <f+0x10>");
  assert.equal(formatChar(65), "65 'A'");
  assert.equal(formatChar(0xfa), "-6 '\\372'");
  assert.equal(formatChar(10), "10 '\\n'");
  assert.equal(formatString(new TextEncoder().encode('a"\\\n')), '"a\\"\\\\\\n"');
  assert(formatString(new Uint8Array(300).fill(65)).endsWith('"...'));
});

Deno.test("floating-point numbers of four widths", () => {
  assert.equal(formatFloat(0x3fc00000n, 32), "1.5");
  assert.equal(formatFloat(0x3ff8000000000000n, 64), "1.5");
  assert.equal(formatFloat(0x3e00n, 16), "1.5");
  assert.equal(formatFloat(0x7c00n, 16), "inf");
  assert.equal(formatFloat(0x3fffc000000000000000n, 80), "1.5");
  assert.equal(formatFloat(0xbfff8000000000000000n, 80), "-1");
  assert.equal(formatFloat(0x7fff8000000000000000n, 80), "inf");
  assert.equal(formatFloat(0x7fffc000000000000000n, 80), "nan");
  assert.equal(formatFloat(0n, 80), "0");
  assert.equal(formatFloat(0xff800000n, 32), "-inf");
});

Deno.test("a double survives being widened to 80 bits", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      if (value === 0 || Math.abs(value) < 2.3e-308) return;
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, value);
      const raw = view.getBigUint64(0);
      const exponent = (raw >> 52n & 0x7ffn) - 1023n + 16383n;
      const mantissa = 1n << 63n | (raw & (1n << 52n) - 1n) << 11n;
      assert.equal(extended((raw >> 63n) << 79n | exponent << 64n | mantissa), value);
    }),
    { seed: 5 },
  );
});

Deno.test("text is cut and laid out by what is seen", async () => {
  const style = await colorStyle();
  const red = style.error("abcdef");
  assert.equal(visible(red), 6);
  assert.equal(visible(clip(red, 4)), 4);
  assert.equal(clip("abc", 3), "abc");
  assert.equal(clip("abcd", 3), "ab…");
  assert(clip(red, 4).includes("\x1b["), "the colour is closed");
  assert.equal(pad("a", 3), "a  ");
  assert.equal(grid(["aa", "b", "c"], 6, 2), "aa  b\nc\n");
  assert.equal(grid(["aaaaaaaaaa"], 4), "aaaaaaaaaa\n");
  assert.equal(table([["a", "b"], ["ccc", "d"]]), "a    b\nccc  d\n");
  assert.deepEqual(wrap("one two three", 7), ["one two", "three"]);
  assert.equal(table([["x", "one two three four five"]], 20), "x  one two three\n   four five\n");
  assert.equal(size(65536), "64 KiB");
  assert.equal(size(1), "1 byte");
  assert.equal(size(65537n), "65537 bytes");
});

Deno.test("whatever the width, a cut line fits", async () => {
  const style = await colorStyle();
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "grapheme-ascii" })),
      fc.integer({ min: 1, max: 50 }),
      (words, width) => {
        const line = words.map((w, i) => (i % 2 ? style.changed(w) : w)).join(" ");
        assert(visible(clip(line, width)) <= width);
      },
    ),
    { seed: 9 },
  );
});

Deno.test("a hexdump fits its width and shows every byte", () => {
  const bytes = Uint8Array.from({ length: 21 }, (_, i) => 0x40 + i);
  for (const width of [40, 60, 80]) {
    const lines = hexdump(0x7c00n, bytes, plainStyle, width).trimEnd().split("\n");
    for (const line of lines) assert(line.length <= width, `${width}: ${line}`);
    const shown = lines.map((l) => l.slice(10, l.indexOf("|"))).join(" ").trim().split(/\s+/);
    assert.deepEqual(shown.map((h) => parseInt(h, 16)), [...bytes]);
    const columns = new Set(lines.map((l) => l.indexOf("|")));
    assert.equal(columns.size, 1, "the characters stand below each other");
  }
});

Deno.test("conditional jumps are foretold from the flags", () => {
  const flags = (rflags: bigint, rcx = 1n) => ({ rflags, rcx });
  const ZF = 0x40n, CF = 1n, SF = 0x80n, OF = 0x800n;
  assert.equal(branchHint("je 0x10", flags(ZF)), "taken");
  assert.equal(branchHint("jne 0x10", flags(ZF)), "not taken");
  assert.equal(branchHint("ja 0x10", flags(0n)), "taken");
  assert.equal(branchHint("ja 0x10", flags(CF)), "not taken");
  assert.equal(branchHint("jl 0x10", flags(SF)), "taken");
  assert.equal(branchHint("jl 0x10", flags(SF | OF)), "not taken");
  assert.equal(branchHint("jg 0x10", flags(ZF)), "not taken");
  assert.equal(branchHint("jecxz 0x10", flags(0n, 0x1_0000_0000n)), "taken");
  assert.equal(branchHint("jrcxz 0x10", flags(0n, 0x1_0000_0000n)), "not taken");
  assert.equal(branchHint("jmp 0x10", flags(0n)), undefined);
  assert.equal(branchHint("mov eax, 1", flags(0n)), undefined);
});

Deno.test("pointers are followed to an end, also in circles", async () => {
  const words = new Map([[0x10000n, 0x20000n], [0x20000n, 0x10000n], [0x30000n, 5n], [0x40000n, 0x30000n]]);
  const read = (at: bigint) => Promise.resolve(words.get(at));
  const none = () => undefined;
  assert.deepEqual((await follow(0x10000n, read, none, 0x1000n)).map((c) => c.value), [0x20000n, 0x10000n]);
  assert.deepEqual((await follow(0x40000n, read, none, 0x1000n)).map((c) => c.value), [0x30000n, 5n]);
  assert.deepEqual(await follow(5n, read, none, 0x1000n), []);
  const endless = (at: bigint) => Promise.resolve(at + 8n);
  assert.equal((await follow(0x10000n, endless, none, 0x1000n)).length, 4);
});

Deno.test("stack lines name what they point to, and show text", () => {
  const slot = {
    offset: 0,
    address: 0x100n,
    value: 0x2000n,
    chain: [{ value: 0x6f6c6c6568n }],
    symbol: "buf",
    registers: ["rsp"],
  };
  assert.equal(
    stackLines([slot], 16, plainStyle, 100),
    '0x0100 +00  rsp  0x0000000000002000 <buf> -> 0x6f6c6c6568 "hello"\n',
  );
  assert.equal(stackLines([slot], 16, plainStyle, 20), "0x0100 +00  rsp  0x…\n");
});
