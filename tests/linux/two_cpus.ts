/**
 * Boots Debian's kernel with two vCPUs on /dev/kvm, stops in a kernel function on each of them, and prints what came of
 * it as JSON. Run in the KVM lab.
 */
import { gva, linux, MiB, open } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";
import { shown } from "./shown.ts";

/** Each `taskset` runs `true` on one CPU, and so execve() there. Debian's System.map is a stub: the kernel has its own. */
const SCRIPT = `
echo "ONLINE $(cat /sys/devices/system/cpu/online)"
echo "CORES $(cat /sys/devices/system/cpu/cpu*/topology/core_id | tr '\\n' ' ')"
echo "SYMBOL $(grep ' T __x64_sys_execve$' /proc/kallsyms)"
echo READY
read line
for i in 1 2 3 4 5 6; do taskset 1 true; taskset 2 true; done
echo "AFTER $line"
poweroff -f
`;
const FUNCTION = "__x64_sys_execve";
const LIMIT = { timeoutMs: 900_000 };

const kernel = findKernel();
const started = performance.now();
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  cpus: 2,
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, [], SCRIPT),
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 quiet",
  }),
});
const run = vm.continue(LIMIT);
await shown(vm, run, /READY/, LIMIT);
let stop = await vm.pause();
const booted = Math.round(performance.now() - started);
const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1];
vm.symbols.add("kallsyms", `${told("SYMBOL")}\n`);
const address = vm.symbols.lookup(FUNCTION);
if (stop.kind !== "pause" || address === undefined) {
  console.error(vm.console.text, stop.kind, stop.rip.toString(16));
  Deno.exit(1);
}
const breakpoint = await vm.breakpoints.add(gva(address));
await vm.console.send("go on\n");
const hits = [0, 0];
let held = true;
while ((stop = await vm.continue(LIMIT)).kind === "breakpoint") {
  const { index } = stop.vcpu;
  if (hits[index]++ === 0) {
    // One is stepped, the other stands.
    const other = vm.vcpus[1 - index];
    const before = await other.registers();
    const stepped = await vm.step({ vcpu: index, count: 3 });
    const after = await other.registers();
    held &&= stepped.kind === "step" && stepped.rip !== stop.rip && before.rip === after.rip &&
      before.rsp === after.rsp;
  }
  if (hits.every((n) => n >= 3)) await breakpoint.remove();
}
if (stop.kind !== "shutdown") console.error(vm.console.text, stop);
console.error(
  `READY ${booted} ms after open(); execve() on vCPU 0 and 1: ${hits.join(" and ")} (${breakpoint.how})`,
);
console.log(JSON.stringify({
  online: told("ONLINE"),
  cores: told("CORES"),
  both: hits.every((n) => n >= 3),
  held,
  after: told("AFTER"),
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
}));
