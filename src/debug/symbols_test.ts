import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../vm/errors.ts";
import { Symbols } from "./symbols.ts";

function fixture(name: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL(`../../fixtures/${name}.bin`, import.meta.url));
}

const MAP = `ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000040 t secondary_startup
0000000000000000 A fixed_percpu_data
ffffffff81200000 D jiffies
ffffffffc0000000 t module_init\t[e1000]
                 U nowhere
`;

Deno.test("symbols: ELF tables of both classes", () => {
  const symbols = new Symbols();
  assert.ok(symbols.add("elf64", fixture("elf64")).count >= 6);
  assert.equal(symbols.lookup("_start"), 0x200000n);
  const middle = symbols.symbol("middle")!;
  assert.deepEqual([middle.kind, middle.size > 0n], ["function", true]);
  assert.deepEqual(symbols.nearest(middle.address + 5n)?.name, "middle");
  assert.equal(symbols.format(middle.address + 5n), "middle+0x5");
  assert.equal(symbols.format(middle.address), "middle");
  assert.equal(symbols.symbol("total")!.kind, "object");
  symbols.add("multiboot", fixture("multiboot"));
  assert.equal(symbols.nearest(symbols.lookup("report")! + 1n)!.table, "multiboot");
  assert.deepEqual(symbols.list().map((t) => t.name), ["multiboot", "elf64"]);
  assert.ok(symbols.remove("multiboot"));
  assert.ok(!symbols.remove("multiboot"));
});

Deno.test("symbols: nothing is named far behind the last symbol, nor in a gap behind a sized one", () => {
  const symbols = new Symbols();
  symbols.add("elf64", fixture("elf64"));
  assert.equal(symbols.nearest(0x1fffffn), undefined);
  assert.equal(symbols.nearest(0x300000n), undefined);
  symbols.add("map", "1000 00000010 T sized\n2000 T unsized\n");
  assert.equal(symbols.nearest(0x100fn)?.name, "sized");
  assert.equal(symbols.nearest(0x1010n), undefined);
  assert.equal(symbols.nearest(0x11fffn)?.name, "unsized");
  assert.equal(symbols.nearest(0x12000n), undefined);
});

Deno.test("symbols: a label inside a function hides it only up to the label's own end", () => {
  const symbols = new Symbols();
  symbols.add("map", "1000 00000100 T outer\n1010 00000004 t inner\n");
  assert.equal(symbols.format(0x1012n), "inner+0x2");
  assert.equal(symbols.format(0x1020n), "outer+0x20");
});

Deno.test("symbols: System.map, kallsyms and nm", () => {
  const symbols = new Symbols();
  assert.equal(symbols.add("System.map", MAP).count, 6);
  assert.equal(symbols.lookup("module_init"), 0xffffffffc0000000n);
  assert.equal(symbols.format(0xffffffff81000044n), "secondary_startup+0x4");
  assert.equal(symbols.lookup("fixed_percpu_data"), 0n);
  assert.equal(symbols.nearest(8n), undefined); // absolute symbols name no addresses
  assert.equal(symbols.lookup("nowhere"), undefined);
  symbols.add("bytes", new TextEncoder().encode("00007c00 boot\n"));
  assert.equal(symbols.lookup("boot"), 0x7c00n);
});

Deno.test("symbols: bias, replacing, completion, search", () => {
  const symbols = new Symbols();
  symbols.add("System.map", MAP, { bias: 0x1000_0000n });
  assert.equal(symbols.lookup("jiffies"), 0xffffffff91200000n);
  symbols.add("System.map", MAP, { bias: -0x8100_0000n });
  assert.equal(symbols.list().length, 1);
  assert.equal(symbols.lookup("_text"), 0xffffffff00000000n);
  assert.deepEqual(symbols.complete("s"), ["secondary_startup", "startup_64"]);
  assert.deepEqual(symbols.complete("", 2), ["_text", "fixed_percpu_data"]);
  assert.deepEqual(symbols.complete("zz"), []);
  assert.deepEqual(symbols.search("startup").map((s) => s.name), ["secondary_startup", "startup_64"]);
});

Deno.test("symbols: the newest table and the best symbol win", () => {
  const symbols = new Symbols();
  symbols.add("a", "1000 t main\n2000 T main\n");
  assert.equal(symbols.lookup("main"), 0x2000n);
  symbols.add("b", "3000 t main\n");
  assert.equal(symbols.lookup("main"), 0x3000n);
  symbols.add("c", "5000 ? label\n5000 T function\n");
  assert.equal(symbols.format(0x5000n), "function");
});

Deno.test("symbols: files without symbols and malformed ones are refused", () => {
  const symbols = new Symbols();
  assert.throws(() => symbols.add("x", "hello\nworld\n"), InputError);
  assert.throws(() => symbols.add("x", new Uint8Array()), InputError);
  assert.throws(() => symbols.add("x", fixture("elf64").slice(0, 200)), InputError);
  const relocatable = fixture("elf64");
  relocatable[16] = 1;
  assert.throws(() => symbols.add("x", relocatable), /relocatable/);
  assert.deepEqual(symbols.list(), []);
});

Deno.test("symbols: names have nothing in them that a terminal obeys", () => {
  const elf = fixture("elf64");
  const at = new TextDecoder("latin1").decode(elf).indexOf("middle\0");
  elf.set(new TextEncoder().encode("\x1b[2J\n\x07"), at);
  const symbols = new Symbols();
  symbols.add("x", elf);
  const { name, address } = symbols.search("x1b")[0];
  assert.equal(name, "\\x1b[2J\\x0a\\x07");
  assert.equal(symbols.format(address + 1n), `${name}+0x1`);
});

Deno.test("symbols: hostile files neither crash nor grow without bound", () => {
  const elf = fixture("elf64");
  const patch = fc.tuple(fc.nat(elf.length - 1), fc.nat(255));
  fc.assert(
    fc.property(
      fc.array(patch, { minLength: 1, maxLength: 40 }),
      fc.bigInt(0n, (1n << 64n) - 1n),
      ([...patches], at) => {
        const bytes = elf.slice();
        for (const [offset, value] of patches) bytes[offset] = value;
        const symbols = new Symbols();
        try {
          symbols.add("x", bytes);
        } catch (error) {
          assert.ok(error instanceof InputError, String(error));
          return;
        }
        symbols.nearest(at);
        assert.ok(symbols.complete("").length <= 100);
      },
    ),
    { seed: 10, numRuns: 300 },
  );
});
