import "./preload.ts";
import assert from "node:assert/strict";
import { openLibrary } from "./library.ts";
import { functionsOf, linkAhead } from "./symbol.ts";

const SYMBOLS = {
  labs: { parameters: ["i64"], result: "i64" },
  strnlen: { parameters: ["buffer", "usize"], result: "usize" },
  strchr: { parameters: ["buffer", "i32"], result: "pointer" },
} as const;
const TEXT = new TextEncoder().encode("dom0\0");

Deno.test("symbols: what is called by address takes and gives what a bound function does", () => {
  const bound = Deno.dlopen("libc.so.6", SYMBOLS);
  const find = functionsOf("libc.so.6");
  const { labs, strnlen, strchr } = bound.symbols;
  const calls = [
    [labs, "labs", [-5n]],
    [labs, "labs", [1n << 62n]],
    [strnlen, "strnlen", [TEXT, 3n]],
    [strnlen, "strnlen", [TEXT, 9n]],
    [strchr, "strchr", [TEXT, 0x7a]],
  ] as const;
  for (const [function_, name, args] of calls) {
    const expected = (function_ as (...args: unknown[]) => unknown)(...args);
    assert.deepEqual(find(name, SYMBOLS[name])(...args), expected, name);
  }
  bound.close();
});

Deno.test({
  name: "symbols: a library's functions are the same, whether they are called often or not",
  // A library that is opened for the life of the process is no leak.
  sanitizeResources: false,
  fn: () => {
    const seldom = openLibrary("libc", ["libc.so.6"], SYMBOLS);
    const often = openLibrary("libc", ["libc.so.6"], SYMBOLS, ["labs", "strnlen"]);
    assert.equal(seldom.labs(-7n), often.labs(-7n));
    assert.equal(seldom.strnlen(TEXT, 9n), often.strnlen(TEXT, 9n));
    assert.equal(seldom.labs, seldom.labs, "it is looked up once");
  },
});

Deno.test("symbols: a library that is not open, and a function that it has not, are named", async () => {
  // What can't be linked ahead of its use is told at its use.
  await linkAhead(["libnowhere.so.1"]);
  assert.throws(() => functionsOf("libnowhere.so.1"), {
    name: "HostError",
    message: /dlopen libnowhere\.so\.1/,
  });
  const find = functionsOf("libc.so.6");
  assert.throws(() => find("xc_no_such", { parameters: [], result: "i32" }), {
    name: "HostError",
    message: /dlsym libc\.so\.6, xc_no_such/,
  });
});
