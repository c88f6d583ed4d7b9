/**
 * virtio devices that a guest drives which is no Linux: fixtures/virtio_request.s makes one request. On KVM where there is
 * one, software KVMs that run no Linux included, and on the interpreter.
 */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  type BackendName,
  type Chain,
  type Device,
  flat,
  gpa,
  type GuestMachine,
  hosts,
  open,
  virtio,
  virtioDisk,
  virtioRng,
} from "../mod.ts";

const DRIVER = await Deno.readFile(new URL("../fixtures/virtio_request.bin", import.meta.url));
const PLACE = { place: { at: 0xd000_0000n, irq: 10 } };
/** Where the fixture has its table and its buffers. */
const TABLE = 0x1_0004n;
const SENT = 0x2_3000n;
const ANSWER = 0x2_4000n;
const TAIL = 0x2_5000n;

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped on KVM: a fixture drives virtio devices: ${kvm?.reason}`);

function test(name: string, run: (backend: BackendName) => Promise<void>): void {
  for (const backend of ["fake", "kvm"] as const) {
    Deno.test({
      name: `virtio driver: ${name} [${backend}]`,
      ignore: backend === "kvm" && !kvm?.usable,
      fn: () => run(backend),
    });
  }
}

interface Request {
  sent?: Uint8Array;
  /** Bytes of the two parts of the answer. */
  room: number;
  tail?: number;
}

/** Runs the fixture with one request to `device`; gives the exit code and the low 7 bits of the used length. */
async function ask(
  backend: BackendName,
  device: Device,
  { sent = new Uint8Array(0), room, tail = 0 }: Request,
  then: (vm: GuestMachine, code: number) => Promise<void>,
): Promise<void> {
  const boot = flat(DRIVER, { mode: "protected", at: 0x1_0000 });
  await using vm = await open({ backend, memory: 1 << 20, boot, devices: [device] });
  await vm.memory.write(gpa(SENT), sent);
  const table = new Uint8Array(Uint32Array.of(sent.length, room, tail).buffer);
  await vm.memory.write(gpa(TABLE), table);
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.ok(stop.kind === "exit", stop.kind);
  await then(vm, stop.code >> 1);
}

test("random numbers", async (backend) => {
  const seen = new Set<string>();
  for (let i = 0; i < 3; i++) {
    await ask(backend, virtioRng(PLACE), { room: 16 }, async (vm, used) => {
      assert.equal(used, 16);
      const bytes = await vm.memory.read(gpa(ANSWER), 17);
      assert.equal(bytes[16], 0, "behind the buffer nothing is written");
      seen.add(bytes.toHex());
    });
  }
  assert.equal(seen.size, 3);
});

test("a sector of a disk is read, one is written, and one behind the end is refused", async (backend) => {
  const image = new Uint8Array(4 * 512).map((_, i) => i >> 9 ^ i);
  const header = (type: number, sector: number) => new Uint8Array(Uint32Array.of(type, 0, sector, 0).buffer); // virtio 1.2, 5.2.6
  const disk = () => virtioDisk(image, PLACE);
  await ask(backend, disk(), { sent: header(0, 2), room: 512, tail: 1 }, async (vm, used) => {
    assert.equal(used, 513 & 0x7f);
    assert.deepEqual(await vm.memory.read(gpa(ANSWER), 512), image.subarray(1024, 1536));
    assert.deepEqual(await vm.memory.read(gpa(TAIL), 1), Uint8Array.of(0)); // VIRTIO_BLK_S_OK
  });
  const data = new Uint8Array(512).fill(0x5a);
  const write = new Uint8Array([...header(1, 3), ...data]);
  await ask(backend, disk(), { sent: write, room: 1 }, async (vm, used) => {
    assert.equal(used, 1);
    assert.deepEqual(await vm.memory.read(gpa(ANSWER), 1), Uint8Array.of(0));
  });
  await ask(backend, disk(), { sent: header(0, 4), room: 512, tail: 1 }, async (vm) => {
    assert.deepEqual(await vm.memory.read(gpa(TAIL), 1), Uint8Array.of(1)); // VIRTIO_BLK_S_IOERR
  });
});

test("a device of the user's own, whose views tell what was agreed on", async (backend) => {
  const asked: string[] = [];
  const echo = virtio({
    name: "echo",
    id: 42,
    queues: [8],
    request(chain: Chain) {
      const bytes = chain.readAll(64);
      asked.push(new TextDecoder().decode(bytes));
      chain.write(0, bytes.toReversed());
    },
  }, PLACE);
  const sent = new TextEncoder().encode("stressed");
  await ask(backend, echo, { sent, room: 64 }, (vm, used) => {
    assert.equal(used, 8);
    assert.deepEqual(asked, ["stressed"]);
    assert.equal(vm.console.text, "desserts");
    const view = vm.virtio.get("echo");
    assert.ok(view !== undefined);
    // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK; VERSION_1 alone.
    assert.deepEqual([view.status, view.accepted, view.live, view.setups.length], [0xf, 1n << 32n, true, 1]);
    assert.deepEqual(view.waiting(0, 8), []);
    return Promise.resolve();
  });
});

test("a request whose device throws stops the guest there, by name", async (backend) => {
  const broken = virtio({
    name: "broken",
    id: 42,
    queues: [8],
    request() {
      throw new Error("out of order");
    },
  }, PLACE);
  const boot = flat(DRIVER, { mode: "protected", at: 0x1_0000 });
  await using vm = await open({ backend, memory: 1 << 20, boot, devices: [broken] });
  const stop = await vm.continue({ timeoutMs: 10_000 });
  assert.ok(stop.kind === "fault", stop.kind);
  assert.match(stop.reason, /broken.*out of order/s);
});
