/**
 * Boots Debian's kernel on /dev/kvm with virtio devices, over MMIO or with the argument "pci" over PCI, and prints what
 * came of it as JSON. Run in the KVM lab.
 */
import { linux, MiB, open, virtioDisk, virtioRng } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";

const SCRIPT = `
echo "DEVICES $(ls /sys/bus/virtio/devices | tr '\\n' ' ')"
echo "DISK $(cat /sys/block/vda/size) sectors, serial $(cat /sys/block/vda/serial)"
mount -t ext4 /dev/vda /mnt && echo "FILE $(cat /mnt/hello)"
echo "hello from the guest" > /mnt/answer && umount /mnt
echo "RANDOM $(head -c 16 /dev/hwrng | wc -c)"
echo "VECTORS $(grep -c 'MSI.*virtio' /proc/interrupts)"
dmesg | grep -q 'MMCONFIG for domain 0000' && echo "ECAM used"
poweroff -f
`;

const transport = Deno.args[0] === "pci" ? "pci" : "mmio";
const kernel = findKernel();
const folder = await Deno.makeTempDir();
const image = `${folder}/disk.img`;
await Deno.mkdir(`${folder}/seed`);
await Deno.writeTextFile(`${folder}/seed/hello`, "hello from the host\n");
await run("truncate", "-s", "64M", image);
await run("mkfs.ext4", "-q", "-d", `${folder}/seed`, image);

const initrd = await guestInitramfs(kernel, [
  `virtio_${transport}`,
  "virtio_blk",
  "virtio_rng",
  "crc32c_generic",
  "ext4",
], SCRIPT);
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd,
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 quiet",
  }),
  devices: [virtioDisk(image, { name: "blk0", serial: "HVSH1", transport }), virtioRng({ transport })],
});
const stop = await vm.continue({ timeoutMs: 400_000 });
const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1];
// What the guest wrote is on the host's disk: flushed when it unmounted.
const written = await run("debugfs", "-R", "cat /answer", image);
if (stop.kind !== "shutdown") console.error(vm.console.text, stop);
console.log(JSON.stringify({
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  modules: told("MISSING") ?? "all",
  devices: told("DEVICES"),
  disk: told("DISK"),
  file: told("FILE"),
  written: written.trim(),
  random: Number(told("RANDOM")),
  vectors: Number(told("VECTORS")),
  ecam: told("ECAM") ?? "none",
}));

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
