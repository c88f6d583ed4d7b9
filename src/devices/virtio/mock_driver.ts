/** The driver's side of virtio over either transport with either ring format, for tests of devices and queues. */
import assert from "node:assert/strict";
import type { MockGuest } from "../mock_guest.ts";
import { MockMmio, type MockTransport } from "./mock_transport.ts";
import { DESC, DESCRIPTOR_BYTES, FEATURE, STATUS } from "./spec.ts";

/** A buffer of a request: bytes to send, or how many bytes may come back. */
export type Buffer = Uint8Array | number;

/** How a mock driver sets a device up. */
export interface MockDriverOptions {
  /** Address of the registers of virtio over MMIO. */
  readonly at?: bigint;
  /** What is there instead. */
  readonly transport?: MockTransport;
  /** Which features to accept of those offered; VERSION_1 is always. */
  readonly features?: bigint;
  /** Entries of each queue. */
  readonly size?: number;
  /** First address that the driver may use for rings and buffers. */
  readonly heap?: number;
}

interface Ring {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /** Next entry to make available: free-running (split), index (packed). */
  next: number;
  nextWrap: boolean;
  /** Next entry expected back. */
  seen: number;
  seenWrap: boolean;
  /** Buffers to come back, by ID; and ring entries that the ID takes. */
  readonly waiting: Map<number, { buffers: { at: number; length: number }[]; entries: number }>;
}

const RING_BYTES = 0x4000;

/** A driver that follows the rules, except where a test breaks them through `guest.memory`. */
export class MockDriver {
  readonly guest: MockGuest;
  readonly size: number;
  readonly rings: Ring[] = [];
  features = 0n;
  #heap: number;
  readonly #heapStart: number;
  readonly #options: MockDriverOptions;
  readonly #mmio: MockMmio;
  readonly #transport: MockTransport;

  constructor(guest: MockGuest, options: MockDriverOptions) {
    this.guest = guest;
    this.#mmio = new MockMmio(guest, options.at ?? 0n);
    this.#transport = options.transport ?? this.#mmio;
    this.size = options.size ?? 8;
    this.#heap = this.#heapStart = options.heap ?? 0x1000;
    this.#options = options;
  }

  /** A register of virtio over MMIO. */
  get(offset: number): number {
    return this.#mmio.get(offset);
  }

  set(offset: number, value: number): void {
    this.#mmio.set(offset, value);
  }

  get status(): number {
    return this.#transport.status;
  }

  get packed(): boolean {
    return (this.features & FEATURE.RING_PACKED) !== 0n;
  }

  /** Reset, features, `queues` queues, DRIVER_OK. */
  start(queues: number): this {
    const to = this.#transport;
    to.status = 0;
    this.rings.length = 0;
    this.#heap = this.#heapStart;
    to.status = STATUS.ACKNOWLEDGE;
    to.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER;
    let offered = 0n;
    for (const half of [0, 1]) offered |= BigInt(to.offered(half)) << BigInt(32 * half);
    this.features = offered & (this.#options.features ?? 0n) | FEATURE.VERSION_1;
    for (const half of [0, 1]) to.accept(half, Number(this.features >> BigInt(32 * half) & 0xffff_ffffn));
    const negotiated = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK;
    to.status = negotiated;
    assert.equal(this.status, negotiated, "the device refuses the features");
    for (let i = 0; i < queues; i++) this.#makeRing(i);
    to.status = negotiated | STATUS.DRIVER_OK;
    return this;
  }

  /** Makes a request of `buffers` available (to read first, to write behind) without telling the device; gives its ID. */
  offer(queue: number, buffers: readonly Buffer[], options: { indirect?: boolean } = {}): number {
    const ring = this.rings[queue];
    const placed = buffers.map((buffer) => {
      const length = typeof buffer === "number" ? buffer : buffer.length;
      const at = this.allocate(length);
      if (typeof buffer !== "number") this.guest.memory.set(buffer, at);
      return { at, length, write: typeof buffer === "number" };
    });
    let descriptors = placed.map(({ at, length, write }) => ({ at, length, flags: write ? DESC.WRITE : 0 }));
    if (options.indirect) {
      const table = this.allocate(DESCRIPTOR_BYTES * descriptors.length, 16);
      descriptors.forEach((d, i) => {
        const last = i === descriptors.length - 1;
        this.#descriptor(table, i, d, last || this.packed ? 0 : DESC.NEXT, this.packed ? 0 : i + 1);
      });
      descriptors = [{ at: table, length: DESCRIPTOR_BYTES * descriptors.length, flags: DESC.INDIRECT }];
    }
    const into = placed.filter(({ write }) => write);
    return this.packed
      ? this.#offerPacked(ring, descriptors, into)
      : this.#offerSplit(ring, descriptors, into);
  }

  /** Tells the device. */
  kick(queue: number): void {
    this.#transport.kick(queue);
  }

  /** What has come back since the last call: ID, how many bytes the device says it wrote, and the buffers to write. */
  taken(queue: number): { id: number; written: number; bytes: Uint8Array }[] {
    const ring = this.rings[queue];
    const back: { id: number; written: number; bytes: Uint8Array }[] = [];
    for (let next = this.#used(ring); next !== undefined; next = this.#used(ring)) {
      const waiting = ring.waiting.get(next.id);
      assert.ok(waiting, `the device gave back ${next.id}, which is not with it`);
      ring.waiting.delete(next.id);
      const { memory } = this.guest;
      const bytes = waiting.buffers.flatMap(({ at, length }) => [...memory.subarray(at, at + length)]);
      back.push({ ...next, bytes: Uint8Array.from(bytes) });
      if (this.packed) {
        ring.seen += waiting.entries;
        if (ring.seen >= this.size) {
          ring.seen -= this.size;
          ring.seenWrap = !ring.seenWrap;
        }
      } else ring.seen = (ring.seen + 1) & 0xffff;
    }
    return back;
  }

  /** A request and its answer, for devices that answer at once. */
  ask(queue: number, buffers: readonly Buffer[], options: { indirect?: boolean } = {}): Uint8Array {
    const id = this.offer(queue, buffers, options);
    this.kick(queue);
    const [answer, ...more] = this.taken(queue);
    assert.ok(answer, "the device did not answer");
    assert.deepEqual([answer.id, more.length], [id, 0]);
    return answer.bytes;
  }

  /** Memory for a buffer. Nothing is ever given back but by `start`; when it is used up it begins anew. */
  allocate(length: number, align = 1): number {
    let at = Math.ceil(this.#heap / align) * align;
    const first = this.#heapStart + this.rings.length * RING_BYTES;
    if (at + length > this.guest.memory.length) at = Math.ceil(first / align) * align;
    assert.ok(at + length <= this.guest.memory.length, "the test's memory is too small");
    this.#heap = at + length;
    return at;
  }

  #makeRing(index: number): void {
    const base = this.#heapStart + index * RING_BYTES;
    this.guest.memory.fill(0, base, base + RING_BYTES);
    const ring: Ring = {
      desc: base,
      driver: base + 0x2000,
      device: base + 0x3000,
      next: 0,
      nextWrap: true,
      seen: 0,
      seenWrap: true,
      waiting: new Map(),
    };
    this.rings.push(ring);
    this.#heap = base + RING_BYTES;
    const { desc, driver, device } = ring;
    this.#transport.enable(index, { size: this.size, desc, driver, device });
  }

  #offerSplit(
    ring: Ring,
    descriptors: { at: number; length: number; flags: number }[],
    buffers: { at: number; length: number }[],
  ): number {
    // Descriptors of requests that are still out stay: the next free ones are taken.
    const taken = new Set<number>();
    for (const [id, { entries }] of ring.waiting) {
      for (let i = 0; i < entries; i++) taken.add((id + i) % this.size);
    }
    const free = Array.from({ length: this.size }, (_, i) => i).find((i) =>
      descriptors.every((_, k) => !taken.has((i + k) % this.size))
    );
    assert.ok(free !== undefined && descriptors.length <= this.size, "the test's queue is full");
    descriptors.forEach((d, i) => {
      const last = i === descriptors.length - 1;
      this.#descriptor(
        ring.desc,
        (free + i) % this.size,
        d,
        last ? 0 : DESC.NEXT,
        (free + i + 1) % this.size,
      );
    });
    this.view.setUint16(ring.driver + 4 + 2 * (ring.next % this.size), free, true);
    ring.next = (ring.next + 1) & 0xffff;
    this.view.setUint16(ring.driver + 2, ring.next, true);
    ring.waiting.set(free, { buffers, entries: descriptors.length });
    return free;
  }

  #offerPacked(
    ring: Ring,
    descriptors: { at: number; length: number; flags: number }[],
    buffers: { at: number; length: number }[],
  ): number {
    let id = 0;
    while (ring.waiting.has(id)) id++;
    for (const [i, d] of descriptors.entries()) {
      const wrap = ring.nextWrap ? DESC.AVAIL : DESC.USED;
      const more = i < descriptors.length - 1 ? DESC.NEXT : 0;
      this.#descriptor(ring.desc, ring.next, d, wrap | more, id);
      if (++ring.next === this.size) {
        ring.next = 0;
        ring.nextWrap = !ring.nextWrap;
      }
    }
    ring.waiting.set(id, { buffers, entries: descriptors.length });
    return id;
  }

  #used(ring: Ring): { id: number; written: number } | undefined {
    const { view } = this;
    if (this.packed) {
      const at = ring.desc + DESCRIPTOR_BYTES * ring.seen;
      const flags = view.getUint16(at + 14, true);
      const [avail, used] = [(flags & DESC.AVAIL) !== 0, (flags & DESC.USED) !== 0];
      if (avail !== used || used !== ring.seenWrap || ring.waiting.size === 0) return undefined;
      return { id: view.getUint16(at + 12, true), written: view.getUint32(at + 8, true) };
    }
    if (view.getUint16(ring.device + 2, true) === ring.seen) return undefined;
    const at = ring.device + 4 + 8 * (ring.seen % this.size);
    return { id: view.getUint32(at, true), written: view.getUint32(at + 4, true) };
  }

  /** Writes a descriptor of the ring's format. */
  #descriptor(
    table: number,
    index: number,
    { at, length, flags }: { at: number; length: number; flags: number },
    more: number,
    link: number,
  ): void {
    const { view } = this;
    const to = table + DESCRIPTOR_BYTES * index;
    view.setBigUint64(to, BigInt(at), true);
    view.setUint32(to + 8, length, true);
    view.setUint16(to + (this.packed ? 14 : 12), flags | more, true);
    view.setUint16(to + (this.packed ? 12 : 14), link, true);
  }

  get view(): DataView {
    const { memory } = this.guest;
    return new DataView(memory.buffer, memory.byteOffset, memory.length);
  }
}
