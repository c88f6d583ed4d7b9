/**
 * Debian's kernel on two vCPUs, to a shell of Debian's packages on the virtio console: its root is ext4 on a virtio
 * disk. It is stopped in a kernel function on each vCPU. Run in the KVM lab; prints JSON.
 */
import { gva, linux, MiB, open, virtioConsole, virtioDisk } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { debianRoot, run } from "./debian_root.ts";
import { guestInitramfs } from "./initramfs.ts";
import { shown } from "./shown.ts";

const LIMIT = { timeoutMs: 500_000 };
const FUNCTION = "__x64_sys_execve";
const PROMPT = "shell> ";

/**
 * Process 1 on the disk: a shell on the console; then the power off, as there is no init that would do it. That is
 * told to another thread of the kernel, which takes the disk away first: nothing may want a file from there, and
 * process 1 may not end, which would be a panic.
 */
const ON_DISK = `#!/bin/bash
export PS1='${PROMPT}' TERM=dumb
setsid -c bash --norc --noprofile <>/dev/hvc0 >&0 2>&0
mount -o remount,ro /
(echo o > /proc/sysrq-trigger) &
while :; do :; done
`;
const SCRIPT = `
mount -t ext4 /dev/vda /mnt
for name in dev proc sys; do mount --move /$name /mnt/$name; done
exec switch_root /mnt /start
`;

const kernel = findKernel();
const image = await debianRoot({ start: ON_DISK }, 160);
const modules = ["virtio_mmio", "virtio_blk", "virtio_console", "crc32c_generic", "ext4"];
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  cpus: 2,
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, modules, SCRIPT),
    cmdline: "console=hvc0 mitigations=off panic=-1 quiet",
  }),
  devices: [virtioDisk(image), virtioConsole()],
});
let running = vm.continue(LIMIT);
await shown(vm, running, PROMPT, LIMIT);
console.error(`at the prompt ${Math.round(performance.now())} ms after the start`);
const ask = async (command: string, answer: RegExp) => {
  await vm.console.send(`${command}\n`);
  return (await shown(vm, running, answer, LIMIT))[1];
};
const shell = await ask("echo $BASH_VERSION on $(nproc) as $$.", /^(\d+\.\d+)\.\S+ on 2 as \d+\.\s*$/m);
const root = await ask("grep ' / ' /proc/mounts", /^\/dev\/\w+ \/ (ext4 rw)/m);
await ask("echo 'written by bash' > /answer; dmesg > /log; sync; echo done $((6 * 7)).", /done (42)\./);

await vm.pause();
await running;
await vm.linux.locate();
const log = await vm.linux.dmesg();

// Each taskset runs true on one CPU, and so execve() there.
const breakpoint = await vm.breakpoints.add(gva(vm.symbols.lookup(FUNCTION) ?? 0n));
await vm.console.send("for i in 1 2 3 4; do taskset 1 true; taskset 2 true; done; echo went $((40 + 2)).\n");
const backtraces: (string | undefined)[] = [];
for (let stops = 0; stops < 40 && backtraces.filter(Boolean).length < 2; stops++) {
  const stop = await vm.continue(LIMIT);
  if (stop.kind !== "breakpoint") throw new Error(`${stop.kind} instead of a breakpoint`);
  const { frames } = await vm.backtrace({ vcpu: stop.vcpu.index });
  backtraces[stop.vcpu.index] ??= frames.map(({ address }) => vm.symbols.nearest(address)?.name).join(" < ");
}
await breakpoint.remove();
running = vm.continue(LIMIT);
await vm.console.expect(/went 42\./, LIMIT);
await vm.console.send("exit\n");
const stop = await running;
console.error(vm.console.text.slice(-1500), breakpoint.how);
// util-linux's dmesg; what the kernel has said since then is in ours alone.
const theirs = await run("debugfs", "-R", "cat /log", image);
const differ = theirs.split("\n").findIndex((line, i, { length }) =>
  i < length - 1 && line !== log.split("\n")[i]
);
if (differ >= 0) console.error("dmesg:", theirs.split("\n")[differ], "outside:", log.split("\n")[differ]);
console.log(JSON.stringify({
  log: theirs !== "" && differ < 0,
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  shell: Number(shell) >= 5,
  root,
  written: (await run("debugfs", "-R", "cat /answer", image)).trim(),
  backtraces,
}));
await Deno.remove(image.slice(0, image.lastIndexOf("/")), { recursive: true });
