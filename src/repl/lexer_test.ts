import assert from "node:assert/strict";
import { firstCommand, hasOpenBrace, invocation, words } from "./lexer.ts";
import { CommandTable } from "./table.ts";
import { firstStep } from "./language.ts";
import type { Command } from "./command.ts";

Deno.test("words: quotes group and go, brackets keep blanks and quotes inside", () => {
  assert.deepEqual(words(`a  b\tc`), ["a", "b", "c"]);
  assert.deepEqual(words(`"a b" 'c d'e`), ["a b", "c de"]);
  assert.deepEqual(words(`"say \\"hi\\"\\x21\\n" '\\n'`), [`say "hi"!\n`, "\\n"]);
  assert.deepEqual(words(`0x7c00 if (h) => h.x === "a b"`), [
    "0x7c00",
    "if",
    "(h)",
    "=>",
    "h.x",
    "===",
    "a b",
  ]);
  assert.deepEqual(words(`if (h.x === "a b" && f(1, 2)) [1, 2]`), [
    "if",
    `(h.x === "a b" && f(1, 2))`,
    "[1, 2]",
  ]);
  assert.deepEqual(words(`"" x`), ["", "x"]);
  assert.deepEqual(words(`it's open`), ["it's", "open"]);
  assert.deepEqual(words(`a # comment`), ["a"]);
  assert.deepEqual(words(`a#b`), ["a#b"]);
});

Deno.test("commands are cut at ; outside quotes and brackets", () => {
  assert.deepEqual(firstCommand("attach xen:X; info registers; quit"), {
    command: "attach xen:X",
    rest: "info registers; quit",
  });
  assert.deepEqual(firstCommand(`b 5 if (h) => { a; b }; c`), {
    command: `b 5 if (h) => { a; b }`,
    rest: "c",
  });
  assert.deepEqual(firstCommand(`find "a;b"`), { command: `find "a;b"`, rest: "" });
  assert.deepEqual(firstCommand("c # go; on"), { command: "c", rest: "" });
});

Deno.test("an invocation is a name, a format and arguments", () => {
  assert.deepEqual(invocation("x/16xb $rip"), { name: "x", format: "16xb", rest: "$rip", words: ["$rip"] });
  assert.equal(invocation("quit")?.name, "quit");
  assert.deepEqual(invocation("c&"), { name: "c", format: "", rest: "&", words: ["&"] });
  assert.equal(invocation("c&&d"), undefined);
  assert.equal(invocation("vm.step()"), undefined);
  assert.equal(invocation("f(1)"), undefined);
  assert.equal(invocation("1 + 1"), undefined);
});

Deno.test("an open brace goes on in the next line", () => {
  assert.equal(hasOpenBrace("b 5 if (h) => {"), true);
  assert.equal(hasOpenBrace("b 5 if (h) => { }"), false);
  assert.equal(hasOpenBrace(`find "{"`), false);
});

Deno.test("lexer: time grows with the length, not with its square", () => {
  for (const piece of ["'", '"', "`", "(", "; ", "\\", "a'b\"c`"]) {
    const line = piece.repeat(200_000 / piece.length);
    words(line);
    firstCommand(line);
  }
});

const row = (names: string[], usage = [names[0]]): Command => ({
  names,
  group: "data",
  summary: "",
  usage,
  needsGuest: false,
  run: () => {},
});
const table = new CommandTable([
  row(["step", "s", "si"]),
  row(["x"], ["x/FORMAT ADDRESS"]),
  row(["continue", "c"]),
  row(["condition"]),
  row(["in"]),
  row(["delete", "d"]),
  row(["source"]),
]);
const kindOf = (line: string, ...variables: string[]) => {
  const { step, rest } = firstStep(line, table, (name) => variables.includes(name));
  return step.kind === "command"
    ? `${step.command.names[0]}|${step.invocation.format}|${rest}`
    : `ts|${step.text}`;
};

Deno.test("the language of a line: commands", () => {
  assert.equal(kindOf("s"), "step||");
  assert.equal(kindOf("s 5; c"), "step||c");
  assert.equal(kindOf("x/4i $rip"), "x|4i|");
  assert.equal(kindOf("x /4i $rip"), "x|4i|");
  assert.equal(kindOf("source /tmp/x"), "source||");
  assert.equal(kindOf("conti"), "continue||");
  assert.equal(kindOf("in 0x3f8"), "in||");
  assert.equal(kindOf("d 1"), "delete||");
  assert.throws(() => kindOf("con"), /`con` can mean continue, condition/);
});

Deno.test("the language of a line: TypeScript", () => {
  assert.equal(kindOf("s = 5"), "ts|s = 5");
  assert.equal(kindOf("s += 5"), "ts|s += 5");
  assert.equal(kindOf("s => s"), "ts|s => s");
  assert.equal(kindOf("s.length"), "ts|s.length");
  assert.equal(kindOf("s(1); s"), "ts|s(1); s");
  assert.equal(kindOf("= s"), "ts|s");
  assert.equal(kindOf("s + 1", "s"), "ts|s + 1");
  assert.equal(kindOf("s === 1", "s"), "ts|s === 1");
  assert.equal(kindOf("conti", "conti"), "ts|conti");
  assert.equal(kindOf("let s = 1; s"), "ts|let s = 1; s");
  assert.equal(kindOf("const x = 4"), "ts|const x = 4");
  assert.equal(kindOf("await vm.step()"), "ts|await vm.step()");
});

Deno.test("commands are found by name, alias and abbreviation, and mistyped ones are guessed", () => {
  assert.equal(table.resolve("si")?.names[0], "step");
  assert.equal(table.resolve("so")?.names[0], "source");
  assert.equal(table.resolve("co"), undefined);
  assert.equal(table.nearest("contniue"), "continue");
  assert.equal(table.nearest("zzzzzz"), undefined);
});
