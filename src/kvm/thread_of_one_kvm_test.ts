/** A single vCPU whose virtio driver is up: its thread runs on while its requests are answered. */
import assert from "node:assert/strict";
import { GuestMachine } from "../dsl/machine.ts";
import { type Device, gpa, gva, virtioDisk } from "../../mod.ts";
import { KvmBackend, type KvmOptions } from "./backend.ts";
import { kvmCapabilities } from "./capabilities.ts";
import { held, kvmTest, real } from "./test_guest.ts";

/** Makes the same request again and again; see its source for the places. */
const LOOP = await Deno.readFile(new URL("../../fixtures/virtio_loop.bin", import.meta.url));
const PLACE = { at: 0xd000_0000n, irq: 10 };
const NOTIFY = 0xd000_0050n;
const DESCRIPTORS = 0x2_0000n;
const AVAILABLE = 0x2_1000n;
const USED_INDEX = 0x2_2002n;
const DATA = 0x4_0000n;
const STATUS = 0x3_1000n;
const LIMIT = { timeoutMs: 120_000 };
const NEEDS = ["irqchip", "doorbells"];

interface Loop extends AsyncDisposable {
  readonly vm: GuestMachine;
  readonly backend: KvmBackend;
  /** Puts guest and rings to where they begin. */
  begin(): Promise<void>;
  /** Requests that were answered, modulo 65536. */
  answered(): Promise<number>;
  /** Lets it run until more were answered. */
  more(): Promise<void>;
  /** Times that the driver's notification was an access. */
  accesses(): number;
}

/** A guest that reads the first sector of its disk, full of sevens, for ever. */
async function loop(options: Partial<KvmOptions> = {}): Promise<Loop> {
  const backend = new KvmBackend(
    { memory: 1 << 20, cpus: 1, irqchip: true, pit: true, threadOfOne: true, ...options },
    kvmCapabilities,
  );
  const vm = new GuestMachine({ backend });
  await vm.devices.add(virtioDisk(new Uint8Array(512).fill(7), { name: "disk", place: PLACE }));
  // struct virtq_desc: header, sector, status byte (virtio 1.2, 2.7.5); flags NEXT 1 and WRITE 2.
  const chain = Uint32Array.from([
    ...[0x3_0000, 0, 16, 1 | 1 << 16],
    ...[Number(DATA), 0, 512, 3 | 2 << 16],
    ...[Number(STATUS), 0, 1, 2],
  ]);
  const begin = async () => {
    real(backend, [...LOOP]);
    await vm.memory.write(gpa(0x1008n), new Uint8Array(4)); // 2^32 requests
    for (const at of [0x2_1000n, 0x2_2000n, DATA]) await vm.memory.write(gpa(at), new Uint8Array(4096));
    await vm.memory.write(gpa(DESCRIPTORS), new Uint8Array(chain.buffer));
  };
  const answered = async () =>
    new DataView((await vm.memory.read(gpa(USED_INDEX), 2)).buffer).getUint16(0, true);
  await begin();
  return {
    vm,
    backend,
    begin,
    answered,
    accesses: () => vm.trace.entries({ kind: "mmio", write: true, from: NOTIFY, to: NOTIFY }).length,
    async more() {
      const before = await answered();
      const run = vm.continue(LIMIT);
      while (await answered() === before && vm.state === "running") await moment();
      if (vm.state === "running") await vm.pause();
      assert.equal((await run).kind, "pause");
    },
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}

const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

kvmTest(
  "its requests are answered without an access; it stops and goes on; nothing stays",
  NEEDS,
  async () => {
    {
      await using first = await loop();
      await first.more();
    }
    const before = held();
    {
      await using guest = await loop();
      assert.equal(held()[0], before[0], "a thread before there is a driver");
      for (let round = 0; round < 10; round++) {
        await guest.more();
        const now = await guest.answered();
        await moment();
        assert.equal(await guest.answered(), now, "it runs on");
      }
      assert.equal(held()[0], before[0] + 1, "a thread for the vCPU");
      assert.equal(guest.accesses(), 0);
      assert.deepEqual(await guest.vm.memory.read(gpa(DATA), 512), new Uint8Array(512).fill(7));
      assert.deepEqual(await guest.vm.memory.read(gpa(STATUS), 1), new Uint8Array(1));
    }
    assert.deepEqual(held(), before);
  },
);

kvmTest("breakpoints, conditions and steps are as ever", NEEDS, async () => {
  await using guest = await loop();
  const { vm } = guest;
  await guest.more();
  // 3: inc eax
  const at = 0x1000n + BigInt(find(LOOP, [0x40, 0x66, 0xa3]));
  let asked = 0;
  const point = await vm.breakpoints.add(gva(at), { condition: () => ++asked === 20 });
  const stop = await vm.continue(LIMIT);
  assert.ok(stop.kind === "breakpoint", stop.kind);
  assert.deepEqual([stop.rip, asked], [at, 20]);
  await point.remove();
  const before = await guest.answered();
  // inc eax; mov [idx], ax; mov [QueueNotify], ecx; cmp ax, [USED idx]: what was rung for is done behind the step.
  const stepped = await vm.step(3);
  assert.equal(stepped.kind, "step");
  assert.equal(await guest.answered(), before + 1 & 0xffff);
  const { rax } = await vm.vcpus[0].registers();
  assert.equal(Number(rax & 0xffffn), before + 1 & 0xffff);
  await guest.more();
  assert.equal(guest.accesses(), 0);
});

kvmTest("its thread answers why the device interrupts, until somebody wants to see that", NEEDS, async () => {
  await using guest = await loop();
  const { vm } = guest;
  await guest.more();
  const status = () => disk(guest).inspect?.().InterruptStatus;
  assert.equal(status(), 0);
  await vm.memory.write(gpa(AVAILABLE), new Uint8Array(2)); // NO_INTERRUPT is off
  await guest.more();
  assert.equal(status(), 1);
  // mov eax, [InterruptStatus]; or [0x6000], eax; mov [InterruptACK], eax; inc dword [0x6004]; jmp back
  await vm.memory.write(
    gpa(0x5000n),
    Uint8Array.from([
      ...[0x8b, 0x43, 0x60, 0x09, 0x05, 0x00, 0x60, 0, 0, 0x89, 0x43, 0x64],
      ...[0xff, 0x05, 0x04, 0x60, 0, 0, 0xeb, 0xec],
    ]),
  );
  await vm.vcpus[0].setRegisters({ rip: 0x5000n });
  const word = async (at: bigint) =>
    new DataView((await vm.memory.read(gpa(at), 4)).buffer).getUint32(0, true);
  const run = vm.continue(LIMIT);
  while (await word(0x6004n) < 100) await moment();
  await vm.pause();
  assert.equal((await run).kind, "pause");
  assert.deepEqual([await word(0x6000n), status()], [1, 0]);
  const first = NOTIFY + 0x10n;
  const seen = () => vm.trace.entries({ kind: "mmio", from: first, to: first }).length;
  assert.equal(seen(), 0);
  const point = await vm.breakpoints.onAccess({ space: "mmio", start: first, length: 4, direction: "read" });
  const stop = await vm.continue(LIMIT);
  assert.ok(stop.kind === "access" && stop.address === first, stop.kind);
  assert.equal(seen(), 1);
  await point.remove();
});

kvmTest("after a reset the main thread has it, until a driver is up again", NEEDS, async () => {
  await using guest = await loop();
  const { vm, backend } = guest;
  await guest.more();
  assert.equal(backend.parallel?.threaded, true);
  await vm.reset();
  assert.equal(backend.parallel?.threaded, false);
  await guest.begin();
  assert.equal((await vm.step(2)).kind, "step");
  assert.equal(await guest.answered(), 0);
  await guest.more();
  assert.equal(backend.parallel?.threaded, true);
});

kvmTest("a device's state is taken to another guest, whose vCPU gets its thread at once", NEEDS, async () => {
  await using one = await loop();
  await one.more();
  const state = disk(one).save?.();
  const { rip, rax } = await one.vm.vcpus[0].registers();
  await using other = await loop();
  // To where the loop is, without the driver's part.
  const at = 0x1000n + BigInt(find(LOOP, [0x66, 0xc7, 0x05]));
  const point = await other.vm.breakpoints.add(gva(at));
  assert.equal((await other.vm.continue(LIMIT)).kind, "breakpoint");
  await point.remove();
  disk(other).restore?.(state);
  await other.vm.memory.write(gpa(0x2_1000n), await one.vm.memory.read(gpa(0x2_1000n), 0x2000));
  await other.vm.vcpus[0].setRegisters({ rip, rax });
  await other.more();
  assert.equal(other.accesses(), 0);
});

kvmTest("its device is taken out while it runs: the main thread has it again", NEEDS, async () => {
  await using guest = await loop();
  const { vm, backend } = guest;
  await guest.more();
  const run = vm.continue(LIMIT);
  await moment();
  await vm.devices.get("disk")?.remove();
  const last = await guest.answered();
  await vm.pause();
  assert.equal((await run).kind, "pause");
  assert.equal(backend.parallel?.threaded, false);
  assert.equal((await vm.continue({ timeoutMs: 20 })).kind, "timeout");
  assert.equal(await guest.answered(), last);
  assert.equal((await vm.step(5)).kind, "step");
});

kvmTest("one that somebody looks at is an access, on the main thread", NEEDS, async () => {
  await using guest = await loop();
  const { vm, backend } = guest;
  await guest.more();
  const point = await vm.breakpoints.onAccess({
    space: "mmio",
    start: NOTIFY,
    length: 4,
    direction: "write",
  });
  assert.equal((await vm.continue(LIMIT)).kind, "access");
  assert.equal(backend.parallel?.threaded, false);
  await point.remove();
  await guest.more();
});

kvmTest("a guest is closed while it runs", NEEDS, async () => {
  const guest = await loop();
  await guest.more();
  const run = guest.vm.continue(LIMIT);
  await moment();
  await guest.vm.close();
  assert.equal((await run).kind, "gone");
});

kvmTest(
  "a thread that dies is told; the main thread goes on, and notifications are accesses",
  NEEDS,
  async () => {
    const threadProgram = new URL("./test_dying_worker.ts?vcpu=0", import.meta.url);
    await using guest = await loop({ threadProgram });
    const { vm, backend } = guest;
    let stop = await vm.continue({ timeoutMs: 50 });
    for (let i = 0; i < 100 && stop.kind === "timeout"; i++) stop = await vm.continue({ timeoutMs: 50 });
    assert.ok(stop.kind === "fault", stop.kind);
    assert.match(stop.reason, /thread of vCPU 0 has ended: .*on purpose/);
    await guest.more();
    assert.equal(backend.parallel?.threaded, false);
    assert.ok(guest.accesses() > 0);
  },
);

kvmTest("where there can be no thread, the main thread goes on", NEEDS, async () => {
  await using guest = await loop({ threadProgram: new URL("./no_such_program.ts", import.meta.url) });
  await guest.more();
  assert.ok(guest.accesses() > 0);
});

kvmTest("where KVM misses moments for interrupts, the main thread keeps it", NEEDS, () => {
  const options = { memory: 1 << 20, cpus: 1, irqchip: true, pit: true };
  const misses = new Map([["interrupt-windows", { usable: false, how: "", touches: [], reason: "a test" }]]);
  using backend = new KvmBackend(options, () => misses);
  assert.equal(backend.parallel?.doorbells?.hang({ at: NOTIFY, length: 4 }, () => {}), undefined);
  using other = new KvmBackend(options, () => new Map());
  using bell = other.parallel?.doorbells?.hang({ at: NOTIFY, length: 4 }, () => {});
  assert.ok(bell !== undefined);
});

const disk = ({ vm }: Loop): Device => vm.devices.get("disk")!.device;

/** Where `bytes` are in the code. */
function find(code: Uint8Array, bytes: readonly number[]): number {
  const at = code.findIndex((_, i) => bytes.every((byte, k) => code[i + k] === byte));
  assert.ok(at >= 0);
  return at;
}
