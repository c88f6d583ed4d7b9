/**
 * Hostile lines for the shell's lexer: whatever is typed, cutting it into commands and words ends, and words
 * survive quoting. `deno run -A tests/soak/lexer.ts [RUNS [SEED]]` tries 100,000 of each.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { firstCommand, hasOpenBrace, invocation, quoteWord, words } from "../../src/repl/lexer.ts";
import { rewriteImports } from "../../src/repl/imports.ts";

/** Tries `runs` inputs of each kind; the same `seed` gives the same ones. @throws {AssertionError} With the smallest counterexample. */
export function lexerHolds({ runs, seed }: { runs: number; seed: number }): void {
  const limits = { numRuns: runs, seed };
  const nasty = fc.string({ unit: fc.constantFrom(..."ab \t\n;#\"'`\\(){}[]$/=.:x0n\0é"), maxLength: 60 });
  const code = fc.array(
    fc.constantFrom(
      "import",
      "export ",
      " type ",
      "{a as b}",
      "* as c",
      " from ",
      '"./x"',
      "'y",
      "`",
      "(",
      ";",
      "\n",
      "//",
    ),
    { maxLength: 12 },
  ).map((parts) => parts.join(""));
  const line = fc.oneof(nasty, code, fc.string({ unit: "binary", maxLength: 60 }));
  fc.assert(
    fc.property(line, (text) => {
      words(text);
      invocation(text);
      hasOpenBrace(text);
      rewriteImports(text);
      // Cutting ends: each step takes something off.
      let left = text;
      for (let steps = 0; left !== ""; steps++) {
        assert.ok(steps <= text.length);
        const { command, rest } = firstCommand(left);
        assert.ok(command.length + rest.length <= left.length);
        left = rest;
      }
    }),
    limits,
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), (list) => {
      const quoted = list.map(quoteWord).join(" ");
      assert.deepEqual(words(quoted), list);
      assert.equal(firstCommand(quoted).rest, "");
    }),
    limits,
  );
}

if (import.meta.main) {
  const [runs = 100_000, seed = 1] = Deno.args.map(Number);
  lexerHolds({ runs, seed });
  console.log(`lexer: ${runs} lines and ${runs} lists of words, seed ${seed}: all sound`);
}
