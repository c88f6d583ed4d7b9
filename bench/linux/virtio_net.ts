/** A virtio network card over TAP, measured by iperf3 in a guest with Debian's kernel, beside QEMU's without vhost. */
import { type Device, virtioNet } from "../../mod.ts";
import { run } from "../../tests/linux/debian_root.ts";
import { type Effort, type Figure, type Measured, Obstacle } from "../figure.ts";
import { type Asked, inTurn } from "./pair.ts";

const SECONDS = 3;
/** An interface for each side, and the networks on them. */
const SIDES = [
  { tap: "hvshbench0", network: "192.168.83" },
  { tap: "hvshbench1", network: "192.168.84" },
] as const;
const HOST = 1;
const GUEST = 2;
const MAC = "52:54:00:12:34:56";
const MAC_QEMU = "52:54:00:12:34:57";

/** The figure. */
export const net: Figure = {
  name: "net",
  what: "TCP by iperf3 over TAP, either way; QEMU -accel kvm -M microvm, virtio-net without vhost",
  goal: 0.6,
  better: "higher",
  unit: "Mbit/s",
  needs: ["kvm"],
  measure,
};

async function measure({ rounds }: Effort): Promise<Measured> {
  await using cleanup = new AsyncDisposableStack();
  for (const side of SIDES) {
    await tap(side);
    cleanup.defer(() => run("ip", "link", "del", side.tap).then(() => {}));
  }
  cleanup.use(server());
  const [ours, theirs] = SIDES;
  return await inTurn(rounds, {
    packages: ["iperf3"],
    modules: ["virtio_net"],
    // Each finds its network by its card's address.
    setup: `ip link set lo up; ip link set eth0 up
if grep -q ${MAC} /sys/class/net/eth0/address; then ip addr add ${ours.network}.${GUEST}/24 dev eth0
else ip addr add ${theirs.network}.${GUEST}/24 dev eth0; fi
`,
    devices: (): Device[] => [virtioNet({ tap: ours.tap }, { mac: MAC })],
    qemu: [
      ...["-netdev", `tap,id=net,ifname=${theirs.tap},script=no,downscript=no,vhost=off`],
      ...["-device", `virtio-net-device,netdev=net,mac=${MAC_QEMU}`],
    ],
    cases: [
      { name: "guest to host", measure: (guest, side) => megabits(guest, SIDES[side].network, "") },
      { name: "host to guest", measure: (guest, side) => megabits(guest, SIDES[side].network, "-R") },
    ],
  });
}

/** @throws {Obstacle} If there may be none. */
async function tap({ tap, network }: typeof SIDES[number]): Promise<void> {
  try {
    await run("modprobe", "tun").catch(() => {}); // it may be part of the kernel
    await run("ip", "link", "del", tap).catch(() => {}); // left by a run that was killed
    await run("ip", "tuntap", "add", tap, "mode", "tap");
    await run("ip", "addr", "add", `${network}.${HOST}/24`, "dev", tap);
    await run("ip", "link", "set", tap, "up");
  } catch (error) {
    throw new Obstacle(
      `there can be no TAP interface: ${error instanceof Error ? error.message : error}`,
      "run it as root, in the KVM lab for instance",
    );
  }
}

/** iperf3's server on this host. */
function server(): AsyncDisposable {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("iperf3", { args: ["-s"], stdout: "null", stderr: "inherit" }).spawn();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Obstacle("there is no iperf3", "deno task setup");
  }
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** What the receiver had a second. Nothing is printed meanwhile: each byte of a serial console is an exit. */
async function megabits(guest: Asked, network: string, way: "" | "-R"): Promise<number> {
  const said = await guest.ask(`iperf3 -c ${network}.${HOST} -t ${SECONDS} -i 0 -f m ${way}`);
  const rate = /([\d.]+) Mbits\/sec\s+receiver/.exec(said)?.[1];
  if (rate === undefined) throw new Obstacle(`iperf3 says ${said.slice(-500)}`, "run it by hand and see");
  return Number(rate);
}
