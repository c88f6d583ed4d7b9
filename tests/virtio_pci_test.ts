/**
 * virtio over PCI, driven by a guest that is no Linux (fixtures/virtio_pci.s) and by SeaBIOS. On KVM where there is one,
 * software KVMs that run no Linux included; the fixture on the interpreter too.
 */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  type BackendName,
  type Device,
  type DeviceHost,
  firmware,
  flat,
  gpa,
  type GuestMachine,
  gva,
  hosts,
  MiB,
  type NetBacking,
  open,
  virtioConsole,
  virtioDisk,
  virtioNet,
  virtioRng,
} from "../mod.ts";

const DRIVER = await Deno.readFile(new URL("../fixtures/virtio_pci.bin", import.meta.url));
const BIOS = "/usr/share/seabios/bios-256k.bin";
const PCI = { transport: "pci" } as const;
/** Where the fixture has its table and its buffers. */
const TABLE = 0x1_0004n;
const SENT = 0x2_3000n;
const ANSWER = 0x2_4000n;
const TAIL = 0x2_5000n;

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat(BIOS).then(() => true, () => false);
if (!kvm?.usable) console.log(`skipped on KVM: a fixture drives virtio devices over PCI: ${kvm?.reason}`);

/** A cable that ends nowhere. */
const NO_NETWORK: NetBacking = {
  name: "nowhere",
  send() {},
  receive: () => undefined,
  [Symbol.dispose]() {},
};

/** How the fixture waits for its answer. */
const WAITS = { "by looking": 0, "for MSI-X": 1 } as const;

function test(name: string, run: (backend: BackendName, wait: number) => Promise<void>): void {
  for (const backend of ["fake", "kvm"] as const) {
    for (const [how, wait] of Object.entries(WAITS)) {
      Deno.test({
        name: `virtio-pci driver: ${name}, waiting ${how} [${backend}]`,
        ignore: backend === "kvm" && !kvm?.usable,
        fn: () => run(backend, wait),
      });
    }
  }
}

interface Request {
  sent?: Uint8Array;
  /** Bytes of the two parts of the answer. */
  room?: number;
  tail?: number;
  queue?: number;
  wait: number;
}

/** Runs the fixture with one request to the machine's only virtio device; gives the low 7 bits of the used length. */
async function ask(vm: GuestMachine, request: Request): Promise<number> {
  const { sent = new Uint8Array(0), room = 0, tail = 0, queue = 0, wait } = request;
  await vm.memory.write(gpa(SENT), sent);
  const table = new Uint8Array(Uint32Array.of(sent.length, room, tail, queue, wait).buffer);
  await vm.memory.write(gpa(TABLE), table);
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.ok(stop.kind === "exit", stop.kind);
  return stop.code >> 1;
}

function machine(backend: BackendName, ...devices: Device[]): Promise<GuestMachine> {
  return open({ backend, memory: MiB(1), boot: flat(DRIVER, { mode: "protected", at: 0x1_0000 }), devices });
}

test("random numbers", async (backend, wait) => {
  await using vm = await machine(backend, virtioRng(PCI));
  assert.equal(await ask(vm, { room: 16, wait }), 16);
  const bytes = await vm.memory.read(gpa(ANSWER), 17);
  assert.equal(bytes[16], 0, "behind the buffer nothing is written");
  assert.ok(bytes.some((byte) => byte !== 0));
});

test("a sector of a disk", async (backend, wait) => {
  const image = new Uint8Array(4 * 512).map((_, i) => i >> 9 ^ i);
  await using vm = await machine(backend, virtioDisk(image, PCI));
  const sent = new Uint8Array(Uint32Array.of(0, 0, 2, 0).buffer); // IN, sector 2 (virtio 1.2, 5.2.6)
  assert.equal(await ask(vm, { sent, room: 512, tail: 1, wait }), 513 & 0x7f);
  assert.deepEqual(await vm.memory.read(gpa(ANSWER), 512), image.subarray(1024, 1536));
  assert.deepEqual(await vm.memory.read(gpa(TAIL), 1), Uint8Array.of(0)); // VIRTIO_BLK_S_OK
});

test("text on a console", async (backend, wait) => {
  await using vm = await machine(backend, virtioConsole(PCI));
  const sent = new TextEncoder().encode("hello over PCI\n");
  assert.equal(await ask(vm, { sent, queue: 1, wait }), 0); // transmitq of port 0 (5.3.2)
  assert.equal(vm.console.text, "hello over PCI\n");
});

test("a stop at a request, which the trace tells of", async (backend, wait) => {
  await using vm = await machine(backend, virtioDisk(new Uint8Array(4 * 512), PCI));
  const [point] = vm.devices.get("blk0")?.device.points?.request ?? [];
  assert.ok(point !== undefined);
  const breakpoint = await vm.breakpoints.onAccess(point);
  const sent = new Uint8Array(Uint32Array.of(0, 0, 2, 0).buffer);
  await vm.memory.write(gpa(SENT), sent);
  await vm.memory.write(gpa(TABLE), new Uint8Array(Uint32Array.of(16, 512, 1, 0, wait).buffer));
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.ok(stop.kind === "access" && stop.breakpoint === breakpoint, stop.kind);
  const [entry] = vm.trace.entries({ kind: "request" });
  assert.deepEqual([entry.device, entry.request], [
    "blk0",
    { queue: 0, given: 16, room: 513, what: "IN sector 2, 512 bytes" },
  ]);
  assert.match(vm.trace.toPerfetto({ device: "blk0" }), /requests of blk0.*queue 0: IN sector 2, 512 bytes/);
  assert.equal((await vm.continue({ timeoutMs: 30_000 })).kind, "exit");
});

for (const cpus of [1, 2]) {
  Deno.test({
    name: `virtio-pci driver: one device added while the guest stands, of ${cpus} vCPUs [kvm]`,
    ignore: !kvm?.usable,
    fn: async () => {
      const boot = flat(DRIVER, { mode: "protected", at: 0x1_0000 });
      await using vm = await open({ backend: "kvm", memory: MiB(1), cpus, boot });
      const card = await vm.devices.add(virtioRng({ ...PCI, slot: 9 }));
      assert.equal(vm.devices.get("pci")?.device.inspect?.()["00:09.0"], "rng0 1af4:1044");
      assert.equal(await ask(vm, { room: 5, wait: WAITS["for MSI-X"] }), 5);
      await card.remove();
      await vm.reset();
      assert.equal(await ask(vm, { room: 5, wait: 0 }), 0x70, "it is gone");
    },
  });
}

for (const cpus of [1, 2]) {
  Deno.test({
    name: `messages that no LAPIC takes are lost, whatever is in them, with ${cpus} vCPUs [kvm]`,
    ignore: !kvm?.usable,
    fn: async () => {
      let host: DeviceHost | undefined;
      const sender: Device = { name: "sender", ports: [], attach: (given) => void (host = given) };
      const boot = flat(Uint8Array.of(0xeb, 0xfe), { at: 0x1000 });
      await using vm = await open({ backend: "kvm", memory: MiB(1), cpus, boot, devices: [sender] });
      for (let mode = 0; mode < 8; mode++) {
        for (const destination of [0, 0xc8, 0xff]) {
          for (const vector of [0, 15, 0x50, 0xff]) {
            for (const flags of [0, 0x8000, 0xffff_0000]) { // edge, level, reserved bits
              for (const logical of [0, 0x0c]) {
                host?.message?.(
                  (0xfee0_0000 | destination << 12 | logical) >>> 0,
                  (mode << 8 | vector | flags) >>> 0,
                );
              }
            }
          }
        }
      }
      const stop = await vm.continue({ timeoutMs: 100 });
      assert.ok(["timeout", "shutdown", "halt", "fault"].includes(stop.kind), stop.kind);
    },
  });
}

Deno.test("virtio-pci: where a device can't be put is said", async () => {
  const refused = (device: () => Device, said: RegExp) =>
    assert.rejects(async () => await open({ backend: "fake", devices: [device()] }), said);
  await refused(() => virtioRng({ ...PCI, slot: 1 }), /rng0 can't be PCI function 1.0: piix3 is there/);
  await refused(() => virtioRng({ ...PCI, slot: 32 }), /no such place/);
  await refused(() => virtioRng({ ...PCI, place: { at: 0n, irq: 5 } }), /place is for the other transport/);
  await refused(() => virtioRng({ slot: 4 }), /slot is for the other transport/);
  await refused(() => virtioRng({ transport: "isa" as "pci" }), /no transport "isa"/);
  await assert.rejects(
    async () => await open({ backend: "fake", defaultDevices: false, devices: [virtioRng(PCI)] }),
    /no PCI bus/,
  );
});

Deno.test({
  name: "virtio-pci: SeaBIOS boots from a disk, and moves its registers",
  ignore: !kvm?.usable || !bios,
  fn: async () => {
    const disk = new Uint8Array(MiB(1));
    disk.set(await Deno.readFile(new URL("../fixtures/bios_hello.bin", import.meta.url)));
    const devices = [virtioNet(NO_NETWORK, PCI), virtioDisk(disk, PCI)];
    await using vm = await open({ backend: "kvm", memory: MiB(32), boot: firmware(BIOS), devices });
    const patience = { timeoutMs: 240_000 };
    await vm.breakpoints.add(gva(0x7c00n), { once: true });
    const stop = await vm.continue(patience);
    assert.equal(stop.kind, "breakpoint");
    assert.equal(stop.registers.rdx & 0xffn, 0x80n, "DL is the first hard disk");
    assert.match(vm.debugLog.text, /found virtio-blk at 00:04\.0/);
    assert.equal(vm.virtio.get("blk0")?.live, true);
    const running = vm.continue(patience);
    await vm.console.expect("hello from the disk", patience);
    await vm.console.send("kept\r");
    await vm.console.expect("saved", patience);
    await vm.console.send("\x1b");
    assert.equal((await running).kind, "halt");
    assert.equal(new TextDecoder().decode(disk.subarray(512, 517)), "kept\0");
  },
});
