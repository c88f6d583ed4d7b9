import assert from "node:assert/strict";
import { countCases, summary } from "./junit_summary.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="6" failures="1" errors="0" time="0.1">
  <testsuite name="./a_test.ts" tests="6" disabled="1" errors="0" failures="1">
    <testcase name="good" classname="./a_test.ts" time="0.001" line="1" col="6">
    </testcase>
    <testcase name="short" classname="./a_test.ts" time="0.001"/>
    <testcase name="left out" classname="./a_test.ts" time="0.000" line="2" col="6">
      <skipped/>
    </testcase>
    <testcase name="bad &lt;failure&gt;" classname="./a_test.ts" time="0.001" line="3" col="6">
      <failure message="no &lt;skipped/&gt;">Error: no
    at x</failure>
    </testcase>
    <testcase name="says &lt;failure" classname="./a_test.ts"></testcase>
    <testcase name="broken" classname="./a_test.ts"><error message="e">e</error></testcase>
  </testsuite>
</testsuites>`;

Deno.test("a report's cases are counted once each, by their tags alone", () => {
  assert.deepEqual(countCases(REPORT), { passed: 3, failed: 2, skipped: 1 });
  assert.deepEqual(countCases("<testsuites></testsuites>"), { passed: 0, failed: 0, skipped: 0 });
});

Deno.test("the summary names skipped tests only when there are some, and never hides a bad exit code", () => {
  assert.equal(summary({ passed: 3, failed: 2, skipped: 1 }), "3 passed, 2 failed, 1 skipped");
  assert.equal(summary({ passed: 3, failed: 0, skipped: 0 }), "3 passed, 0 failed");
  assert.equal(summary({ passed: 3, failed: 0, skipped: 0 }, 1), "3 passed, 1 failed");
  assert.equal(summary({ passed: 3, failed: 2, skipped: 0 }, 1), "3 passed, 2 failed");
});
