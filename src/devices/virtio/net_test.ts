import assert from "node:assert/strict";
import type { FrameOffloads, NetBacking } from "../../vm/net.ts";
import { carry } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { MockDriver } from "./mock_driver.ts";
import { VirtioNet } from "./net.ts";
import { FEATURE } from "./spec.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;
const KINDS = [["split", FEATURE.EVENT_IDX], ["packed", FEATURE.RING_PACKED | FEATURE.EVENT_IDX]] as const;

class Wire implements NetBacking {
  readonly name = "wire";
  sent: Uint8Array[] = [];
  coming: Uint8Array[] = [];
  told: string | undefined;
  closed = 0;

  send(frame: Uint8Array): void {
    this.sent.push(frame);
  }

  receive(): Uint8Array | undefined {
    return this.coming.shift();
  }

  notice(): string | undefined {
    const { told } = this;
    this.told = undefined;
    return told;
  }

  [Symbol.dispose](): void {
    this.closed++;
  }
}

/** One that finishes frames; what it was told to give is in `accepted`. */
class Finisher extends Wire {
  accepted: FrameOffloads[] = [];
  readonly unfinished = {
    accept: (offloads: FrameOffloads) => void this.accepted.push(offloads),
    send: (packet: Uint8Array) => this.send(packet),
    receive: () => this.receive(),
  };
}

/** One that takes frames in pieces. */
class Gatherer extends Finisher {
  readonly pieces: number[][] = [];
  override readonly unfinished = {
    accept: () => undefined,
    send: () => assert.fail("the pieces were put together"),
    sendv: (pieces: readonly Uint8Array[]) => {
      this.pieces.push(pieces.map(({ length }) => length));
      this.sent.push(Uint8Array.from(pieces.flatMap((piece) => [...piece])));
    },
    receive: () => this.receive(),
  };
}

/** Device features that machines' drivers take, if offered; most have no mergeable buffers. */
const ALL = (1n << 24n) - 1n;
const MRG_RXBUF = 1n << 15n;

function machine(features = 0n, wire = new Wire(), take = ALL & ~MRG_RXBUF) {
  const guest = new MockGuest([], 0x80000);
  const notices: string[] = [];
  const card = new VirtioNet({ backing: wire, onNotice: (text) => notices.push(text) });
  const device = guest.add(new VirtioMmio(card, { place: { at: AT, irq: 5 } }));
  const driver = new MockDriver(guest, { at: AT, features: features | take });
  return { guest, wire, card, device, driver, notices };
}

const frame = (length: number, fill = 7) => new Uint8Array(length).fill(fill);
const HEADER = new Uint8Array(12);

for (const [kind, ring] of KINDS) {
  Deno.test(`virtio net, ${kind}: frames go out without their header, of any length`, () => {
    const { driver, wire, card } = machine(ring);
    driver.start(2);
    driver.ask(1, [HEADER, frame(60)]);
    driver.ask(1, [new Uint8Array(12 + 1514).fill(3)]);
    for (const odd of [[], [frame(1)], [frame(13)], [frame(30_000), frame(30_000), frame(5_550)]]) {
      driver.ask(1, [HEADER, ...odd]);
    }
    driver.ask(1, [frame(5)]);
    assert.deepEqual(wire.sent.map((f) => f.length), [60, 1514]);
    assert.equal(card.inspect().dropped, 5);
  });

  Deno.test(`virtio net, ${kind}: frames come in as there are buffers, and none is lost for want of one`, () => {
    const { driver, wire, guest } = machine(ring);
    driver.start(2);
    wire.coming = [frame(60, 1), frame(61, 2), frame(62, 3)];
    guest.advance(2_000_000);
    driver.offer(0, [1526]);
    driver.offer(0, [12, 1514]);
    driver.kick(0);
    const two = driver.taken(0);
    assert.deepEqual(two.map(({ written, bytes }) => [written, bytes[10], bytes[12]]), [[72, 1, 1], [
      73,
      1,
      2,
    ]]);
    assert.equal(guest.line(5).level, true);
    guest.advance(2_000_000);
    driver.offer(0, [1526]);
    guest.advance(2_000_000);
    assert.equal(driver.taken(0)[0].bytes[12], 3);
  });

  Deno.test(`virtio net, ${kind}: a network that tells of frames is asked seldom, and for all that it told of`, () => {
    let come = () => {};
    const guest = Object.assign(new MockGuest([], 0x80000), {
      readable: (_fd: number, told: () => void) => {
        come = told;
        return { [Symbol.dispose]() {} };
      },
    });
    const wire = Object.assign(new Wire(), { fd: 7 });
    guest.add(new VirtioMmio(new VirtioNet({ backing: wire }), { place: { at: AT, irq: 5 } }));
    const driver = new MockDriver(guest, { at: AT, features: ring });
    driver.start(2);
    driver.offer(0, [100]);
    wire.coming = [frame(60)];
    guest.advance(5_000_000);
    assert.equal(wire.coming.length, 1);
    guest.advance(15_000_000);
    assert.equal(wire.coming.length, 0);
    // A driver that refills its queue meanwhile, and more frames than are handed over at one asking.
    const { receive } = wire;
    wire.receive = () => {
      driver.taken(0);
      driver.offer(0, [100]);
      return receive.call(wire);
    };
    wire.coming = Array.from({ length: 300 }, () => frame(60));
    come();
    assert.equal(wire.coming.length, 44);
    guest.advance(0);
    assert.equal(wire.coming.length, 0);
  });

  Deno.test(`virtio net, ${kind}: a buffer that is too small loses the frame alone`, () => {
    const { driver, wire, guest, card, device } = machine(ring);
    driver.start(2);
    driver.offer(0, [20]);
    driver.offer(0, [1526]);
    wire.coming = [frame(60, 1), frame(60, 2)];
    guest.advance(2_000_000);
    assert.deepEqual(driver.taken(0).map(({ written }) => written), [0, 72]);
    assert.equal(card.inspect().dropped, 1);
    carry(device, device);
  });

  Deno.test(`virtio net, ${kind}: a frame takes as many mergeable buffers as it needs, seen all at once`, () => {
    const { driver, wire, guest, card } = machine(ring, new Wire(), ALL);
    driver.start(2);
    wire.coming = [Uint8Array.from({ length: 100 }, (_, i) => i), frame(5, 9), frame(14, 8)];
    driver.offer(0, [40]);
    driver.offer(0, [20, 10]);
    driver.kick(0);
    guest.advance(2_000_000);
    // 28 + 30 bytes of 100: both buffers wait for the others, and so does the frame.
    assert.deepEqual([driver.taken(0), guest.line(5).level], [[], false]);
    driver.offer(0, [10]);
    driver.kick(0);
    assert.deepEqual(driver.taken(0), []);
    driver.offer(0, [40]);
    driver.offer(0, [64]);
    driver.kick(0);
    const [first, ...others] = driver.taken(0);
    assert.deepEqual([first.written, first.bytes[10], first.bytes[11]], [40, 4, 0]);
    const bytes = [
      first.bytes.slice(12),
      ...others.slice(0, 3).map(({ bytes, written }) => bytes.slice(0, written)),
    ];
    assert.deepEqual(bytes.flatMap((part) => [...part]), Array.from({ length: 100 }, (_, i) => i));
    assert.deepEqual(others.slice(0, 3).map(({ written }) => written), [30, 10, 32]);
    // The next one has the last buffer to itself.
    assert.deepEqual([others.length, others[3].written, others[3].bytes[10]], [4, 17, 1]);
    assert.deepEqual([card.inspect().received, card.inspect().dropped], [2, 0]);
  });

  Deno.test(`virtio net, ${kind}: a frame for which a whole queue of buffers is too small is lost alone`, () => {
    const { driver, wire, guest, card, device } = machine(ring, new Wire(), ALL);
    driver.start(2);
    for (let i = 0; i < driver.size; i++) driver.offer(0, [13]);
    wire.coming = [frame(13 * driver.size - 11, 1), frame(3, 2)];
    guest.advance(2_000_000);
    const taken = driver.taken(0);
    assert.deepEqual(taken.map(({ written }) => written), [13, 2]);
    assert.deepEqual([card.inspect().dropped, device.virtio.fault], [1, undefined]);
  });

  Deno.test(`virtio net, ${kind}: a mergeable buffer without room for a header comes back empty`, () => {
    const { driver, wire, guest, card } = machine(ring, new Wire(), ALL);
    driver.start(2);
    driver.offer(0, [11]);
    driver.offer(0, [100]);
    wire.coming = [frame(60, 1), frame(60, 2)];
    guest.advance(2_000_000);
    assert.deepEqual(driver.taken(0).map(({ written }) => written), [0, 72]);
    assert.equal(card.inspect().dropped, 1);
  });
}

Deno.test("virtio net: an address, and a cable that can be pulled", () => {
  const { driver, guest, wire, card, device } = machine();
  driver.start(2);
  assert.equal(guest.load(AT + 0x100n, 4), 0x12005452);
  assert.equal(guest.load(AT + 0x104n, 4), 1 << 16 | 0x5634);
  card.up = false;
  assert.deepEqual([guest.load(AT + 0x106n, 2), driver.get(0x060) & 2], [0, 2]);
  driver.ask(1, [HEADER, frame(60)]);
  wire.coming = [frame(60)];
  driver.offer(0, [1526]);
  guest.advance(2_000_000);
  assert.deepEqual([wire.sent.length, wire.coming.length, driver.taken(0).length], [0, 0, 0]);
  device.detach();
  assert.equal(wire.closed, 1);
  for (const mac of ["", "52:54:00:12:34", "53:54:00:12:34:56", "5:54:00:12:34:56", "52:54:00:12:34:5g"]) {
    assert.throws(() => new VirtioNet({ backing: wire, mac }), { name: "InputError" });
  }
});

Deno.test("virtio net: what happened to the network is told once, and only while a driver is there", () => {
  const { driver, guest, wire, notices } = machine();
  driver.start(2);
  wire.told = "the cable broke";
  guest.advance(2_000_000);
  guest.advance(2_000_000);
  driver.set(0x070, 0);
  wire.coming = [frame(60)];
  guest.advance(2_000_000);
  assert.deepEqual([notices, wire.coming.length], [["the cable broke"], 1]);
});

Deno.test("virtio net: a network that finishes frames gets and gives them behind the driver's header, of any length", () => {
  const OFFLOADS = 0x1983n;
  assert.equal(machine().device.virtio.offered & OFFLOADS, 0n);
  const wire = new Finisher();
  const { driver, guest, card, device } = machine(0n, wire);
  assert.equal(device.virtio.offered & OFFLOADS, OFFLOADS);
  driver.start(2);
  const header = Uint8Array.of(1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0);
  driver.ask(1, [header, frame(40_000, 9)]);
  driver.ask(1, [header, frame(13)]);
  assert.deepEqual(wire.sent, [Uint8Array.of(...header, ...frame(40_000, 9))]);
  // More than a frame without buffers: the one that is held may not change with the next.
  wire.coming = [Uint8Array.of(...header, ...frame(30_000, 1)), Uint8Array.of(...header, ...frame(60, 2))];
  guest.advance(2_000_000);
  driver.offer(0, [12, 65_550]);
  driver.offer(0, [1526]);
  driver.kick(0);
  const [large, small] = driver.taken(0);
  assert.deepEqual([large.written, small.written], [30_012, 72]);
  assert.deepEqual(large.bytes.slice(0, 14), Uint8Array.of(...header.slice(0, 10), 1, 0, 1, 1));
  assert.equal(card.inspect().receivedBytes, 30_060);
  device.reset();
  assert.deepEqual(wire.accepted, [
    { checksum: true, tcp4: true, tcp6: true },
    { checksum: false, tcp4: false, tcp6: false },
  ]);
});

Deno.test("virtio net: a network that takes frames in pieces has them as they lie in the guest's memory", () => {
  const wire = new Gatherer();
  const { driver, card } = machine(0n, wire);
  driver.start(2);
  const header = Uint8Array.of(1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0);
  driver.ask(1, [header, frame(100, 9), frame(4000, 8)]);
  driver.ask(1, [Uint8Array.of(...header, 1, 2), frame(12, 3), frame(1, 4)]);
  driver.ask(1, [header, frame(13)]);
  assert.deepEqual(wire.pieces, [[12, 100, 4000], [14, 12, 1]]);
  assert.deepEqual(wire.sent[0], Uint8Array.of(...header, ...frame(100, 9), ...frame(4000, 8)));
  assert.deepEqual([card.inspect().sent, card.inspect().sentBytes, card.inspect().dropped], [2, 4115, 1]);
});
