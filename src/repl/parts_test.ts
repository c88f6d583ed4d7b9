import assert from "node:assert/strict";
import fc from "fast-check";
import { reportError, ShellError } from "./error.ts";
import { GuestText } from "./guest_text.ts";
import { appendHistory, readHistory } from "./history.ts";
import { jsonMember } from "./json.ts";
import { nearest } from "./nearest.ts";
import { plainData, valueText } from "./values.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("guest text: words, line ends and colours get through, control sequences do not", () => {
  const colored = (text: string) => new GuestText(true).push(bytes(text));
  assert.equal(colored("SeaBIOS\r\n\tok \x1b[31mred\x1b[0m ä\n"), "SeaBIOS\r\n\tok \x1b[31mred\x1b[0m ä\n");
  assert.equal(new GuestText(false).push(bytes("\x1b[31mred\x1b[0m")), "red");
  assert.equal(colored("\x1b]0;title\x07a\x1b]52;c;aGk=\x1b\\b"), "ab");
  assert.equal(colored("\x1b[2J\x1b[1;1Ha\x1b[6nb\x1bc\x1b(Bd\x07\x00\x7f"), "abd");
  assert.equal(colored("\u009b31mx"), "31mx", "C1 controls are dropped too");
  assert.equal(colored("\x1b]never ended\nnext"), "\nnext");
});

Deno.test("guest text: sequences that are cut in two are still seen, and what is held is bounded", () => {
  const text = new GuestText(true);
  assert.equal(text.push(bytes("a\x1b[3")), "a");
  assert.equal(text.push(bytes("1mb")), "\x1b[31mb");
  assert.equal(text.push(Uint8Array.of(0xc3)), "");
  assert.equal(text.push(Uint8Array.of(0xa4)), "ä");
  text.push(bytes("\x1b]" + "x".repeat(1000)));
  assert.equal(text.push(bytes("free")), "free");
});

Deno.test("guest text: whatever a guest prints, nothing but colour reaches the terminal", () => {
  const hostile = fc.array(
    fc.oneof(fc.constantFrom(0x1b, 0x5b, 0x5d, 0x07, 0x6d, 0x3b, 0x9b, 0xc2), fc.nat(255)),
  );
  fc.assert(
    fc.property(fc.array(hostile, { maxLength: 5 }), (chunks) => {
      const text = new GuestText(true);
      const out = chunks.map((chunk) => text.push(Uint8Array.from(chunk))).join("");
      // deno-lint-ignore no-control-regex -- control characters are what this is about
      assert.doesNotMatch(out.replace(/\x1b\[[0-9;:]*m/g, ""), /[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]/);
    }),
    { numRuns: 3000, seed: 3 },
  );
});

Deno.test("values as text: hexadecimal, addresses with their space", () => {
  assert.equal(valueText(0x7c00n, false), "0x7c00");
  assert.equal(valueText(-1n, false), "-0x1");
  assert.equal(valueText(10, false), "10  0xa");
  assert.equal(valueText(0.5, false), "0.5");
  assert.equal(valueText("5n", false), `"5n"`);
  assert.equal(valueText([1n, "2n", 30n], false), `[ 0x1n, "2n", 0x1en ]`);
  assert.equal(valueText(Object.assign(Object(0x7c00n), { space: "gpa" }), false), "0x7c00  gpa");
});

Deno.test("values as data: nothing that JSON can't hold, cycles and depth bounded", () => {
  const circle: Record<string, unknown> = { n: 1n };
  circle.self = circle;
  assert.deepEqual(plainData(circle), { n: "0x1", self: "[circular]" });
  assert.deepEqual(plainData(new Map([["a", Uint8Array.of(1, 2)]])), { a: [1, 2] });
  assert.deepEqual(plainData([undefined, () => 1, NaN]), [null, null, "NaN"]);
  assert.equal(plainData(undefined), null);
  const deep: Record<string, unknown> = {};
  for (let i = 0, at = deep; i < 100; i++) at = at.down = {} as Record<string, unknown>;
  JSON.stringify(plainData(deep));
  fc.assert(
    fc.property(
      fc.anything({ withBigInt: true, withMap: true, withSet: true, withTypedArray: true }),
      (value) => {
        JSON.stringify(plainData(value));
      },
    ),
    { numRuns: 1000, seed: 4 },
  );
  assert.equal(JSON.stringify({ a: 255n }, (_, v) => jsonMember(v)), `{"a":"0xff"}`);
});

Deno.test("errors: our own are sentences, others keep their name and the user's frames", () => {
  assert.deepEqual(reportError(new ShellError("It failed", "Do this.")), {
    message: "It failed",
    remedy: "Do this.",
    frames: [],
  });
  assert.equal(reportError(new RangeError("too far")).message, "RangeError: too far");
  assert.equal(reportError("text").message, `Thrown: "text"`);
  assert.equal(reportError(undefined).message, "Thrown: undefined");
});

Deno.test("errors: a host's has its sentence and remedy alone, whatever its errno's name", () => {
  const refused = Object.assign(new Error("connect 127.0.0.1:1 failed: ECONNREFUSED"), {
    ...{ name: "ECONNREFUSED", call: "connect 127.0.0.1:1", errno: 111, remedy: "Start it." },
  });
  assert.deepEqual(reportError(refused), { message: refused.message, remedy: "Start it.", frames: [] });
});

Deno.test("errors: where the user's own code is in the stack, hvsh's is left out", () => {
  const library = new URL("../vm/address.ts", import.meta.url).href;
  const error = new RangeError("too far");
  error.stack = `RangeError: too far\n    at gpa (${library}:56:10)\n    at <anonymous>:1:44`;
  assert.deepEqual(reportError(error).frames, ["at <anonymous>:1:44"]);
  error.stack = `RangeError: too far\n    at gpa (${library}:56:10)`;
  assert.deepEqual(reportError(error).frames, [`at gpa (${library}:56:10)`], "a fault of hvsh's own");
});

Deno.test("nearest: what a mistyped word was meant to be", () => {
  const known = ["continue", "break", "info"];
  assert.equal(nearest("contniue", known), "continue");
  assert.equal(nearest("brek", known), "break");
  assert.equal(nearest("xyz", known), undefined);
  assert.equal(nearest("x".repeat(100_000), known), undefined);
});

Deno.test("history: newest first, bounded, private, and two shells lose nothing", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/a/b/history`;
    assert.deepEqual(readHistory(path), []);
    assert.equal(appendHistory(path, ["second", "first"]), true);
    appendHistory(path, ["other shell", "second"]);
    assert.deepEqual(readHistory(path), ["other shell", "second", "first"]);
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    appendHistory(path, Array.from({ length: 5000 }, (_, i) => `line ${i}`));
    assert.equal(readHistory(path).length, 2000);
    assert.deepEqual([...Deno.readDirSync(`${folder}/a/b`)].map((entry) => entry.name), ["history"]);
    assert.equal(appendHistory("/proc/no/such/place", ["x"]), false);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
