/** PCI functions of ours beside QEMU's, in the Xen lab, with guard bytes around every buffer. */
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const xen = sharedLab("xen");

Deno.test({
  name:
    "xen: PCI functions beside QEMU's on an HVM guest are found, moved, booted from, and interrupt by pin and by MSI-X",
  ignore: xen.ignore,
  fn: async () => {
    const lab = await xen.get();
    const program = [
      "deno",
      "run",
      "--quiet",
      "-A",
      "--no-check",
      "tests/lab/xen_pci.ts",
      "own",
      "virtio",
      "boot",
    ];
    const { stdout, stderr, code } = await lab.output(["env", "HVSH_GUARD=1", ...program], {
      cwd: new URL("..", import.meta.url).pathname,
      timeoutMs: 600_000,
    });
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.match(stdout.trim().split("\n").at(-1)!, /^ok all of it/, stdout);
  },
});
