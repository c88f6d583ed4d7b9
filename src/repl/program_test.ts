import assert from "node:assert/strict";
import { parse } from "npm:acorn@8.19.0";
import { program } from "./program.ts";

/** Calls the function in a scope where its names are declared; gives its value and theirs. */
async function run(source: string): Promise<[unknown, Record<string, unknown>]> {
  const { names, code } = program(source, parse);
  const declared = names.map((name) => `let ${name} = "before";`).join("");
  const scope = new Function(
    `${declared} return { call: ${code}, names: () => ({ ${names.join(", ")} }) };`,
  )() as { call(): unknown; names(): Record<string, unknown> };
  const value = await scope.call();
  return [value, scope.names()];
}

Deno.test("program: the value is that of the last statement, if it is an expression", async () => {
  const cases: [string, unknown][] = [
    ["1 + 1", 2],
    ["1; 2;", 2],
    ["({ a: 1 }).a // done", 1],
    ["(1, 2)", 2],
    ["let x = 5", undefined],
    ["if (true) 5", undefined],
    ["", undefined],
    ["'use strict'", "use strict"],
    ["await Promise.resolve(7)", 7],
    ["x\n\n/* c */", undefined],
  ];
  Reflect.set(globalThis, "x", undefined);
  for (const [source, value] of cases) assert.equal((await run(source))[0], value, source);
  Reflect.deleteProperty(globalThis, "x");
});

Deno.test("program: every declaration becomes a name with its value", async () => {
  const cases: [string, Record<string, unknown>][] = [
    ["const a = 1, b = a + 1", { a: 1, b: 2 }],
    ["let a", { a: undefined }],
    ["var a", { a: "before" }],
    ["let a = 1\nconst b = 2\n;[a, b] = [b, a]", { a: 2, b: 1 }],
    ["const { a, b: { c = 5 }, ...d } = { a: 1, b: {}, e: 2 }", { a: 1, c: 5, d: { e: 2 } }],
    ["let [a, , b = 3, ...c] = [1, 2, undefined, 4]", { a: 1, b: 3, c: [4] }],
    ["for (var i = 0, n = 3; i < n; i++);", { i: 3, n: 3 }],
    ["for (var k in { q: 1 });", { k: "q" }],
    ["for (var o of [8]) { var deep = o }", { o: 8, deep: 8 }],
    ["for (let hidden of [1]) { const gone = hidden }", {}],
    ["if (1) { var a = 1; let b = 2 }", { a: 1 }],
    ["const a = await 5; for await (const x of [a]);", { a: 5 }],
    ["try { throw 5 } catch (e) { var caught = e }", { caught: 5 }],
    ["const f = () => { var inner = 1 }", {}],
  ];
  for (const [source, expected] of cases) {
    const [, { f: _f, ...names }] = await run(source);
    assert.deepEqual(names, expected, source);
  }
});

Deno.test("program: functions and classes keep their names and can be called", async () => {
  const [value, names] = await run(
    "function f(n) { return n ? n * f(n - 1) : 1 }\nclass C { get g() { return f(4) } }\nasync function* h() {}\nnew C().g",
  );
  assert.equal(value, 24);
  assert.deepEqual(Object.values(names).map((v) => (v as { name: string }).name), ["f", "C", "h"]);
  const [, { arrow }] = await run("const arrow = () => 1");
  assert.equal((arrow as { name: string }).name, "arrow");
});

Deno.test("program: only what awaits itself is asynchronous", () => {
  const isAsync = (source: string) => program(source, parse).code.startsWith("async");
  assert.deepEqual(
    [
      "await x",
      "for await (const a of b);",
      "f(async () => await x)",
      "class A { async m() { await 1 } }",
      "x",
      "`${await x}`",
    ]
      .map(isAsync),
    [true, true, false, false, false, true],
  );
});

Deno.test("program: lines stay where they were, for errors' sake", () => {
  const source = "const a = 1\nfunction f() {\n  return a\n}\nthrow new Error()";
  assert.equal(program(source, parse).code.split("\n").length, source.split("\n").length + 1);
});
