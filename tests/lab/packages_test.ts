import assert from "node:assert/strict";
import { missingFor, missingPackages, type Package, skipReport } from "./packages.ts";

const QEMU: Package = { name: "qemu", purposes: ["kvm lab", "xen lab"] };
const GDB: Package = { name: "gdb", purposes: ["tests"], skips: "driving gdb" };

Deno.test("what is missing is told by what it is for, each thing once", () => {
  assert.deepEqual(skipReport([]), []);
  assert.deepEqual(skipReport([QEMU, GDB, { ...GDB, name: "gdbserver" }]), [
    "skipped: the kvm lab (missing: qemu)",
    "skipped: the xen lab (missing: qemu)",
    "skipped: driving gdb (missing: gdb, gdbserver)",
  ]);
  assert.deepEqual(missingFor("kvm lab", [QEMU, GDB]), ["qemu"]);
});

Deno.test("a package that nobody has is missing", () => {
  const nonsense: Package = { ...GDB, name: "no-such-package-anywhere" };
  assert.deepEqual(missingPackages([nonsense]), [nonsense]);
});
