import assert from "node:assert/strict";
import type { BlockBacking, BlockFault } from "../../vm/block.ts";
import { outside } from "../../vm/block.ts";
import type { TakenRequest } from "../../vm/device.ts";
import { MockGuest } from "../mock_guest.ts";
import { VirtioBlock, type VirtioBlockOptions } from "./block.ts";
import { MockDriver } from "./mock_driver.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;
const SECTORS = 64;
const [OK, IOERR, UNSUPP] = [0, 1, 2];

/** A disk in memory that can be made to fail. */
class Disk implements BlockBacking {
  readonly name = "disk";
  readonly size = SECTORS * 512;
  readOnly = false;
  readonly bytes = Uint8Array.from({ length: SECTORS * 512 }, (_, i) => (i >> 9) ^ i);
  flushes = 0;
  fault: BlockFault | undefined;

  read(at: number, into: Uint8Array): BlockFault | undefined {
    const fault = this.fault ?? outside(this, at, into.length);
    if (fault === undefined) into.set(this.bytes.subarray(at, at + into.length));
    return fault;
  }

  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    const fault = this.fault ?? outside(this, at, bytes.length);
    if (fault === undefined) this.bytes.set(bytes, at);
    return fault;
  }

  flush(): BlockFault | undefined {
    this.flushes++;
    return this.fault;
  }
}

/** A disk that can forget bytes. */
class Holes extends Disk {
  readonly discarded: [number, number][] = [];

  discard(at: number, length: number): BlockFault | undefined {
    this.discarded.push([at, length]);
    return this.fault;
  }
}

/** A disk that fills several pieces at once. */
class Scattered extends Disk {
  readonly filled: number[][] = [];

  readv(at: number, pieces: readonly Uint8Array[]): BlockFault | undefined {
    this.filled.push(pieces.map(({ length }) => length));
    for (const piece of pieces) {
      piece.set(this.bytes.subarray(at, at + piece.length));
      at += piece.length;
    }
    return this.fault;
  }
}

/** All that the device offers. */
const ALL = (1n << 24n) - 1n;

function machine(options: Partial<VirtioBlockOptions> = {}, features = ALL, disk = new Disk()) {
  const guest = new MockGuest([], 0x40000);
  const device = guest.add(
    new VirtioMmio(new VirtioBlock({ backing: disk, ...options }), { place: { at: AT, irq: 5 } }),
  );
  const driver = new MockDriver(guest, { at: AT, features }).start(1);
  return { guest, device, driver, disk };
}

function header(type: number, sector = 0n): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, sector, true);
  return new Uint8Array(view.buffer);
}

function range(sector: bigint, count: number, flags = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, sector, true);
  view.setUint32(8, count, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}

Deno.test("virtio block: sectors are read, whatever buffers they are read into", () => {
  const { driver, disk } = machine();
  for (const buffers of [[1024], [1, 1023], [512, 500, 12]]) {
    const answer = driver.ask(0, [header(0, 3n), ...buffers, 1]);
    assert.deepEqual(answer.subarray(0, 1024), disk.bytes.subarray(3 * 512, 5 * 512));
    assert.equal(answer[1024], OK);
  }
});

Deno.test("virtio block: a store that can fills the driver's buffers itself, but for what lies behind its end", () => {
  const { driver, disk } = machine({}, ALL, new Scattered());
  const filled = (disk as Scattered).filled;
  for (const buffers of [[1024, 1], [1, 1023, 1], [512, 500, 13]]) {
    const answer = driver.ask(0, [header(0, 3n), ...buffers]);
    assert.deepEqual(answer, Uint8Array.of(...disk.bytes.subarray(3 * 512, 5 * 512), OK));
  }
  assert.deepEqual(filled, [[1, 1023], [512, 500, 12]]);
  for (const { driver } of [machine(), machine({}, ALL, new Scattered())]) {
    for (const none of [[1], [0, 1], [0, 0, 1]]) {
      assert.deepEqual([...driver.ask(0, [header(0, 3n), ...none])], [OK]);
    }
  }
  assert.equal(driver.ask(0, [header(0, 63n), 512, 512, 1]).at(-1), IOERR);
  assert.equal(driver.ask(0, [header(0, 3n), 500, 500, 1]).at(-1), IOERR);
  assert.equal(filled.length, 2);
});

Deno.test("virtio block: the status may share its buffer with the data", () => {
  const { driver, disk } = machine();
  const answer = driver.ask(0, [header(0, 1n), 513]);
  assert.deepEqual([...answer], [...disk.bytes.subarray(512, 1024), OK]);
});

Deno.test("virtio block: sectors are written, whatever buffers they come in", () => {
  const { driver, disk } = machine();
  const data = Uint8Array.from({ length: 1024 }, (_, i) => i * 7);
  assert.deepEqual([...driver.ask(0, [header(1, 60n), data.subarray(0, 100), data.subarray(100), 1])], [OK]);
  assert.deepEqual(disk.bytes.subarray(60 * 512, 62 * 512), data);
  assert.equal(disk.flushes, 0);
});

Deno.test("virtio block: capacity, block size and segments are told", () => {
  const { driver } = machine();
  const config = (offset: number) => driver.get(0x100 + offset);
  assert.deepEqual([config(0), config(4), config(12), config(20)], [SECTORS, 0, 254, 512]);
});

Deno.test("virtio block: flush reaches the backing; write-through flushes each write", () => {
  const { driver, disk, guest } = machine();
  assert.deepEqual([...driver.ask(0, [header(4), 1])], [OK]);
  assert.equal(disk.flushes, 1);
  guest.store(AT + 0x100n + 32n, 0, 1); // writeback = 0
  driver.ask(0, [header(1), new Uint8Array(512), 1]);
  assert.equal(disk.flushes, 2);
});

Deno.test("virtio block: a driver that can't flush gets write-through", () => {
  const { driver, disk } = machine({}, 0n);
  driver.ask(0, [header(1), new Uint8Array(512), 1]);
  assert.equal(disk.flushes, 1);
});

Deno.test("virtio block: the serial number, cut to what the driver has room for", () => {
  const { driver } = machine({ serial: "hvsh-0001" });
  const id = driver.ask(0, [header(8), 20, 1]);
  assert.equal(new TextDecoder().decode(id.subarray(0, 10)), "hvsh-0001\0");
  assert.deepEqual([id[20], driver.ask(0, [header(8), 4, 1])[4]], [OK, OK]);
  assert.throws(() => new VirtioBlock({ backing: new Disk(), serial: "x".repeat(21) }), /21 bytes/);
});

Deno.test("virtio block: zeroes are written", () => {
  const { driver, disk } = machine();
  assert.deepEqual([...driver.ask(0, [header(13), range(2n, 3), 1])], [OK]);
  assert.equal(disk.bytes.subarray(1024, 1024 + 3 * 512).some((b) => b !== 0), false);
  assert.notEqual(disk.bytes[5 * 512], 0);
  assert.deepEqual([...driver.ask(0, [header(13), range(0n, 8193), 1])], [IOERR]);
});

Deno.test("virtio block: sectors are discarded, in several ranges; write-zeroes may do the same", () => {
  const disk = new Holes();
  const { driver, device } = machine({}, ALL, disk);
  assert.match(String(device.inspect().featureBits), /\bDISCARD\b/);
  assert.deepEqual([driver.get(0x100 + 36), driver.get(0x100 + 40), driver.get(0x100 + 56)], [8192, 16, 1]);
  const status = (...buffers: Uint8Array[]) => driver.ask(0, [...buffers, 1]).at(-1);
  assert.equal(status(header(11), range(0n, 8), range(62n, 2)), OK);
  assert.deepEqual(disk.discarded, [[0, 8 * 512], [62 * 512, 2 * 512]]);
  assert.equal(status(header(13), range(8n, 8, 1)), OK);
  assert.deepEqual(disk.discarded.at(-1), [8 * 512, 8 * 512]);
  assert.equal(status(header(13), range(8n, 1)), OK); // no hole: it was written
  assert.equal(disk.discarded.length, 3);
  assert.equal(disk.bytes[8 * 512], 0);
});

Deno.test("virtio block: what may not be discarded is refused as a whole", () => {
  const disk = new Holes();
  const { driver } = machine({}, ALL, disk);
  const status = (...buffers: Uint8Array[]) => driver.ask(0, [...buffers, 1]).at(-1);
  assert.equal(status(header(11), range(0n, 1), range(63n, 2)), IOERR); // across the end
  assert.equal(status(header(11), range(0n, 1), range(1n << 60n, 1)), IOERR);
  assert.equal(status(header(11), range(0n, 8193)), IOERR);
  assert.equal(status(header(11), ...Array.from({ length: 6 }, () => new Uint8Array(48))), IOERR); // 18 ranges
  assert.equal(status(header(11), range(0n, 1, 1)), UNSUPP); // the flag is for write-zeroes
  assert.equal(status(header(13), range(0n, 1, 2)), UNSUPP);
  assert.equal(status(header(13), range(63n, 2, 1)), IOERR);
  assert.equal(status(header(11)), UNSUPP);
  assert.equal(status(header(11), new Uint8Array(15)), UNSUPP);
  assert.deepEqual(disk.discarded, []);
  disk.fault = { kind: "full", message: "no room", remedy: "make some" };
  assert.equal(status(header(11), range(0n, 1)), IOERR);
  const without = machine();
  assert.doesNotMatch(String(without.device.inspect().featureBits), /DISCARD/);
  assert.deepEqual([...without.driver.ask(0, [header(11), range(0n, 1), 1])], [UNSUPP]);
});

Deno.test("virtio block: a request is told in words", () => {
  const told: unknown[] = [];
  const guest = new MockGuest([], 0x40000);
  const requested = ({ what, ...request }: TakenRequest) =>
    told.push(what === undefined ? request : { ...request, what: typeof what === "string" ? what : what() });
  Object.assign(guest, { requested });
  guest.add(new VirtioMmio(new VirtioBlock({ backing: new Holes() }), { place: { at: AT, irq: 5 } }));
  const driver = new MockDriver(guest, { at: AT, features: ALL }).start(1);
  driver.ask(0, [header(0, 3n), 1024, 1]);
  driver.ask(0, [header(1, 5n), new Uint8Array(512), 1]);
  driver.ask(0, [header(4), 1]);
  driver.ask(0, [header(77), 1]);
  driver.ask(0, [Uint8Array.of(1), 1]);
  assert.deepEqual(told, [
    { queue: 0, given: 16, room: 1025, what: "IN sector 3, 1024 bytes" },
    { queue: 0, given: 528, room: 1, what: "OUT sector 5, 512 bytes" },
    { queue: 0, given: 16, room: 1, what: "FLUSH" },
    { queue: 0, given: 16, room: 1, what: "type 77" },
    { queue: 0, given: 1, room: 1 },
  ]);
});

Deno.test("virtio block: what the guest may not ask is refused, and nothing is touched", () => {
  const { driver, disk } = machine();
  const before = disk.bytes.slice();
  const status = (...buffers: (Uint8Array | number)[]) => driver.ask(0, [...buffers, 1]).at(-1);
  assert.equal(status(header(0, BigInt(SECTORS)), 512), IOERR); // behind the end
  assert.equal(status(header(0, BigInt(SECTORS - 1)), 1024), IOERR); // across it
  assert.equal(status(header(0, (1n << 64n) - 1n), 512), IOERR);
  assert.equal(status(header(1, 0x80_0000_0000_0000n), new Uint8Array(512)), IOERR);
  assert.equal(status(header(0, 0n), 511), IOERR); // no whole sectors
  assert.equal(status(header(1, 0n), new Uint8Array(513)), IOERR);
  assert.equal(status(header(0x1234)), UNSUPP);
  assert.equal(status(Uint8Array.of(1, 2, 3)), IOERR); // no header
  assert.deepEqual(driver.ask(0, [header(0)]).length, 0); // no room for a status
  assert.deepEqual(disk.bytes, before);
});

Deno.test("virtio block: a disk for reading refuses to be written and says so beforehand", () => {
  const disk = new Disk();
  disk.readOnly = true;
  const { driver, device } = machine({}, ALL, disk);
  assert.match(String(device.inspect().featureBits), /\bRO\b/);
  assert.deepEqual([...driver.ask(0, [header(1), new Uint8Array(512), 1])], [IOERR]);
  assert.deepEqual([...driver.ask(0, [header(13), range(0n, 1), 1])], [UNSUPP]);
});

Deno.test("virtio block: a host's fault is the guest's I/O error and the user's message", () => {
  const faults: BlockFault[] = [];
  const { driver, disk, device } = machine({ onFault: (fault) => faults.push(fault) });
  disk.fault = { kind: "gone", message: "disk was removed", remedy: "put it back" };
  assert.equal(driver.ask(0, [header(0), 512, 1]).at(-1), IOERR);
  assert.equal(driver.ask(0, [header(1), new Uint8Array(512), 1]).at(-1), IOERR);
  assert.equal(driver.ask(0, [header(4), 1]).at(-1), IOERR);
  assert.deepEqual(faults.map((f) => f.kind), ["gone", "gone", "gone"]);
  assert.equal(device.inspect().failed, 3);
});
