/**
 * Debian's kernel hears the power button, tells of its panic, and resets itself by a triple fault. Run in the KVM lab;
 * prints JSON.
 */
import { linux, MiB, open, type Stop } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";
import { shown } from "./shown.ts";

const SCRIPT = `
echo "DMI $(cat /sys/class/dmi/id/product_name)"
name=$(grep -l "Power Button" /sys/class/input/event*/device/name)
event=$(basename \${name%/device/name})
echo "INPUT $(cat $name)"
dd if=/dev/input/$event of=/event bs=24 count=1 2>/dev/null &
sleep 2; echo LISTENING # an event that comes before somebody has opened it is lost
wait
echo "EVENT $(od -An -tu2 -j16 -N6 /event | tr -s ' ')"
echo c > /proc/sysrq-trigger
`;
const kernel = findKernel();
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, ["button", "evdev", "pvpanic_mmio"], SCRIPT),
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 reboot=triple quiet",
  }),
});
const LIMIT = { timeoutMs: 500_000 };
const running = vm.continue(LIMIT);
await shown(vm, running, "LISTENING", LIMIT);
const listens = vm.pressPower();
const crash = await running;
// It would have gone on: with panic=-1 it resets at once, and reboot=triple says how.
const reset = await vm.continue(LIMIT);
const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1];
const named = (stop: Stop) => stop.kind === "shutdown" ? stop.reason : stop.kind;
console.error(vm.console.text.slice(-3000));
console.log(JSON.stringify({
  dmi: told("DMI"),
  input: told("INPUT"),
  listens,
  event: told("EVENT")?.trim(),
  crash: named(crash),
  detail: crash.kind === "shutdown" ? crash.detail : undefined,
  reset: named(reset),
}));
