/**
 * `deno task soak [RUNS [SEED]]`: the property tests with 100,000 cases each. A part of them, with a fixed seed,
 * runs in `deno task test`.
 */
import { lexerHolds } from "./lexer.ts";
import { loadersHold } from "./loaders.ts";

const SUITES = { lexer: lexerHolds, loaders: loadersHold };

const [runs = 100_000, seed = Date.now() & 0x7fff_ffff] = Deno.args.map(Number);
if (!Number.isInteger(runs) || runs < 1 || !Number.isInteger(seed)) {
  console.error("usage: deno task soak [RUNS [SEED]]");
  Deno.exit(2);
}
for (const [name, holds] of Object.entries(SUITES)) {
  console.log(`${name}: ${runs} cases of each property, seed ${seed}`);
  const start = performance.now();
  holds({ runs, seed });
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`${name}: held, ${seconds} s, ${Math.round(Deno.memoryUsage().rss / 2 ** 20)} MiB resident`);
}
