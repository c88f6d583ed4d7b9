/** What Xen reports of a guest, in the Xen lab, with guard bytes around every buffer. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

Deno.test({
  name: "xen: control registers, MSRs, CPUID, descriptor tables and a guest's request are reported",
  ignore: xen.ignore,
  fn: async () => {
    const lab = await xen.get();
    const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_events.ts"];
    const { stdout, stderr, code } = await lab.output(["env", "HVSH_GUARD=1", ...program], {
      cwd: new URL("..", import.meta.url).pathname,
      timeoutMs: 600_000,
    });
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.equal(stdout.trim().split("\n").length, 4, stdout);
  },
});
