/** What a program that a signal ends leaves of a domain, in the Xen lab. `deno task test:xen` does it with an HVM guest too. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

for (const part of ["pvh", "pv", "own", "journal"]) {
  Deno.test({
    name: `xen: a program that is ended in the middle of everything leaves domains as they were (${part})`,
    ignore: xen.ignore,
    fn: async () => {
      const lab = await xen.get();
      const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_leaving.ts", part];
      const { stdout, stderr, code } = await lab.output(program, {
        cwd: new URL("..", import.meta.url).pathname,
        timeoutMs: 1_200_000,
      });
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.equal(stdout.trim().split("\n").at(-1), "ok all of it", stdout);
    },
  });
}

Deno.test({
  name: "xen: Ctrl-C while a domain is made, attached to and worked on leaves it as it was, or nothing of it",
  ignore: xen.ignore,
  fn: async () => {
    const lab = await xen.get();
    const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_interrupted.ts"];
    const { stdout, stderr, code } = await lab.output(program, {
      cwd: new URL("..", import.meta.url).pathname,
      timeoutMs: 600_000,
    });
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.equal(stdout.trim().split("\n").at(-1), "ok all of it", stdout);
  },
});
