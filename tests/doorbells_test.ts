/**
 * Notifications of virtio devices on KVM: they leave the guest running (KVM_IOEVENTFD), on either transport, and are
 * accesses again as soon as somebody wants to see them.
 */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type Device, flat, gpa, type GuestMachine, hosts, open, virtioDisk, virtioRng } from "../mod.ts";

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: doorbells of virtio devices: ${kvm?.reason}`);

const driver = (name: string) => Deno.readFile(new URL(`../fixtures/${name}.bin`, import.meta.url));
const DRIVERS = { mmio: await driver("virtio_request"), pci: await driver("virtio_pci") };
type Transport = keyof typeof DRIVERS;
const PLACES = {
  mmio: { place: { at: 0xd000_0000n, irq: 10 } },
  pci: { transport: "pci" },
} as const;
/** Where the fixtures have their table and their buffers; and QueueNotify (virtio 1.2, 4.2.2) of the one over MMIO. */
const TABLE = 0x1_0004n;
const SENT = 0x2_3000n;
const ANSWER = 0x2_4000n;
const NOTIFY = 0xd000_0050n;
/** How the one over PCI waits: for its interrupt. What it sees of the ring is there a moment before. */
const FOR_MSIX = 1;
const LIMIT = { timeoutMs: 120_000 };
const ROOM = 16;

function test(name: string, run: (transport: Transport) => Promise<void>, transports: Transport[]): void {
  for (const transport of transports) {
    Deno.test({
      name: `doorbells: ${name} [${transport}]`,
      ignore: !kvm?.usable,
      fn: () => run(transport),
    });
  }
}

/** A guest that makes one request, answered with `ROOM` bytes. */
async function guest(transport: Transport, device: Device, cpus = 2): Promise<GuestMachine> {
  const boot = flat(DRIVERS[transport], { mode: "protected", at: 0x1_0000 });
  const vm = await open({ backend: "kvm", memory: 1 << 20, cpus, boot, devices: [device] });
  await vm.memory.write(gpa(TABLE), new Uint8Array(Uint32Array.of(0, ROOM, 0, 0, FOR_MSIX).buffer));
  return vm;
}

const notified = (vm: GuestMachine) =>
  vm.trace.entries({ kind: "mmio", write: true, from: NOTIFY, to: NOTIFY }).length;

/** Lets the guest make its request; it ends with the low 7 bits of the used length. */
async function answered(vm: GuestMachine): Promise<void> {
  const stop = await vm.continue(LIMIT);
  assert.ok(stop.kind === "exit", JSON.stringify(stop.kind));
  assert.equal(stop.code >> 1, ROOM);
  assert.ok((await vm.memory.read(gpa(ANSWER), ROOM)).some((byte) => byte !== 0));
  assert.equal(vm.trace.entries({ kind: "request" }).length, 1);
}

test(
  "a request is answered without an access, again after a reset; with one vCPU where it has its interrupts in time",
  async (transport) => {
    for (const cpus of [2, 1]) {
      await using vm = await guest(transport, virtioRng(PLACES[transport]), cpus);
      const late = vm.capabilities.get("interrupt-windows")?.usable === false;
      for (let round = 0; round < 2; round++) {
        await answered(vm);
        if (transport === "mmio") assert.equal(notified(vm), cpus === 1 && late ? 1 : 0);
        vm.trace.clear();
        await vm.reset();
        await vm.memory.write(gpa(TABLE), new Uint8Array(Uint32Array.of(0, ROOM, 0, 0, FOR_MSIX).buffer));
      }
    }
  },
  ["mmio", "pci"],
);

test(
  "one that somebody looks at is an access: a break, a wrapper, a device with code of the user's",
  async (transport) => {
    const place = PLACES[transport];
    {
      await using vm = await guest(transport, virtioRng(place));
      const [point] = vm.devices.get("rng0")?.device.points?.request ?? [];
      await vm.breakpoints.onAccess(point);
      assert.equal((await vm.continue(LIMIT)).kind, "access");
      await answered(vm);
    }
    {
      await using vm = await guest(transport, virtioRng(place));
      using _wrapped = vm.devices.wrap("rng0", {});
      await answered(vm);
      assert.equal(notified(vm), 1);
    }
    await using vm = await guest(transport, virtioRng({ ...place, onRequest: () => {} }));
    await answered(vm);
    assert.equal(notified(vm), 1);
  },
  ["mmio"],
);

test("a store that fails tells the guest, and nothing of a closed guest stays", async (transport) => {
  const fds = () => [...Deno.readDirSync("/proc/self/fd")].length;
  await (await guest(transport, virtioRng(PLACES[transport]))).close();
  const before = fds();
  {
    await using vm = await guest(transport, virtioDisk(new Uint8Array(512), PLACES[transport]));
    // A read of a sector behind the end: VIRTIO_BLK_S_IOERR (5.2.6).
    await vm.memory.write(gpa(SENT), new Uint8Array(Uint32Array.of(0, 0, 7, 0).buffer));
    await vm.memory.write(gpa(TABLE), new Uint8Array(Uint32Array.of(16, 513, 0, 0, 0).buffer));
    const stop = await vm.continue(LIMIT);
    assert.equal(stop.kind, "exit");
    assert.deepEqual(await vm.memory.read(gpa(ANSWER + 512n), 1), Uint8Array.of(1));
  }
  assert.equal(fds(), before);
}, ["mmio"]);
