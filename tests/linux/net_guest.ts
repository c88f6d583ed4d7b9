/** Debian's kernel on two virtio networks: DHCP and fetching over user net, fetching over TAP. Prints JSON. */
import { linux, MiB, open, virtioNet } from "../../mod.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";

const TAP = "hvshtap0";
const HOST_PORT = 18_022;
await run("modprobe", "tun");
await run("ip", "tuntap", "add", TAP, "mode", "tap");
await run("ip", "addr", "add", "192.168.77.1/24", "dev", TAP);
await run("ip", "link", "set", TAP, "up");
await run("ip", "link", "set", "lo", "up");
const size = 1 << 20;
const body = new Uint8Array(size).map((_, i) => i * 7 + (i >> 8));
await using server = Deno.serve({ hostname: "0.0.0.0", port: 0, onListen() {} }, () => new Response(body));
const { port } = server.addr;
const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", body))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");

const SCRIPT = `
cat > /dhcp <<'END'
#!/bin/busybox sh
[ "$1" = bound ] && ip addr add $ip/24 dev $interface && ip route add default via $router && echo "DHCP $ip $router $dns"
exit 0
END
chmod +x /dhcp
ip link set lo up; ip link set eth0 up; ip link set eth1 up
udhcpc -i eth0 -s /dhcp -n -q
echo "USER $(wget -q -O - http://10.0.2.2:${port}/ | sha256sum)"
ip addr add 192.168.77.2/24 dev eth1
echo "TAP $(wget -q -O - http://192.168.77.1:${port}/ | sha256sum)"
echo "forwarded" | nc -l -p 7777 &
sleep 1; echo "LISTENING"
wait
echo "DONE"
poweroff -f
`;
const kernel = findKernel();
const pcap = await Deno.makeTempFile();
const modules = ["virtio_mmio", "virtio_net", "af_packet"];
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(kernel, modules, SCRIPT),
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 quiet",
  }),
  devices: [
    virtioNet({ forwards: [{ hostPort: HOST_PORT, guestPort: 7777 }] }, { pcap }),
    virtioNet({ tap: TAP }, { name: "net1", mac: "52:54:00:12:34:57" }),
  ],
});
const running = vm.continue({ timeoutMs: 500_000 });
await vm.console.expect("LISTENING", { timeoutMs: 480_000 });
using connection = await Deno.connect({ hostname: "127.0.0.1", port: HOST_PORT });
const forwarded = await new Response(connection.readable).text();
const stop = await running;
const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1];
console.error(vm.console.text, vm.devices.get("net0")?.device.inspect?.());
console.log(JSON.stringify({
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  dhcp: told("DHCP"),
  user: told("USER") === `${digest}  -`,
  tap: told("TAP") === `${digest}  -`,
  forwarded: forwarded.trim(),
  recorded: (await Deno.stat(pcap)).size > size,
}));

async function run(command: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
