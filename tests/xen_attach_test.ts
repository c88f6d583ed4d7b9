/** Attaching to domains, in the Xen lab, with guard bytes around every buffer. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

Deno.test({
  name: "xen: domains are attached to, stepped, and let go as they were",
  ignore: xen.ignore,
  fn: async () => {
    const lab = await xen.get();
    const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_attach.ts"];
    const { stdout, stderr, code } = await lab.output(["env", "HVSH_GUARD=1", ...program], {
      cwd: new URL("..", import.meta.url).pathname,
      timeoutMs: 600_000,
    });
    assert.equal(code, 0, `${stdout}${stderr}`);
    const cases = stdout.trim().split("\n");
    assert.ok(cases.every((line) => line.startsWith("ok ")), stdout);
    // For a PVH guest and a PV one.
    assert.equal(cases.at(-1), "ok all of it", stdout);
  },
});
