/** What goes wrong around a debugger of Xen's domains, in the Xen lab, with guard bytes around every buffer. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

Deno.test({
  name:
    "xen: no xenstored, another listener, domains that end or are ended, frames that are no memory, no room for the stub and devices that throw are told of",
  ignore: xen.ignore,
  fn: async () => {
    const lab = await xen.get();
    const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/lab/xen_faults.ts"];
    const { stdout, stderr, code } = await lab.output(["env", "HVSH_GUARD=1", ...program], {
      cwd: new URL("..", import.meta.url).pathname,
      timeoutMs: 600_000,
    });
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.equal(stdout.trim().split("\n").at(-1), "ok all of it", stdout);
  },
});
