/** Guests of our own on Xen, in the Xen lab, with guard bytes around every buffer. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

for (const part of ["pvh", "devices", "beside", "pci", "cpus", "pv", "firmware"]) {
  Deno.test({
    name: `xen: guests of our own are opened, and are gone afterwards (${part})`,
    ignore: xen.ignore,
    fn: async () => {
      const lab = await xen.get();
      const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_open.ts", part];
      const { stdout, stderr, code } = await lab.output(["env", "HVSH_GUARD=1", ...program], {
        cwd: new URL("..", import.meta.url).pathname,
        timeoutMs: 600_000,
      });
      assert.equal(code, 0, `${stdout}${stderr}`);
      const prefix = stdout.trimEnd().split("\n").at(-1)!;
      assert.match(prefix, /^hvsh-\d+-$/);
      const { stdout: list } = await lab.output(["xl", "list"]);
      assert.ok(!list.includes(prefix), list);
    },
  });
}
