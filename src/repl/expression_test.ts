import assert from "node:assert/strict";
import fc from "fast-check";
import {
  addressOf,
  evaluateNow,
  ExpressionError,
  type Names,
  parseAssignment,
  parsePrefix,
  partOf,
  registerPart,
  type Request,
  type Value,
  withPart,
} from "./expression.ts";

const memory = new Uint8Array(0x10000).map((_, i) => i * 7 & 0xff);

const registers: Record<string, bigint> = {
  rax: 0xffff_ffff_ffff_ffffn,
  rbx: 0x1122_3344_5566_7788n,
  rip: 0xfff0n,
  rsp: 0x100n,
  rbp: 0x200n,
  cs: 0xf000n,
  ds: 0x40n,
  ss: 0x20n,
  es: 0x1n,
  rdi: 5n,
  cpl: 0n,
};

const names: Names = {
  register: (name) => registers[name] ?? 0n,
  linear: (segment, offset) => registers[segment] * 16n + offset,
  symbol: (name) => new Map([["start", 0x7c00n], ["a.b$1", 5n]]).get(name),
  variable: (name) => new Map([["1", 42n], ["", 43n], ["mine", 7n]]).get(name),
  word: 2,
};

function answer(request: Request): bigint {
  switch (request.kind) {
    case "memory": {
      let value = 0n;
      for (let i = request.bytes - 1; i >= 0; i--) {
        value = value << 8n | BigInt(memory[Number(request.address) + i]);
      }
      return request.space === "gpa" ? value ^ 1n : value;
    }
    case "msr":
      return BigInt(request.index) * 2n;
    case "segment-base":
      return BigInt(request.selector) * 16n;
  }
}

const work = (source: string): Value => evaluateNow(source, names, answer);
const number = (source: string): bigint => work(source).value;
const at = (source: string): bigint => addressOf(work(source), names).at;

Deno.test("numbers in every notation", () => {
  const cases: [string, bigint][] = [
    ["0x7c00", 0x7c00n],
    ["0X7C00", 0x7c00n],
    ["7c00h", 0x7c00n],
    ["0FFh", 0xffn],
    ["31744", 31744n],
    ["0b101", 5n],
    ["0o17", 15n],
    ["0", 0n],
    ["0x7c00n", 0x7c00n],
    ["0xffff_ffff", 0xffff_ffffn],
    ["64K", 65536n],
    ["2MiB", 2n << 20n],
    ["'A'", 65n],
  ];
  for (const [source, value] of cases) assert.equal(number(source), value, source);
});

Deno.test("operators bind as in C", () => {
  assert.equal(number("1 + 2 * 3"), 7n);
  assert.equal(number("(1 + 2) * 3"), 9n);
  assert.equal(number("10 - 3 - 2"), 5n);
  assert.equal(number("1 << 4 + 1"), 32n);
  assert.equal(number("0xff & ~0xf"), 0xf0n);
  assert.equal(number("5 & 3 == 3"), 1n);
  assert.equal(number("1 || 1 / 0"), 1n);
  assert.equal(number("0 && 1 / 0"), 0n);
  assert.equal(number("-7 / 2"), -3n);
  assert.equal(number("!0 + !5"), 1n);
  assert.equal(number("1 - 2 < 0"), 1n);
  assert.equal(number("$rax == -1"), 1n);
  assert.equal(number("$rax > 0"), 1n);
  assert.equal(number("(i64)$rax < 0"), 1n);
});

Deno.test("a choice binds least, to the right, and works out one side only", () => {
  assert.equal(number("1 ? 2 : 3"), 2n);
  assert.equal(number("$ax?10:20"), 10n, "digits before its colon are decimal");
  assert.equal(number("0 ? 10 : 1 ? 20 : 30"), 20n);
  assert.equal(number("1 ? 0 ? 1 : 2 : 3"), 2n);
  assert.equal(number("1 || 0 ? 5 : 6 + 1"), 5n);
  assert.equal(number("1 ? start : 1 / 0"), 0x7c00n);
  assert.equal(number("(0 ? 1 : 2) + 1"), 3n);
  assert.equal(at("1 ? (f000:fff0) : 0"), 0xffff0n, "in parentheses a colon is a segment's");
  assert.equal(at("f000:(1 ? 16 : 0)"), 0xf0010n);
  assert.throws(() => number("1 ? 2"), /A : is missing after the \?/);
  assert.throws(() => number("1 ? : 2"), ExpressionError);
  assert.throws(() => number("1 : 2 : 3"), ExpressionError);
  assert.throws(() => number(`${"1 ? ".repeat(300)}1${" : 0".repeat(300)}`), /nested too deeply/);
});

Deno.test("sizeof of types, registers and memory", () => {
  assert.equal(number("sizeof(int)"), 4n);
  assert.equal(number("sizeof (unsigned short)"), 2n);
  assert.equal(number("sizeof(u32*)"), 8n);
  assert.equal(number("sizeof $eax"), 4n);
  assert.equal(number("sizeof($ah)"), 1n);
  assert.equal(number("sizeof ((u16)$rax) + 1"), 3n);
  assert.equal(number("sizeof {u16}0x10000000"), 2n, "nothing is read");
  assert.equal(number("sizeof(1 + 1) * 2"), 16n);
  assert.throws(() => number("sizeof"), ExpressionError);
});

Deno.test("registers, their parts, and variables", () => {
  assert.equal(number("$rbx"), 0x1122_3344_5566_7788n);
  assert.equal(number("$EBX"), 0x5566_7788n);
  assert.equal(number("$bx"), 0x7788n);
  assert.equal(number("$bh"), 0x77n);
  assert.equal(number("$bl + 1"), 0x89n);
  assert.equal(number("ebx"), 0x5566_7788n, "a register's name works where no symbol has it");
  assert.equal(number("$pc"), 0xfff0n);
  assert.equal(number("$1 + $ + $mine"), 42n + 43n + 7n);
  assert.equal(number("msr(0x10)"), 0x20n);
  assert.equal(number("a.b$1"), 5n);
});

Deno.test("addresses get their segment's base", () => {
  assert.equal(at("$rip"), 0xffff0n);
  assert.equal(at("$rip + 2"), 0xffff2n);
  assert.equal(at("2 + $pc"), 0xffff2n);
  assert.equal(at("$sp"), 0x300n);
  assert.equal(at("f000:fff0"), 0xffff0n);
  assert.equal(at("0xf000:0xfff0"), 0xffff0n);
  assert.equal(at("0040:17"), 0x417n);
  assert.equal(at("$es:$di"), 0x15n);
  assert.equal(at("es:di"), 0x15n);
  assert.equal(at("ds:10"), 0x410n, "digits behind a colon are hexadecimal");
  assert.deepEqual(work("f000:fff0 + 1").segmented, { selector: 0xf000, offset: 0xfff1n });
  assert.equal(at("start+4"), 0x7c04n);
  assert.equal(addressOf(work("phys(0x1000)+8"), names).space, "gpa");
  assert.equal(at("0x10 - 0x20"), 0xffff_ffff_ffff_fff0n);
});

Deno.test("memory through pointers and types", () => {
  assert.equal(number("{u8}2"), 14n);
  assert.equal(number("*(u16*)2"), 14n | 21n << 8n);
  assert.equal(number("*2"), 14n | 21n << 8n, "without a type: the code's word");
  assert.equal(number("(i8){u8}0x20"), BigInt.asIntN(8, 0x20n * 7n));
  assert.equal(number("*(u8*)phys(2)"), 15n);
  assert.equal(number("{unsigned char}2"), 14n);
  assert.equal(number("*(unsigned int *)0 & 0xff00"), 7n << 8n);
  assert.equal(number("&*(u8*)0x44"), 0x44n);
  assert.equal(number("*(u8*)$sp"), BigInt(0x300 * 7 & 0xff));
});

Deno.test("targets of an assignment", () => {
  assert.deepEqual(work("$ah").place, { kind: "register", register: "rax", shift: 8, bits: 8 });
  const place = work("*(u16*)(start+2)").place;
  assert.deepEqual(place, {
    kind: "memory",
    address: 0x7c02n,
    space: "gva",
    type: { bytes: 2, signed: false },
  });
  assert.equal(parseAssignment("$rax = 1 == 1").target?.kind, "register");
  assert.equal(parseAssignment("$rax == 1").target, undefined);
  assert.throws(() => parseAssignment("5 = 1"), ExpressionError);
});

Deno.test("an expression may be followed by words", () => {
  const source = "start + 4 if $rax == 1";
  assert.equal(source.slice(parsePrefix(source).end), "if $rax == 1");
  const text = 'start, "text"';
  assert.equal(text.slice(parsePrefix(text).end), ', "text"');
  const closure = "start if (hit) => `${hit}` !== '#'";
  assert.equal(closure.slice(parsePrefix(closure).end), "if (hit) => `${hit}` !== '#'");
  assert.throws(() => parsePrefix('"text"'), /A text is no number/);
});

Deno.test("mistakes are shown with a caret", () => {
  const cases: [string, number][] = [
    ["1 +", 3],
    ["(1", 2],
    ["1 2", 2],
    ["0x", 0],
    ["1 + 7c00", 4],
    ["010", 0],
    ["#", 0],
    ["{what}4", 0],
    ["", 0],
    ["(".repeat(500), 100],
  ];
  for (const [source, place] of cases) {
    assert.throws(() => work(source), (error: unknown) => {
      assert(error instanceof ExpressionError, String(error));
      assert.equal(error.at, place, source);
      assert(error.message.endsWith(`${" ".repeat(place)}^`));
      return true;
    }, source);
  }
  assert.throws(() => work("nowhere"), /No symbol "nowhere"/);
  assert.throws(() => work("$nowhere"), /neither a register nor a variable/);
  assert.throws(() => work("1 / 0"), /zero/);
  assert.throws(() => work("0x12345:$di"), /./);
});

Deno.test("arithmetic agrees with BigInt, whatever the nesting", () => {
  type Tree = { text: string; value: bigint };
  const { tree } = fc.letrec<{ tree: Tree; leaf: Tree }>((tie) => ({
    leaf: fc.bigInt(0n, 0xffffn).map((n) => ({ text: `0x${n.toString(16)}`, value: n })),
    tree: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      tie("leaf"),
      fc.tuple(fc.constantFrom("+", "-", "&", "|", "^"), tie("tree"), tie("tree")).map(([op, l, r]) => ({
        text: `(${l.text} ${op} ${r.text})`,
        value: apply(op, l.value, r.value),
      })),
      tie("tree").map((t) => ({ text: `-${t.text}`, value: -t.value })),
      tie("tree").map((t) => ({ text: `~${t.text}`, value: ~t.value })),
    ),
  }));
  fc.assert(fc.property(tree, ({ text, value }) => assert.equal(number(text), value)), {
    seed: 7,
    numRuns: 2000,
  });
});

function apply(op: string, l: bigint, r: bigint): bigint {
  return op === "+" ? l + r : op === "-" ? l - r : op === "&" ? l & r : op === "|" ? l | r : l ^ r;
}

Deno.test("any text gives a value or an error of ours, never a crash", () => {
  const pieces = fc.constantFrom(
    "(",
    ")",
    "*",
    "{",
    "}",
    "u8",
    "$rax",
    ":",
    "0x",
    "1",
    "f000",
    "+",
    "<<",
    " ",
    "'",
    "phys(",
    "start",
    "=",
    "$",
  );
  const text = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.array(pieces, { maxLength: 30 }).map((p) => p.join("")),
  );
  fc.assert(
    fc.property(text, (source) => {
      try {
        const { value } = evaluateNow(source, names, () => 1n);
        assert(value >= -(1n << 63n) && value < 1n << 64n);
      } catch (error) {
        assert(
          (error as Error).name === "ExpressionError" || (error as Error).name === "InputError",
          `${source}: ${error}`,
        );
      }
    }),
    { seed: 11, numRuns: 3000 },
  );
});

Deno.test("writing a part of a register leaves the rest", () => {
  const part = fc.constantFrom("eax", "ax", "al", "ah", "rax", "r8d", "eflags").map((name) =>
    registerPart(name)!
  );
  const word = fc.bigInt(0n, (1n << 64n) - 1n);
  fc.assert(
    fc.property(part, word, word, (p, whole, value) => {
      const low = BigInt.asUintN(p.bits, value);
      const written = withPart(whole, p, low);
      assert.equal(partOf(written, p), low);
      assert.equal(withPart(written, p, partOf(whole, p)), whole);
    }),
    { seed: 3 },
  );
});
