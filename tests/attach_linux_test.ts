/** `hvsh attach gdb:` to a guest that somebody else's QEMU translates: Debian's kernel, by the shell's own commands. */
import assert from "node:assert/strict";
import { hosts } from "../mod.ts";
import { BUSYBOX } from "./lab/initramfs.ts";
import { findKernel, type HostKernel } from "./lab/kernel.ts";
import { guestInitramfs } from "./linux/initramfs.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const kernel = kernelOf();
const ignore = qemu?.usable !== true || kernel === undefined;
if (ignore) {
  console.log("skipped: attaching to Debian's kernel in QEMU: it wants QEMU, the kernel and busybox");
}

/** A busy host that translates takes minutes. */
const LIMIT_MS = 900_000;

const SCRIPT = `echo READY
while true; do sleep 0.1; done
`;

function kernelOf(): HostKernel | undefined {
  try {
    Deno.statSync(BUSYBOX);
    return findKernel();
  } catch {
    return undefined;
  }
}

async function until(done: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!await done()) {
    assert.ok(performance.now() < end, "it takes too long");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Starts QEMU with the kernel and waits until its user space runs. */
async function booted(folder: string): Promise<Deno.ChildProcess> {
  await Deno.writeFile(`${folder}/initrd`, await guestInitramfs(kernel!, [], SCRIPT));
  const socket = (name: string) => `socket,id=${name},path=${folder}/${name},server=on,wait=off`;
  const child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "256"],
      ...["-kernel", kernel!.image, "-initrd", `${folder}/initrd`],
      ...["-append", "console=ttyS0 mitigations=off panic=-1 quiet", "-serial", `file:${folder}/serial`],
      ...["-chardev", socket("gdb"), "-gdb", "chardev:gdb"],
      ...["-chardev", socket("qmp"), "-mon", "chardev=qmp,mode=control"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const serial = () => Deno.readTextFile(`${folder}/serial`).catch(() => "");
  await until(async () => (await serial()).includes("READY"));
  return child;
}

Deno.test({
  name:
    "hvsh attach gdb: debugs Debian's kernel in QEMU: symbols, breakpoints, steps, registers, memory, the log",
  ignore,
  async fn() {
    const folder = await Deno.makeTempDir();
    const child = await booted(folder);
    try {
      const lines = [
        "linux",
        "info registers rip",
        "break do_nanosleep if $rsp != 0",
        "continue",
        "bt",
        "stepi",
        "nexti",
        "x/2i $rip",
        "delete",
        "break hrtimer_start_range_ns",
        "continue",
        "delete",
        "finish",
        "info breakpoints",
        "print $cr3 != 0",
        "x/4xb linux_banner",
        "x/s linux_banner",
        "info vcpus",
        "info capabilities",
        "dmesg 5",
        "ps",
        "qemu info status",
        "reverse-stepi",
      ];
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check", new URL("../src/repl/main.ts", import.meta.url).pathname],
          ...["--qmp", `unix:${folder}/qmp`, ...lines.flatMap((line) => ["-c", line])],
          ...["attach", `gdb:unix:${folder}/gdb`],
        ],
        stdin: "null",
        signal: AbortSignal.timeout(LIMIT_MS),
      }).output();
      const text = new TextDecoder();
      const output = text.decode(stdout) + text.decode(stderr);
      for (
        const pattern of [
          /^Linux version 6[^]*KASLR moved it by[^]*runs \d+ \(/m,
          /^rip +0x[0-9a-f]+/m,
          /^Breakpoint 1, 0x[0-9a-f]+ in do_nanosleep \(\)/m,
          /#0 .* in do_nanosleep \(\)[^]* hrtimer_nanosleep[^]* do_syscall_64[^]*entered from user space/,
          /^0x[0-9a-f]+ in do_nanosleep\+0x5 \(\)[^]*^0x[0-9a-f]+ in do_nanosleep\+0x/m,
          // finish: from wherever a timer is started.
          /^Breakpoint 2, 0x[0-9a-f]+ in hrtimer_start_range_ns \(\)\n.*\n0x[0-9a-f]+ in \w+\+0x/m,
          /^No breakpoints or watchpoints/m,
          /^\$1 = 1$/m,
          /<linux_banner>:\t0x4c\t0x69\t0x6e\t0x75$/m,
          /<linux_banner>:\t"Linux version 6/,
          /^\* vCPU 0 paused/m,
          /^breakpoint-remote +yes/m,
          /^\[ +\d+\.\d{6}\] /m,
          /^[ *]1 +0 +[A-Z] +0 +init$/m,
          /^VM status: paused/m,
          /history can't be had here/,
        ]
      ) assert.match(output, pattern, output);
    } finally {
      child.kill("SIGKILL");
      await child.status;
      await Deno.remove(folder, { recursive: true });
    }
  },
});
