/**
 * Debian's kernel as a guest of Xen, debugged while it runs, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_linux.ts xen-pvh|xen-pv|xen-hvm`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { type BackendName, gpa, gva, linux, MiB, open } from "../../mod.ts";
import { interruptTable } from "../../src/x86/descriptors.ts";
import { guestInitramfs } from "../linux/initramfs.ts";
import { linuxImage } from "./images.ts";
import { findKernel } from "./kernel.ts";

/** Answers each line of its console, and sleeps a moment: that is where it is stopped. */
const SCRIPT = `
echo READY
while read line; do sleep 0.01; echo "ANSWER $line from $(uname -r)"; done
`;
/** Where a process goes to sleep, by the kernel's own table of symbols. */
const FUNCTION = "do_nanosleep";
const LIMIT = { timeoutMs: 900_000 };
const PAGE_FAULT = 14;
const PT_REGS = { size: 168n, ip: 128n };
const SYSCALL = [0x0f, 0x05];

const began = performance.now();
const say = (what: string) => console.log(`ok ${what} (${((performance.now() - began) / 1e3).toFixed(0)} s)`);

const [backend] = Deno.args as [BackendName];
const kernel = findKernel();
const cache = new URL("../../.cache/lab", import.meta.url).pathname;
const initrd = await guestInitramfs(kernel, [], SCRIPT);
// Unpacked: the toolstack takes half a minute for that.
const image = await linuxImage(kernel, cache);
await using vm = await open({
  backend,
  memory: MiB(256),
  boot: linux({
    kernel: backend === "xen-hvm" ? kernel.image : image,
    initrd,
    cmdline: `console=${backend === "xen-hvm" ? "ttyS0" : "hvc0"} nokaslr mitigations=off panic=-1 quiet`,
  }),
});
const running = vm.continue(LIMIT);
const first = await Promise.race([vm.console.expect(/READY/, LIMIT), running]);
if ("kind" in first) {
  const why = "reason" in first ? `: ${first.reason}` : "";
  assert.fail(`${first.kind}${why} at 0x${first.rip.toString(16)}, after ${vm.console.text.slice(-400)}`);
}
say("it comes to userspace");

await vm.pause();
const info = await vm.linux.locate();
assert.equal(info.release, kernel.version);
const { tasks } = await vm.linux.tasks();
assert.ok(tasks.some(({ pid, name }) => pid === 1 && /^(init|sh|busybox)$/.test(name)));
assert.match(await vm.linux.dmesg(), /Linux version/);
say(`its symbols, tasks and log are found while it is paused: ${info.release}`);

const at = vm.symbols.lookup(FUNCTION);
assert.ok(at !== undefined);
const [vcpu] = vm.vcpus;
const found = await vcpu.memory.translate(gva(at));
assert.ok(found.gpa !== undefined);
assert.deepEqual(await vm.memory.read(gpa(found.gpa), 16), await vcpu.memory.read(gva(at), 16));
const { idtr_base, idtr_limit } = await vcpu.registers();
const table = await vcpu.trapTable() ?? await vcpu.memory.read(gva(idtr_base), Number(idtr_limit) + 1);
const [, gate] = [...interruptTable(table, true)].filter(({ index }) => index === 3 || index === PAGE_FAULT);
assert.ok(gate.descriptor.kind === "interrupt-gate" || gate.descriptor.kind === "trap-gate");
const handler = vm.symbols.nearest(gate.descriptor.offset)?.name;
assert.match(handler ?? "", /asm_exc_page_fault$/);
say(`its page tables and its ${table.length / 16} gates are read: page faults go to ${handler}`);

const breakpoint = await vm.breakpoints.add(gva(at));
const going = vm.continue(LIMIT);
await vm.console.send("one\n");
const hit = await going;
assert.deepEqual([hit.kind, hit.rip], ["breakpoint", at]);
const { frames } = await vm.backtrace();
const names = frames.map(({ address }) => vm.symbols.nearest(address)?.name ?? "?");
assert.ok(names.includes("do_syscall_64"), names.join(" < "));
say(`a breakpoint by ${breakpoint.how}: ${names.join(" < ")}`);

// The kernel's stack is 16 KiB, at a multiple of that; struct pt_regs is on top of it (arch/x86/include/asm/ptrace.h).
const top = (hit.registers.rsp | 0x3fffn) + 1n;
const user = await vcpu.memory.readUint(gva(top - PT_REGS.size + PT_REGS.ip), 8);
assert.deepEqual([...await vcpu.memory.read(gva(user - 2n), 2)], SYSCALL);
const [next] = await vm.disassemble(gva(user), { count: 1 });
say(`the program that sleeps is looked at: it goes on at ${user.toString(16)} with ${next.text}`);

const step = await vm.step();
assert.equal(step.kind, "step");
const { r15 } = step.registers;
await vm.vcpus[0].setRegisters({ r15: r15 ^ 0xffn });
assert.equal((await vm.vcpus[0].registers()).r15, r15 ^ 0xffn);
await vm.vcpus[0].setRegisters({ r15 });
say("a step, and a register changed and put back");

await breakpoint.remove();
if (backend === "xen-pv") {
  const code = await vcpu.memory.read(gva(user), next.length);
  const inProgram = await vm.breakpoints.add(gva(user), { kind: "software" });
  assert.equal(inProgram.how, "int3");
  const { kind, rip, registers } = await vm.continue(LIMIT);
  assert.deepEqual([kind, rip, registers.cs & 3n], ["breakpoint", user, 3n]);
  assert.equal((await vm.step()).rip, user + BigInt(next.length));
  await inProgram.remove();
  assert.deepEqual(await vcpu.memory.read(gva(user), next.length), code);
  say(`INT3 in the program: it stops at ${user.toString(16)}, and is stepped`);
}
const last = vm.continue(LIMIT);
await vm.console.expect(/ANSWER one/, LIMIT);
await vm.console.send("two\n");
await vm.console.expect(/ANSWER two/, LIMIT);
await vm.pause();
assert.equal((await last).kind, "pause");
say("it goes on, and answers on its console");
