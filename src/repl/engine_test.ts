import assert from "node:assert/strict";
import { Engine } from "./engine.ts";
import { ShellError } from "./error.ts";
import { rewriteImports } from "./imports.ts";

async function withEngine(body: (engine: Engine) => Promise<void>, limitMs = 2000): Promise<void> {
  const base = new URL("../../", import.meta.url);
  const engine = await Engine.open({
    base: () => base,
    library: new URL("vm/address.ts", new URL("../", import.meta.url)),
    limitMs: () => limitMs,
  });
  try {
    await body(engine);
  } finally {
    engine[Symbol.dispose]();
  }
}

Deno.test("engine: values come out as they are", () =>
  withEngine(async (engine) => {
    assert.equal(await engine.evaluate("1 + 1"), 2);
    assert.equal(await engine.evaluate("2n ** 64n"), 2n ** 64n);
    assert.equal(await engine.evaluate("-0"), -0);
    assert.equal(await engine.evaluate("undefined"), undefined);
    assert.equal(await engine.evaluate("null"), null);
    assert.deepEqual(await engine.evaluate("{ a: 1n }"), { a: 1n });
    const bytes = await engine.evaluate("globalThis.fixture = new Uint8Array([1, 2])");
    assert.ok(bytes instanceof Uint8Array);
    assert.equal(bytes, Reflect.get(globalThis, "fixture"));
    Reflect.deleteProperty(globalThis, "fixture");
    assert.equal((await engine.evaluate("Symbol('s')") as symbol).description, "s");
  }));

Deno.test("engine: declarations stay, and may be made again", () =>
  withEngine(async (engine) => {
    await engine.evaluate("const redeclared: number = 1");
    assert.equal(await engine.evaluate("redeclared"), 1);
    assert.equal(engine.hasVariable("redeclared"), true);
    assert.equal(engine.hasVariable("nothingOfThatName"), false);
    await engine.evaluate("const redeclared = 'two'");
    assert.equal(await engine.evaluate("redeclared"), "two");
    await engine.evaluate("enum Colour { Red, Green }");
    assert.equal(await engine.evaluate("Colour.Green"), 1);
    await engine.evaluate(
      "interface Shape { side: bigint }\nfunction area(s: Shape): bigint { return s.side * s.side }",
    );
    assert.equal(await engine.evaluate("area({ side: 3n })"), 9n);
  }));

Deno.test("engine: await works at the top", () =>
  withEngine(async (engine) => {
    assert.equal(await engine.evaluate("await Promise.resolve(7)"), 7);
    assert.equal(
      await engine.evaluate(
        "const waited = await new Promise<number>((r) => setTimeout(() => r(5), 1)); waited",
      ),
      5,
    );
    assert.equal(await engine.evaluate("Promise.resolve(1)"), 1, "a promise that is the value is awaited");
  }));

Deno.test("engine: imports, static and dynamic, relative to the base", () =>
  withEngine(async (engine) => {
    await engine.evaluate(
      `import { gpa, type Gpa } from "./src/vm/address.ts"; const imported: Gpa = gpa(5n)`,
    );
    assert.equal(await engine.evaluate("imported + 1n"), 6n);
    assert.equal(await engine.evaluate(`import { MiB } from "hvsh"; MiB(1)`), 1048576);
    assert.equal(await engine.evaluate(`(await import("./src/vm/address.ts")).MiB(2)`), 2097152);
    await engine.evaluate(`import * as path from "node:path"`);
    assert.equal(await engine.evaluate(`path.basename("a/b")`), "b");
    await assert.rejects(engine.evaluate(`import "./no_such_file.ts"`), /no_such_file/);
  }));

Deno.test("engine: what is thrown is thrown, syntax errors are told", () =>
  withEngine(async (engine) => {
    await assert.rejects(engine.evaluate("throw new TypeError('mine')"), {
      name: "TypeError",
      message: "mine",
    });
    await assert.rejects(engine.evaluate("await Promise.reject(new Error('later'))"), { message: "later" });
    await assert.rejects(engine.evaluate("noSuchName"), { name: "ReferenceError" });
    await assert.rejects(engine.evaluate("throw 5n"), (thrown) => thrown === 5n);
    await assert.rejects(engine.evaluate("1 +* 2"), (error) => {
      assert.ok(error instanceof SyntaxError);
      assert.match(error.message, /^Expression expected/);
      assert.doesNotMatch(error.message, /stripTypeScriptTypes/);
      return true;
    });
  }));

Deno.test("engine: code that never gives a turn is stopped", () =>
  withEngine(async (engine) => {
    await assert.rejects(engine.evaluate("for (;;) {}"), (error) => {
      assert.ok(error instanceof ShellError);
      assert.match(error.message, /ran 0.1 s without/);
      return true;
    });
    assert.equal(await engine.evaluate("'goes on'"), "goes on");
  }, 100));

Deno.test("engine: members are found without side effects", () =>
  withEngine(async (engine) => {
    await engine.evaluate("let touched = 0; const thing = { alpha: 1, get beta() { touched++; return 2 } }");
    assert.ok((await engine.members("thing")).includes("beta"));
    assert.ok((await engine.members("thing.alpha")).includes("toFixed"));
    assert.deepEqual(await engine.members("thing.beta"), [], "a getter with an effect is not called");
    assert.deepEqual(await engine.members("noSuchName.x"), []);
    assert.equal(await engine.evaluate("touched"), 0);
  }));

Deno.test("engine: unfinished input is told from wrong input", () =>
  withEngine((engine) => {
    for (
      const text of [
        "function f() {",
        "f(",
        "[1,",
        "`abc",
        "1 +",
        "if (x)",
        "class A {",
        "x =>",
        "a ? b",
        "foo.",
        "{ a",
      ]
    ) {
      assert.equal(engine.isUnfinished(text), true, text);
    }
    for (const text of ["1", "a b", ")", "'abc", "}", "1 +* 2", "let x = 5", "", "import { a } from './x'"]) {
      assert.equal(engine.isUnfinished(text), false, text);
    }
    return Promise.resolve();
  }));

Deno.test("imports are rewritten, and only imports", () => {
  const hook = `globalThis[Symbol.for("hvsh.import")]`;
  const cases: [string, string][] = [
    [`import "x"`, `await ${hook}("x");`],
    [`import a from "x"`, `const { default: a } = await ${hook}("x");`],
    [`import a, { b as c, type T } from 'x';`, `const { default: a, b: c } = await ${hook}('x');`],
    [`import * as n from "x"`, `const n = await ${hook}("x");`],
    [`import type { T } from "x"`, ``],
    [`import { type T } from "x"`, ``],
    [
      `import d from "x" with { type: "json" }`,
      `const { default: d } = await ${hook}("x", { with: { type: "json" } });`,
    ],
    [`const m = await import("x")`, `const m = await ${hook}("x")`],
    [`export const a = 1`, `const a = 1`],
    [`"import 'x'"`, `"import 'x'"`],
    ["`import 'x'` // import 'y'", "`import 'x'` // import 'y'"],
    [`obj.import("x")`, `obj.import("x")`],
    [`important("x")`, `important("x")`],
  ];
  for (const [source, expected] of cases) assert.equal(rewriteImports(source), expected, source);
});
