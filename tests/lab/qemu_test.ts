import assert from "node:assert/strict";
import { DEFAULT_MACHINE, qemuArguments } from "./qemu.ts";

const virtfs = (args: string[]) => args.filter((_, n) => args[n - 1] === "-virtfs");

Deno.test("the host's root and the checkout are read-only at QEMU; only the folders given are writable", () => {
  for (const kind of ["kvm", "xen"] as const) {
    const args = qemuArguments(kind, { ...DEFAULT_MACHINE[kind], shares: ["/a", "/b"] }, "/work");
    const readOnly = virtfs(args).filter((value) => value.endsWith(",readonly=on"));
    assert.deepEqual(readOnly.map((value) => /path=([^,]*)/.exec(value)?.[1]), ["/", "/work"]);
    const writable = virtfs(args).filter((value) => !value.includes("readonly"));
    assert.deepEqual(writable.map((value) => /path=([^,]*)/.exec(value)?.[1]), ["/a", "/b"]);
  }
});

Deno.test("a comma in a folder's name is not the end of it for QEMU", () => {
  const args = qemuArguments("kvm", { ...DEFAULT_MACHINE.kvm, shares: [] }, "/a, b");
  assert.ok(virtfs(args)[1].startsWith("local,path=/a,, b,mount_tag=work,"));
});

Deno.test("Xen switches vector registers eagerly, and dom0 has half of the memory", () => {
  const args = qemuArguments("xen", { memory: 6000, cpus: 3, shares: [] }, "/work");
  const options = args[args.indexOf("-append") + 1].split(" ");
  assert.ok(options.includes("spec-ctrl=eager-fpu") && options.includes("dom0_mem=3000M"));
  assert.equal(args[args.indexOf("-smp") + 1], "3");
});
