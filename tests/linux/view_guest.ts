/**
 * Boots Debian's kernel with KASLR, looks at it from outside while it is paused, and prints as JSON how that compares
 * with what the guest says of itself. On the backend that is named, by default /dev/kvm: deno run -A FILE [qemu].
 */
import { createHash } from "node:crypto";
import { gva, linux, MiB, open } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";
import { shown } from "./shown.ts";

const SCRIPT = `
dmesg > /log
echo "LOG $(wc -l < /log) $(sha256sum < /log)"
grep -v '\\[' /proc/kallsyms > /symbols
echo "SYMBOLS $(wc -l < /symbols) $(sha256sum < /symbols)"
grep '\\[' /proc/kallsyms | cut -d' ' -f1,3 > /theirs
echo "THEIRS $(wc -l < /theirs) $(sha256sum < /theirs)"
echo "TEXT $(grep ' T _text$' /symbols)"
echo "RELEASE $(uname -r)"
sed 's/^/MODULE /' /proc/modules
for pid in 1 2 3; do echo "TASK $pid $(cat /proc/$pid/comm)"; done
echo READY
while true; do sleep 1; done
`;
const LIMIT = { timeoutMs: 900_000 };

const kernel = findKernel();
await using vm = await open({
  backend: Deno.args[0] === "qemu" ? "qemu" : "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"], SCRIPT),
    cmdline: "console=ttyS0 mitigations=off panic=-1 quiet",
  }),
});
const run = vm.continue(LIMIT);
await shown(vm, run, /READY/, LIMIT);
await vm.pause();

const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1] ?? "";
const all = (what: string) =>
  [...vm.console.text.matchAll(new RegExp(`^${what} (.*?)\\s*$`, "gm"))].map((match) => match[1]);
const digest = (lines: readonly string[]) =>
  `${lines.length} ${
    createHash("sha256").update(lines.map((line) => `${line}\n`).join("")).digest("hex")
  }  -`;
const hex = (value: bigint) => value.toString(16).padStart(16, "0");

const started = performance.now();
const info = await vm.linux.locate();
const located = Math.round(performance.now() - started);
// busybox's dmesg puts the time before each line of a record.
let stamp = "";
const log = (await vm.linux.dmesg()).split("\n").slice(0, Number(told("LOG").split(" ")[0])).map((line) => {
  const [head] = /^\[ *\d+\.\d+\] /.exec(line) ?? [];
  stamp = head ?? stamp;
  return head === undefined && line !== "" ? stamp + line.slice(stamp.length) : line;
});
const { own, theirs } = await vm.linux.kallsyms();
const { modules } = await vm.linux.modules();
const { tasks } = await vm.linux.tasks();
const init = await vm.linux.readProcess(1, 0x40_0000n, 4);

const breakpoint = await vm.breakpoints.add(gva(vm.symbols.lookup("do_nanosleep") ?? 0n));
const hit = await vm.continue(LIMIT);
const { frames, reason } = await vm.backtrace();
const names = frames.map(({ address }) => vm.symbols.nearest(address)?.name ?? "?");
const current = await vm.linux.current(0);
if (hit.kind !== "breakpoint") console.error(vm.console.text, hit.kind);
console.error(
  `kernel ${info.banner}, KASLR ${info.kaslr.toString(16)}, found in ${located} ms; ${breakpoint.how}; ` +
    `${names.join(" < ")} (${reason})`,
);
console.log(JSON.stringify({
  release: info.release === told("RELEASE"),
  text: told("TEXT") === `${hex(info.text)} T _text`,
  log: digest(log) === told("LOG"),
  symbols: digest(own.map(({ address, type, name }) =>
    `${hex(address)} ${type} ${name}`
  )) === told("SYMBOLS"),
  moduleSymbols: digest(theirs.map(({ address, name, module }) =>
    `${hex(address)} ${name}\t[${module}]`
  )) === told("THEIRS"),
  modules: modules.map(({ name, size, references, base }) =>
    `${name} ${size} ${references} ${hex(base)}`
  ).join() ===
    all("MODULE").map((line) => {
      const [name, size, references, , , base] = line.split(" ");
      return `${name} ${size} ${references} ${base.replace("0x", "")}`;
    }).join(),
  tasks: all("TASK").every((line) => tasks.some(({ pid, name }) => `${pid} ${name}` === line)),
  init: [...init],
  stop: hit.kind,
  calls: ["do_nanosleep", "do_syscall_64"].every((name) => names.includes(name)),
  end: reason.replace(/0x[0-9a-f]+/, "N"),
  current: current?.name,
}));
