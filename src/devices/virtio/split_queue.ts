/** The split virtqueue: descriptor table, available ring, used ring (virtio 1.2, 2.7). */
import type { Chain } from "./chain.ts";
import { ChainBuilder, type Descriptor, splitDescriptor, tableOf } from "./descriptors.ts";
import { DriverFault } from "./driver_fault.ts";
import type { DriverMemory } from "./driver_memory.ts";
import type { QueuePlace, QueueProgress, VirtQueue } from "./queue.ts";
import { DESC, DESCRIPTOR_BYTES } from "./spec.ts";

/** Offsets in the available and in the used ring (2.7.6, 2.7.8). */
const FLAGS = 0n;
const INDEX = 2n;
const RING = 4n;
const AVAIL_BYTES = 2;
const USED_BYTES = 8;
/** The driver wants no interrupts (2.7.6). */
const AVAIL_NO_INTERRUPT_BIT = 1;

/** The device's side of a split virtqueue. */
export class SplitQueue implements VirtQueue {
  readonly size: number;
  readonly #memory: DriverMemory;
  readonly #place: QueuePlace;
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  /** Available entries seen, and used entries made: 16 bits, free-running. */
  #avail = 0;
  #used = 0;
  /** `#used` when the driver was last asked whether it wants an interrupt. */
  #notified = 0;

  /**
   * @param features What was negotiated: VIRTIO_F_EVENT_IDX and VIRTIO_F_INDIRECT_DESC.
   * @throws {DriverFault} If the queue can't lie there.
   */
  constructor(memory: DriverMemory, place: QueuePlace, features: { eventIndex: boolean; indirect: boolean }) {
    const { size, desc, driver, device } = place;
    if ((size & (size - 1)) !== 0 || size === 0) {
      throw new DriverFault(`a split queue has ${size} entries, no power of 2`);
    }
    if (desc % 16n !== 0n || driver % 2n !== 0n || device % 4n !== 0n) {
      throw new DriverFault("a split queue's parts are not aligned to 16, 2 and 4 bytes");
    }
    this.size = size;
    this.#memory = memory;
    this.#place = place;
    this.#eventIndex = features.eventIndex;
    this.#indirect = features.indirect;
  }

  pop(): Chain | undefined {
    const { driver } = this.#place;
    const waiting = (this.#memory.u16(driver + INDEX) - this.#avail) & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > this.size) {
      throw new DriverFault(`${waiting} chains are said to wait in a queue of ${this.size}`);
    }
    const slot = this.#avail & (this.size - 1);
    const chain = this.#gather(this.#memory.u16(driver + RING + BigInt(AVAIL_BYTES * slot)));
    this.#avail = (this.#avail + 1) & 0xffff;
    return chain;
  }

  unpop(_chain: Chain): void {
    this.#avail = (this.#avail - 1) & 0xffff;
  }

  push(chain: Chain, behind?: readonly Chain[]): void {
    this.#enter(chain);
    if (behind !== undefined) { for (const each of behind) this.#enter(each); }
    // The driver may look as soon as the index says so: the entries come first.
    this.#memory.putU16(this.#place.device + INDEX, this.#used);
  }

  #enter(chain: Chain): void {
    const slot = this.#used & (this.size - 1);
    const at = this.#place.device + RING + BigInt(USED_BYTES * slot);
    this.#memory.putPair(at, chain.id, chain.written);
    this.#used = (this.#used + 1) & 0xffff;
  }

  wantsInterrupt(): boolean {
    const { driver } = this.#place;
    const before = this.#notified;
    this.#notified = this.#used;
    if (before === this.#used) return false;
    this.#memory.fence(); // the driver asks, then looks at the index; we do it the other way round
    if (!this.#eventIndex) return (this.#memory.u16(driver + FLAGS) & AVAIL_NO_INTERRUPT_BIT) === 0;
    const event = this.#memory.u16(driver + RING + BigInt(AVAIL_BYTES * this.size));
    return passed(event, before, this.#used);
  }

  askForKick(): void {
    if (!this.#eventIndex) return; // flags were never set: the driver always notifies
    this.#memory.putU16(this.#place.device + RING + BigInt(USED_BYTES * this.size), this.#avail);
    this.#memory.fence(); // and whoever asked looks once more
  }

  save(): QueueProgress {
    return {
      avail: this.#avail,
      used: this.#used,
      availWrap: true,
      usedWrap: true,
      notifiedUsed: this.#notified,
    };
  }

  restore(progress: QueueProgress): void {
    this.#avail = progress.avail;
    this.#used = progress.used;
    this.#notified = progress.notifiedUsed & 0xffff;
  }

  inspect(): Record<string, number | bigint> {
    const { size, desc, driver, device } = this.#place;
    return { size, desc, driver, device, avail: this.#avail, used: this.#used };
  }

  /** Follows the chain that begins at descriptor `head`. */
  #gather(head: number): Chain {
    const builder = new ChainBuilder(this.size);
    const ring = (index: number) =>
      splitDescriptor(this.#memory.descriptor(this.#place.desc + BigInt(DESCRIPTOR_BYTES * index)));
    let descriptor = entry(ring, this.size, head);
    while (true) {
      if (descriptor.flags & DESC.INDIRECT) {
        if (descriptor.flags & DESC.NEXT) throw new DriverFault("a descriptor has both INDIRECT and NEXT");
        if (!this.#indirect) throw new DriverFault("an indirect table, which was not negotiated");
        this.#gatherTable(builder, descriptor);
        break;
      }
      builder.add(descriptor);
      if ((descriptor.flags & DESC.NEXT) === 0) break;
      descriptor = entry(ring, this.size, descriptor.link);
    }
    return builder.chain(this.#memory, head, 1);
  }

  #gatherTable(builder: ChainBuilder, descriptor: Descriptor): void {
    const entries = builder.tableEntries(descriptor);
    const table = tableOf(this.#memory, descriptor, { entries, limit: this.size, decode: splitDescriptor });
    let next = entry(table, entries, 0);
    while (true) {
      if (next.flags & DESC.INDIRECT) throw new DriverFault("an indirect table in an indirect table");
      builder.add(next);
      if ((next.flags & DESC.NEXT) === 0) return;
      next = entry(table, entries, next.link);
    }
  }
}

function entry(of: (index: number) => Descriptor, entries: number, index: number): Descriptor {
  if (index >= entries) throw new DriverFault(`descriptor ${index} of a table that has ${entries}`);
  return of(index);
}

/** Whether the index went past `event` on its way from `before` to `now` (2.7.7.1; all free-running 16 bits). */
export function passed(event: number, before: number, now: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}
