import { lexerHolds } from "./soak/lexer.ts";

Deno.test("lexer: no line makes it fail or hang, and words survive quoting", () => {
  lexerHolds({ runs: 3000, seed: 1 });
});
