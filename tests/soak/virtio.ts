/**
 * Hostile drivers for the virtio devices: whatever they write to registers, rings and buffers, over either transport,
 * on either ring kind, a device throws nothing, ends, touches nothing but guest memory, and serves a driver that keeps the rules after a
 * reset. `deno run -A tests/soak/virtio.ts [RUNS [SEED]]` tries 100,000 drivers for each device.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Device } from "../../src/vm/device.ts";
import { MockGuest } from "../../src/devices/mock_guest.ts";
import { type Buffer, MockDriver } from "../../src/devices/virtio/mock_driver.ts";
import { DESC, FEATURE } from "../../src/devices/virtio/spec.ts";
import { PciHost } from "../../src/devices/pci/pci_host.ts";
import { MockMmio, MockPci, type MockTransport } from "../../src/devices/virtio/mock_transport.ts";
import { VirtioMmio } from "../../src/devices/virtio/virtio_mmio.ts";
import { VirtioPci } from "../../src/devices/virtio/virtio_pci.ts";
import type { VirtioType } from "../../src/devices/virtio/virtio_type.ts";
import { type Subject, SUBJECTS } from "./virtio_subjects.ts";

const AT = 0xd000_0000n;
/** Over PCI: its slot, and where its MSI-X is. */
const SLOT = 3;
const MSIX_AT = 0xd001_0000n;
const HEAP = 0x1000;
const MEMORY = 0x40000;

/** What a driver does next; numbers are cut to what there is. */
type Step =
  | { kind: "offer"; queue: number; buffers: Buffer[]; indirect: boolean; kick: boolean }
  | { kind: "kick"; queue: number }
  | { kind: "poke"; queue: number; area: number; at: number; value: number }
  | { kind: "address"; queue: number; entry: number; at: bigint; length: number; flags: number }
  | { kind: "register"; offset: number; value: number; size: 1 | 2 | 4; read: boolean }
  | { kind: "msix"; offset: number; value: number }
  | { kind: "config"; offset: number; value: number; size: 1 | 2 | 4; read: boolean }
  | { kind: "host"; what: number }
  | { kind: "restart"; features: bigint }
  | { kind: "carry" };

const edge = fc.oneof(
  fc.constantFrom(0, 1, 2, 7, 8, 9, 0x7fff, 0x8000, 0xfffe, 0xffff, 0xffff_ffff, 0x8000_0000),
  fc.nat(20),
  fc.nat(0xffff),
);
const address = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    BigInt(MEMORY) - 1n,
    BigInt(MEMORY),
    0xbfff_ffffn,
    0xc000_0000n,
    1n << 32n,
    (1n << 64n) - 1n,
    (1n << 64n) - 16n,
  ),
  fc.nat(MEMORY).map(BigInt),
);
/** What a socket device takes for a packet: to the host, with any port, length, operation and credit. */
function packet([port, to, length, more, op, flags, room]: number[]): Uint8Array {
  const bytes = new Uint8Array(44 + length);
  bytes.set(
    new Uint8Array(Uint32Array.of(3, 0, 2, 0, port, to % 12, length, 1 | op << 16, flags, room, more).buffer),
  );
  return bytes;
}
const queue = fc.nat(9);
/** Buffers that look like headers now and then. */
const toRead = fc.oneof(
  fc.tuple(fc.nat(3), edge, fc.nat(9), edge, fc.nat(8), fc.nat(3), edge).map(packet),
  fc.uint8Array({ maxLength: 40 }),
  fc.tuple(fc.nat(14), edge, edge, edge).map((words) => new Uint8Array(Uint32Array.from(words).buffer)),
  fc.tuple(fc.nat(3), fc.nat(8), fc.nat(2)).map(([id, event, value]) =>
    Uint8Array.of(id, 0, 0, 0, event, 0, value, 0)
  ),
);
const toWrite = fc.oneof(fc.nat(20), fc.constantFrom(1, 512, 513, 1526, 4096));
const buffers = fc.tuple(
  fc.array(toRead, { maxLength: 3 }),
  fc.array(toWrite, { maxLength: 3 }),
).map(([read, write]): Buffer[] => read.length + write.length === 0 ? [1] : [...read, ...write]);
const ring = fc.constantFrom(
  0n,
  FEATURE.RING_PACKED,
  FEATURE.EVENT_IDX,
  FEATURE.RING_PACKED | FEATURE.EVENT_IDX,
);
const features = fc.tuple(
  ring,
  fc.constantFrom(0n, (1n << 24n) - 1n),
  fc.bigInt({ min: 0n, max: (1n << 24n) - 1n }),
)
  .map(([a, b, c]) => a | FEATURE.INDIRECT_DESC | (b === 0n ? c : b));

const size = fc.constantFrom(1 as const, 2 as const, 4 as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("offer" as const),
      queue,
      buffers,
      indirect: fc.boolean(),
      kick: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("kick" as const), queue }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("poke" as const),
      queue,
      area: fc.nat(2),
      at: fc.nat(40),
      value: edge,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("address" as const),
      queue,
      entry: fc.nat(7),
      at: address,
      length: edge,
      flags: fc.nat(7),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("register" as const),
      offset: fc.oneof(
        fc.nat(0x1ff),
        fc.nat(0x3fff),
        fc.constantFrom(0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x100),
        fc.constantFrom(0x00, 0x0c, 0x10, 0x14, 0x16, 0x18, 0x1a, 0x1c, 0x20, 0x1000, 0x2000, 0x3000, 0x3004),
      ),
      value: edge,
      size,
      read: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("msix" as const),
      offset: fc.oneof(fc.nat(15).map((word) => 4 * word), fc.nat(0xfff)),
      value: fc.oneof(edge, fc.constant(0xfee0_0000)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("config" as const),
      offset: fc.oneof(fc.nat(0xff), fc.constantFrom(0x04, 0x10, 0x42, 0x43, 0x9c, 0xa0, 0xa4, 0xa8)),
      value: edge,
      size,
      read: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("host" as const), what: fc.nat(7) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), features }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("carry" as const) }) },
);

/** Tries `runs` drivers on each device; the same `seed` gives the same ones. @throws {AssertionError} With the smallest. */
export function virtioHolds(
  { runs, seed, only, transport }: {
    runs: number;
    seed: number;
    only?: string;
    transport?: keyof typeof TRANSPORTS;
  },
): void {
  for (const [name, make] of Object.entries(SUBJECTS)) {
    if (only !== undefined && only !== name) continue;
    for (const plug of transport === undefined ? Object.values(TRANSPORTS) : [TRANSPORTS[transport]]) {
      fc.assert(
        fc.property(features, fc.array(step, { maxLength: 40 }), (first, steps) => {
          const subject = make();
          try {
            drive(subject, plug, first, steps);
          } finally {
            subject.end?.();
          }
        }),
        { seed, numRuns: runs },
      );
    }
  }
}

/** Drivers that are tried in one go: what they leave behind is not given back before the event loop had its turn. */
const PIECE = 500;

/** The same for `deno task soak`, type by type; says how long each took. Of each piece the seed is one more. */
export async function virtioSoak({ runs, seed }: { runs: number; seed: number }): Promise<void> {
  for (const only of Object.keys(SUBJECTS)) {
    const start = performance.now();
    for (let done = 0, piece = 0; done < runs; done += PIECE, piece++) {
      virtioHolds({ runs: Math.min(PIECE, runs - done), seed: seed + piece, only });
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    console.log(
      `${only}: ${runs} drivers over each transport held, ${
        Math.round((performance.now() - start) / 1000)
      } s`,
    );
  }
}

/** A device plugged in, and how to find its registers where they shall be. */
interface Plugged {
  readonly device: Device;
  find(): MockTransport;
}

/** Either transport. */
export const TRANSPORTS: Readonly<Record<"mmio" | "pci", (guest: MockGuest, type: VirtioType) => Plugged>> = {
  mmio: (guest, type) => ({
    device: guest.add(new VirtioMmio(type, { place: { at: AT, irq: 5 } })),
    find: () => new MockMmio(guest, AT),
  }),
  pci: (guest, type) => {
    const device = new VirtioPci(type);
    guest.add(new PciHost()).plug({ slot: SLOT }, device);
    guest.add(device);
    return { device, find: () => new MockPci(guest, SLOT, [Number(AT), Number(MSIX_AT)]) };
  },
};

function drive(
  subject: Subject,
  plug: (guest: MockGuest, type: VirtioType) => Plugged,
  first: bigint,
  steps: readonly Step[],
): void {
  const guest = new MockGuest([], MEMORY);
  const { device, find } = plug(guest, subject.type);
  const count = subject.type.queues.length;
  const start = (features: bigint) =>
    new MockDriver(guest, { transport: find(), features, heap: HEAP }).start(count);
  let driver = start(first);
  for (const s of steps) {
    if (s.kind === "register") {
      if (s.read) guest.load(AT + BigInt(s.offset), s.size);
      else guest.store(AT + BigInt(s.offset), s.value, s.size);
    } else if (s.kind === "msix") guest.store(MSIX_AT + BigInt(s.offset), s.value, 4);
    else if (s.kind === "config") configure(guest, s);
    else if (s.kind === "host") subject.host(s.what);
    else if (s.kind === "restart") driver = start(s.features);
    else if (s.kind === "carry") {
      const saved = JSON.parse(JSON.stringify(device.save?.()));
      device.restore?.(saved);
      assert.deepEqual(JSON.parse(JSON.stringify(device.save?.())), saved);
    } else act(driver, s, s.queue % count);
    subject.holds?.();
  }
  // Whatever it was, a reset mends it.
  subject.works(start(first));
  guest.run(2_000_000_000n);
  device.detach?.();
}

/** Into configuration space; where there is none the ports are nobody's. */
function configure(guest: MockGuest, { offset, value, size, read }: Extract<Step, { kind: "config" }>): void {
  guest.out(0xcf8, (0x8000_0000 | SLOT << 11 | offset & ~3) >>> 0, 4);
  if (read) guest.in(0xcfc + (offset & 3), size);
  else guest.out(0xcfc + (offset & 3), value, size);
}

function act(driver: MockDriver, s: Extract<Step, { queue: number }>, queue: number): void {
  const ring = driver.rings[queue];
  if (s.kind === "kick") driver.kick(queue);
  else if (s.kind === "poke") {
    const base = [ring.desc, ring.driver, ring.device][s.area];
    driver.view.setUint16(base + 2 * s.at, s.value, true);
  } else if (s.kind === "address") {
    const entry = ring.desc + 16 * s.entry;
    driver.view.setBigUint64(entry, s.at, true);
    driver.view.setUint32(entry + 8, s.length, true);
    driver.view.setUint16(
      entry + (driver.packed ? 14 : 12),
      s.flags | (driver.packed ? DESC.AVAIL : 0),
      true,
    );
  } else {
    // A queue that is full is left as it is: the mock driver keeps its own books in order.
    const entries = s.indirect ? 1 : s.buffers.length;
    let taken = 0;
    for (const each of ring.waiting.values()) taken += each.entries;
    if (taken + entries + 3 <= driver.size) driver.offer(queue, s.buffers, { indirect: s.indirect });
    if (s.kick) driver.kick(queue);
  }
}

if (import.meta.main) {
  const [runs = 100_000, seed = Date.now() & 0x7fff_ffff] = Deno.args.map(Number);
  console.log(`seed ${seed}`);
  await virtioSoak({ runs, seed });
}
