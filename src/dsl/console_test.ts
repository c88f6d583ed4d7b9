import assert from "node:assert/strict";
import { InputError, TimeoutError } from "../vm/errors.ts";
import { GuestConsole } from "./console.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("expect takes what is there, then waits for more, and does not match the same text twice", async () => {
  const console = new GuestConsole();
  console.print(bytes("login: "));
  assert.equal((await console.expect(/log(in)/))[1], "in");
  const second = console.expect(/login:/, { timeoutMs: 5000 });
  console.print(bytes("lo"));
  console.print(bytes("gin: "));
  assert.equal((await second)[0], "login:");
});

Deno.test("a string is taken literally, a sticky or global pattern has no memory", async () => {
  const console = new GuestConsole();
  console.print(bytes("a.b axb a.b"));
  assert.equal((await console.expect("a.b"))[0], "a.b");
  const pattern = /a.b/g;
  pattern.lastIndex = 3;
  assert.equal((await console.expect(pattern))[0], "axb");
});

Deno.test("a pattern that would take for ever is ended and refused; the console goes on", async () => {
  const console = new GuestConsole();
  const hopeless = () => console.expect(/(a+)+$/, { timeoutMs: 60_000 });
  const waiting = hopeless();
  console.print(bytes("a".repeat(64) + "!"));
  await assert.rejects(
    waiting,
    (error) => error instanceof InputError && /for 1 s and was ended/.test(error.message),
  );
  await assert.rejects(hopeless(), InputError);
  assert.equal((await console.expect("a!"))[0], "a!");
});

Deno.test("a long wait looks at new text; anchors and matches that began before it stay right", async () => {
  const console = new GuestConsole();
  const split = console.expect(/BEGIN/, { timeoutMs: 5000 });
  const anchored = console.expect(/^two/, { timeoutMs: 50 });
  for (const part of ["x".repeat(200_000), "two BEG", "I"]) {
    console.print(bytes(part));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await assert.rejects(anchored, TimeoutError);
  console.print(bytes("N"));
  const { 0: found, index } = await split;
  assert.deepEqual([found, index], ["BEGIN", 200_004]);
});

Deno.test("time-out and closing say what was last on the console", async () => {
  const console = new GuestConsole();
  console.print(bytes("one\ntwo\n"));
  await assert.rejects(
    console.expect(/three/, { timeoutMs: 1 }),
    (error) =>
      error instanceof TimeoutError && /within 1 ms/.test(error.message) && /\| two/.test(error.message),
  );
  const waiting = console.expect(/three/, { timeoutMs: 5000 });
  console.close();
  await assert.rejects(waiting, TimeoutError);
});

Deno.test("an error about a console has nothing in it that a terminal obeys", async () => {
  const console = new GuestConsole();
  console.print(bytes("\x1b]0;mine\x07\x9b2J\u009b2J caf\u00e9\tx\r\n"));
  await assert.rejects(console.expect(/three/, { timeoutMs: 1 }), (error) => {
    // deno-lint-ignore no-control-regex -- control characters are what must not be there
    assert.doesNotMatch((error as Error).message, /[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
    assert.match((error as Error).message, /\\x1b\]0;mine\\x07.*caf\u00e9\tx$/m);
    return true;
  });
});

Deno.test("UTF-8 that arrives in pieces", () => {
  const console = new GuestConsole();
  const euro = bytes("€");
  console.print(euro.subarray(0, 1));
  console.print(euro.subarray(1));
  assert.equal(console.text, "€");
});

Deno.test("text stays bounded, and expect goes on behind what was dropped", async () => {
  const console = new GuestConsole();
  const line = bytes("x".repeat(1 << 16));
  for (let i = 0; i < 40; i++) console.print(line);
  assert.ok(console.text.length <= (1 << 20) * 1.25);
  console.print(bytes("needle"));
  assert.equal((await console.expect(/needle/))[0], "needle");
});

Deno.test("send offers the rest again until the guest has taken all of it", async () => {
  const console = new GuestConsole();
  const taken: number[] = [];
  console.connect((offered) => {
    const some = offered.subarray(0, 3);
    taken.push(...some);
    return some.length;
  });
  await console.send("1234567");
  assert.equal(new TextDecoder().decode(Uint8Array.from(taken)), "1234567");
});

Deno.test("what nothing reads can't be sent, or it would be lost in silence", async () => {
  const console = new GuestConsole();
  for (const text of ["x", ""]) await assert.rejects(console.send(text), { name: "UnsupportedError" });
  const input = console.connect((offered) => offered.length);
  await console.send("x");
  input[Symbol.dispose]();
  await assert.rejects(console.send("x"), /nothing that hvsh has reads it/);
});

Deno.test("listeners hear until they are disposed of", () => {
  const console = new GuestConsole();
  const heard: string[] = [];
  const listener = console.onOutput((b) => heard.push(new TextDecoder().decode(b)));
  console.print(bytes("a"));
  listener[Symbol.dispose]();
  console.print(bytes("b"));
  assert.deepEqual(heard, ["a"]);
});
