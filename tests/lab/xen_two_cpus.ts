/**
 * Debian's kernel with two vCPUs as a guest of Xen, stopped on each of them, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_two_cpus.ts xen-pvh|xen-pv`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { type BackendName, gva, linux, MiB, open } from "../../mod.ts";
import { guestInitramfs } from "../linux/initramfs.ts";
import { linuxImage } from "./images.ts";
import { findKernel } from "./kernel.ts";

/** A sleeper on each CPU, and one that answers each line of the console. */
const SCRIPT = `
for cpu in 1 2; do taskset $cpu sh -c 'while :; do sleep 0.05; done' & done
echo "READY $(cat /sys/devices/system/cpu/online)"
while read line; do echo "ANSWER $line"; done
`;
/** Where a process goes to sleep, by the kernel's own table of symbols. */
const FUNCTION = "do_nanosleep";
const LIMIT = { timeoutMs: 900_000 };
/** Stops that may all come from one of the two. */
const PATIENCE = 40;

const began = performance.now();
const say = (what: string) => console.log(`ok ${what} (${((performance.now() - began) / 1e3).toFixed(0)} s)`);

const [backend] = Deno.args as [BackendName];
const kernel = findKernel();
const cache = new URL("../../.cache/lab", import.meta.url).pathname;
await using vm = await open({
  backend,
  memory: MiB(256),
  cpus: 2,
  boot: linux({
    kernel: await linuxImage(kernel, cache),
    initrd: await guestInitramfs(kernel, [], SCRIPT),
    cmdline: "console=hvc0 nokaslr mitigations=off panic=-1 quiet",
  }),
});
const running = vm.continue(LIMIT);
const first = await Promise.race([vm.console.expect(/READY (.*?)\s*$/m, LIMIT), running]);
if ("kind" in first) {
  const why = "reason" in first ? `: ${first.reason}` : "";
  assert.fail(`${first.kind}${why} at 0x${first.rip.toString(16)}, after ${vm.console.text.slice(-400)}`);
}
assert.match(vm.console.text, /READY 0-1/);
await vm.pause();
await running;
assert.equal(vm.vcpus.length, 2);
say(`it comes to userspace with ${vm.vcpus.length} vCPUs`);

await vm.linux.locate();
const at = vm.symbols.lookup(FUNCTION);
assert.ok(at !== undefined);
const breakpoint = await vm.breakpoints.add(gva(at));
const hits = [0, 0];
for (let stops = 0; hits.includes(0); stops++) {
  assert.ok(stops < PATIENCE, `hits ${hits}`);
  const stop = await vm.continue(LIMIT);
  assert.deepEqual([stop.kind, stop.rip], ["breakpoint", at], "reason" in stop ? stop.reason : "");
  const { index } = stop.vcpu;
  if (hits[index]++ > 0) continue;
  const registers = await Promise.all(vm.vcpus.map((vcpu) => vcpu.registers()));
  assert.equal(registers[index].rip, at);
  for (const { rip, rsp } of registers) assert.ok(rip > 0n && rsp > 0n);
  assert.notEqual(registers[0].gs_base, registers[1].gs_base, "each has a per-CPU area of its own");
  // All-stop: nothing moves while it is looked at.
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const [i, vcpu] of vm.vcpus.entries()) {
    const { rip, rsp } = await vcpu.registers();
    assert.deepEqual([rip, rsp], [registers[i].rip, registers[i].rsp]);
  }
  const [{ length }]: { length: number }[] = await vm.disassemble(gva(at), { count: 1 });
  const before = await vm.vcpus[1 - index].registers();
  const other = { rip: before.rip, rsp: before.rsp, rcx: before.rcx, rflags: before.rflags };
  const step = await vm.step({ vcpu: index });
  if (backend === "xen-pv") {
    const { rip, rsp, rcx, rflags } = await vm.vcpus[1 - index].registers();
    assert.deepEqual({ rip, rsp, rcx, rflags }, other, "the other one is down meanwhile");
  }
  assert.deepEqual([step.kind, step.vcpu.index, step.rip], ["step", index, at + BigInt(length)]);
  say(`vCPU ${index} stops in ${FUNCTION} by ${breakpoint.how}, the other stands; it is stepped`);
}
await breakpoint.remove();
const last = vm.continue(LIMIT);
await vm.console.send("two\n");
await vm.console.expect(/ANSWER two/, LIMIT);
await vm.pause();
assert.equal((await last).kind, "pause");
say("it goes on, and answers on its console");
