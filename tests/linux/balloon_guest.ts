/** Debian's kernel lends memory by its balloon and takes it back. Run in the KVM lab; prints JSON. */
import { linux, MiB, open, virtioBalloon } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";

const kernel = findKernel();
const SCRIPT = `
dd if=/dev/zero of=/big bs=1M count=150 2>/dev/null
echo FILLED
read go
rm /big; echo GONE
read go
echo "END $(grep MemTotal /proc/meminfo | tr -s ' ')"
dd if=/dev/zero of=/big bs=1M count=150 2>/dev/null && echo "AGAIN"
poweroff -f
`;
await using vm = await open({
  backend: "kvm",
  memory: MiB(400), // the guest's root is a tmpfs: half of that is all it holds
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, ["virtio_mmio", "virtio_balloon"], SCRIPT),
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 quiet page_reporting.page_reporting_order=0",
  }),
  devices: [virtioBalloon()],
});
const balloon = vm.balloon!;
const limit = { timeoutMs: 300_000 };
const running = vm.continue({ timeoutMs: 540_000 });
/** Guest memory that takes memory of this host. */
const resident = () => {
  const kib = /^Rss:\s+(\d+) kB/m.exec(Deno.readTextFileSync("/proc/self/smaps_rollup"))![1];
  return Number(kib) >> 10;
};
const until = async (what: () => boolean) => {
  for (let i = 0; i < 600 && !what(); i++) await new Promise((resolve) => setTimeout(resolve, 200));
};
await vm.console.expect("FILLED", limit);
const full = resident();
await vm.console.send("\n");
await vm.console.expect("GONE", limit);
// Free pages are reported by themselves, some seconds later.
await until(() => full - resident() > 100);
const reported = full - resident();
const statistics = await balloon.statistics({ timeoutMs: 100_000 });
balloon.target = MiB(120);
await until(() => balloon.actual === MiB(120));
const inflated = balloon.actual;
const lent = await balloon.statistics({ timeoutMs: 100_000 });
balloon.target = 0;
await until(() => balloon.actual === 0);
await vm.console.send("\n");
const stop = await running;
console.error(full, reported, statistics, lent, balloon.inspect(), vm.console.text.slice(-500));
console.log(JSON.stringify({
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  reported: reported > 100,
  inflated: inflated / MiB(1),
  deflated: balloon.actual === 0,
  again: vm.console.text.includes("AGAIN"),
  freeFell: Number((statistics.free ?? 0n) - (lent.free ?? 0n)) > MiB(80),
}));
