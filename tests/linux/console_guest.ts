/** A shell of Debian's kernel on virtio consoles, driven from outside. Run in the KVM lab; prints JSON. */
import { GuestConsole, linux, MiB, open, virtio, VirtioConsole } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";

const LOG_BYTES = 104_857_600;

const kernel = findKernel();
// hvc0 is the only console: the shell must be on it, and the kernel's log.
const SCRIPT = `
# A device of several ports tells what they are after its driver is loaded.
until grep -q hvc0 /sys/class/tty/console/active; do sleep 0.1; done
export PS1='prompt> '
setsid cttyhack sh
poweroff -f
`;
const log = new GuestConsole();
let logged = 0;
log.onOutput((bytes) => logged += bytes.length);
const console0 = new VirtioConsole({
  ports: [{}, { name: "org.hvsh.log", end: log }],
  size: { columns: 100, rows: 30 },
});
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, ["virtio_mmio", "virtio_console"], SCRIPT),
    cmdline: "console=hvc0 quiet nokaslr mitigations=off panic=-1",
  }),
  devices: [virtio(console0)],
});
const running = vm.continue({ timeoutMs: 500_000 });
const limit = { timeoutMs: 400_000 };
await vm.console.expect("prompt> ", limit);
const ask = async (command: string, answer: RegExp) => {
  await vm.console.send(`${command}\n`);
  return (await vm.console.expect(answer, limit))[1];
};
const sum = await ask("echo sum $((40 + 2)).", /sum (\d+)\./);
const name = await ask("cat /sys/class/virtio-ports/vport0p1/name", /^(org\.\S+)\s*$/m);
const before = await ask("stty size", /^(\d+ \d+)\s*$/m);
console0.resize(132, 43);
// The guest hears of it when its interrupt comes.
const after = await ask('until stty size | grep -v "^30 "; do sleep 0.1; done', /^(\d+ \d+)\s*$/m);
const resident = Deno.memoryUsage().rss;
await vm.console.send('(read line; echo "port" "heard $line.") < /dev/vport0p1\n');
// What is sent before the guest opens the port is lost, as on a line that nobody listens on.
while (!String(console0.inspect().open).includes("org.hvsh.log")) {
  await new Promise((go) => setTimeout(go, 50));
}
const typed = log.send("a line of ours\n");
const heard = (await vm.console.expect(/port heard (.*)\./, limit))[1];
await typed;
await ask("dd if=/dev/zero of=/dev/vport0p1 bs=1M count=100 && echo all $((50 + 50)).", /all (\d+)\./);
const grown = Deno.memoryUsage().rss - resident;
await vm.console.send("exit\n");
const stop = await running;
console.error(`${grown >> 20} MiB more after ${logged} bytes`);
console.log(JSON.stringify({
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  sum,
  name,
  sizes: `${before}, ${after}`,
  heard,
  logged: logged === LOG_BYTES,
  kept: log.text.length < 2 << 20,
  grew: grown > 100 << 20,
}));
