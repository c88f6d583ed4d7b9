/**
 * Prints `N passed, N failed` (and `, N skipped` if any were) from the JUnit reports named as arguments, for `.ci/run`.
 * With `--exit-code N` a run that ended badly though no test failed, such as by a module that did not load, counts as
 * one failed.
 */
import { parseArgs } from "node:util";

/** How many tests ended in which way. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Counts the test cases, steps included, of one report as `deno test --junit-path` writes it. */
export function countCases(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  // Text inside is escaped, so these words can only be tags.
  for (const [, inner] of xml.matchAll(/<testcase\b[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    if (/<(failure|error)\b/.test(inner ?? "")) counts.failed++;
    else if (/<skipped\b/.test(inner ?? "")) counts.skipped++;
    else counts.passed++;
  }
  return counts;
}

/** The line that is wanted. */
export function summary(counts: Counts, exitCode = 0): string {
  const failed = counts.failed === 0 && exitCode !== 0 ? 1 : counts.failed;
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  return `${counts.passed} passed, ${failed} failed${skipped}`;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { "exit-code": { type: "string", default: "0" } },
    allowPositionals: true,
  });
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const path of positionals) {
    let counts: Counts;
    try {
      counts = countCases(Deno.readTextFileSync(path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      console.error(`There is no report ${path}.`);
      continue;
    }
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
  }
  console.log(summary(total, Number(values["exit-code"])));
}
