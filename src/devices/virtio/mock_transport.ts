/** How a mock driver reaches a virtio device: the registers of either transport, as a driver uses them. */
import assert from "node:assert/strict";
import type { MockGuest } from "../mock_guest.ts";

/** Where the driver put a queue. */
export interface MockQueue {
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
}

/** The steps that both transports have. */
export interface MockTransport {
  status: number;
  offered(half: number): number;
  accept(half: number, value: number): void;
  enable(queue: number, place: MockQueue): void;
  kick(queue: number): void;
}

/** virtio over MMIO (virtio 1.2, 4.2.2). */
export class MockMmio implements MockTransport {
  readonly #guest: MockGuest;
  readonly #at: bigint;

  constructor(guest: MockGuest, at: bigint) {
    this.#guest = guest;
    this.#at = at;
  }

  get(offset: number): number {
    return this.#guest.load(this.#at + BigInt(offset), 4);
  }

  set(offset: number, value: number): void {
    this.#guest.store(this.#at + BigInt(offset), value, 4);
  }

  get status(): number {
    return this.get(0x070);
  }

  set status(value: number) {
    this.set(0x070, value);
  }

  offered(half: number): number {
    this.set(0x014, half);
    return this.get(0x010);
  }

  accept(half: number, value: number): void {
    this.set(0x024, half);
    this.set(0x020, value);
  }

  enable(queue: number, { size, desc, driver, device }: MockQueue): void {
    this.set(0x030, queue);
    this.set(0x038, size);
    for (const [offset, at] of [[0x080, desc], [0x090, driver], [0x0a0, device]]) {
      this.set(offset, at);
      this.set(offset + 4, 0);
    }
    this.set(0x044, 1);
  }

  kick(queue: number): void {
    this.set(0x050, queue);
  }
}

/** A part of the device, as a capability tells of it. */
interface Part {
  readonly capability: number;
  readonly at: bigint;
  readonly length: number;
}

/** virtio over PCI (4.1.4): everything is found by the capabilities of the function in `slot`. */
export class MockPci implements MockTransport {
  readonly guest: MockGuest;
  readonly slot: number;
  /** By type (cfg_type). */
  readonly parts = new Map<number, Part>();
  /** MSI-X's capability. */
  readonly msix: number;

  /** @param bars Where to put the base address registers; they are enabled, with bus mastering. */
  constructor(guest: MockGuest, slot: number, bars: readonly number[]) {
    this.guest = guest;
    this.slot = slot;
    assert.equal(this.config(0, 2), 0x1af4, "there is no virtio device in the slot");
    bars.forEach((at, i) => this.setConfig(0x10 + 4 * i, at, 4));
    this.setConfig(0x04, 0x0006, 2);
    let msix = 0;
    for (let at = this.config(0x34, 1); at !== 0; at = this.config(at + 1, 1)) {
      if (this.config(at, 1) === 0x11) msix = at;
      if (this.config(at, 1) !== 0x09) continue;
      const type = this.config(at + 3, 1);
      if (type === 5) continue; // the window is where the driver puts it (4.1.4.9)
      const base = bars[this.config(at + 4, 1)] + this.config(at + 8, 4);
      this.parts.set(type, {
        capability: at,
        at: BigInt(base),
        length: this.config(at + 12, 4),
      });
    }
    this.msix = msix;
  }

  config(offset: number, size: 1 | 2 | 4): number {
    this.guest.out(0xcf8, (0x8000_0000 | this.slot << 11 | offset & ~3) >>> 0, 4);
    return this.guest.in(0xcfc + (offset & 3), size);
  }

  setConfig(offset: number, value: number, size: 1 | 2 | 4): void {
    this.guest.out(0xcf8, (0x8000_0000 | this.slot << 11 | offset & ~3) >>> 0, 4);
    this.guest.out(0xcfc + (offset & 3), value, size);
  }

  /** A field of the common configuration. */
  get(offset: number, size: 1 | 2 | 4): number {
    return this.guest.load(this.part(1) + BigInt(offset), size);
  }

  set(offset: number, value: number, size: 1 | 2 | 4): void {
    this.guest.store(this.part(1) + BigInt(offset), value, size);
  }

  /** Where a part of this type is. */
  part(type: number): bigint {
    const found = this.parts.get(type);
    assert.ok(found, `there is no capability of type ${type}`);
    return found.at;
  }

  get status(): number {
    return this.get(0x14, 1);
  }

  set status(value: number) {
    this.set(0x14, value, 1);
  }

  offered(half: number): number {
    this.set(0x00, half, 4);
    return this.get(0x04, 4);
  }

  accept(half: number, value: number): void {
    this.set(0x08, half, 4);
    this.set(0x0c, value, 4);
  }

  enable(queue: number, { size, desc, driver, device }: MockQueue): void {
    this.set(0x16, queue, 2);
    this.set(0x18, size, 2);
    for (const [offset, at] of [[0x20, desc], [0x28, driver], [0x30, device]]) {
      this.set(offset, at, 4);
      this.set(offset + 4, 0, 4);
    }
    this.set(0x1c, 1, 2);
  }

  kick(queue: number): void {
    this.set(0x16, queue, 2);
    const notify = this.parts.get(2);
    assert.ok(notify, "there is no place for notifications");
    const multiplier = this.config(notify.capability + 16, 4);
    this.guest.store(notify.at + BigInt(this.get(0x1e, 2) * multiplier), queue, 2);
  }
}
