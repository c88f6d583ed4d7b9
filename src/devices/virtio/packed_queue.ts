/** The packed virtqueue: one ring of descriptors that both sides write (virtio 1.2, 2.8). */
import type { Chain } from "./chain.ts";
import { ChainBuilder, type Descriptor, packedDescriptor, tableOf } from "./descriptors.ts";
import { DriverFault } from "./driver_fault.ts";
import type { DriverMemory } from "./driver_memory.ts";
import type { QueuePlace, QueueProgress, VirtQueue } from "./queue.ts";
import { DESC, DESCRIPTOR_BYTES, QUEUE_SIZE_LIMIT } from "./spec.ts";

/** Offsets in an event suppression structure (2.8.14). */
const EVENT_OFFSET = 0n;
const EVENT_FLAGS = 2n;
/** Its flags: always, never, or at one entry, which needs VIRTIO_F_EVENT_IDX (2.8.10). */
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;
/** The wrap counter in the offset field. */
const EVENT_WRAP_BIT = 0x8000;
/** Offsets in a descriptor: what a used one says is its ID, its length and last its flags. */
const DESC_LENGTH = 8n;
const DESC_FLAGS = 14n;

/** The device's side of a packed virtqueue. */
export class PackedQueue implements VirtQueue {
  readonly size: number;
  readonly #memory: DriverMemory;
  readonly #place: QueuePlace;
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  #avail = 0;
  #availWrap = true;
  #used = 0;
  #usedWrap = true;
  /** Entries given back since the driver was last asked whether it wants an interrupt. */
  #since = 0;

  /**
   * @param features What was negotiated: VIRTIO_F_EVENT_IDX and VIRTIO_F_INDIRECT_DESC.
   * @throws {DriverFault} If the queue can't lie there.
   */
  constructor(memory: DriverMemory, place: QueuePlace, features: { eventIndex: boolean; indirect: boolean }) {
    const { size, desc, driver, device } = place;
    if (size < 1 || size > QUEUE_SIZE_LIMIT) throw new DriverFault(`a packed queue has ${size} entries`);
    if (desc % 16n !== 0n || driver % 4n !== 0n || device % 4n !== 0n) {
      throw new DriverFault("a packed queue's parts are not aligned to 16, 4 and 4 bytes");
    }
    this.size = size;
    this.#memory = memory;
    this.#place = place;
    this.#eventIndex = features.eventIndex;
    this.#indirect = features.indirect;
  }

  pop(): Chain | undefined {
    const first = this.#at(this.#avail);
    // The driver writes the flags last: what else the entry says is read behind them, or it may be of the lap before.
    if (!available(this.#memory.u16(first + DESC_FLAGS), this.#availWrap)) return undefined;
    let descriptor = packedDescriptor(this.#memory.descriptor(first));
    const builder = new ChainBuilder(this.size);
    let entries = 1;
    let at = this.#avail;
    if (descriptor.flags & DESC.INDIRECT) this.#gatherTable(builder, descriptor);
    else {
      builder.add(descriptor);
      while (descriptor.flags & DESC.NEXT) {
        // The driver makes a chain's first descriptor available last, so all the others are there (2.8.6).
        if (entries === this.size) {
          throw new DriverFault(`a chain has more than ${this.size} descriptors, the queue's size`);
        }
        entries++;
        at = (at + 1) % this.size;
        descriptor = packedDescriptor(this.#memory.descriptor(this.#at(at)));
        if (descriptor.flags & DESC.INDIRECT) {
          throw new DriverFault("an indirect table within a chain of a packed ring");
        }
        builder.add(descriptor);
      }
    }
    const chain = builder.chain(this.#memory, descriptor.link, entries);
    this.#move("avail", entries);
    return chain;
  }

  unpop(chain: Chain): void {
    this.#avail -= chain.entries;
    if (this.#avail < 0) {
      this.#avail += this.size;
      this.#availWrap = !this.#availWrap;
    }
  }

  push(chain: Chain, behind?: readonly Chain[]): void {
    const first = this.#at(this.#used);
    const flags = this.#enter(chain);
    if (behind !== undefined) {
      for (const each of behind) {
        const at = this.#at(this.#used);
        this.#memory.putU16(at + DESC_FLAGS, this.#enter(each));
      }
    }
    // The driver may look as soon as these flags say so, and at no entry before this one: all others come first.
    this.#memory.putU16(first + DESC_FLAGS, flags);
  }

  /** Writes length and ID of the next used entry; gives its flags, which have to be written after them. */
  #enter(chain: Chain): number {
    const at = this.#at(this.#used);
    const wrap = this.#usedWrap ? DESC.AVAIL | DESC.USED : 0;
    const written = chain.writableBytes > 0 ? DESC.WRITE : 0;
    const flags = this.#memory.u16(at + DESC_FLAGS);
    this.#memory.putPair(at + DESC_LENGTH, chain.written, (flags << 16 | chain.id) >>> 0);
    this.#move("used", chain.entries);
    this.#since = Math.min(this.#since + chain.entries, 2 * this.size);
    return wrap | written;
  }

  wantsInterrupt(): boolean {
    const since = this.#since;
    this.#since = 0;
    if (since === 0) return false;
    this.#memory.fence(); // the driver asks, then looks at the ring; we do it the other way round
    const { driver } = this.#place;
    const flags = this.#memory.u16(driver + EVENT_FLAGS) & 3;
    if (flags === EVENT_DISABLE) return false;
    if (flags !== EVENT_DESC || !this.#eventIndex) return true;
    const event = this.#memory.u16(driver + EVENT_OFFSET);
    const sameLap = (event & EVENT_WRAP_BIT) !== 0 === this.#usedWrap;
    // As positions of one lap: an entry of the lap before is one ring's size behind.
    const position = (event & ~EVENT_WRAP_BIT) - (sameLap ? 0 : this.size);
    return position < this.#used && position >= this.#used - since;
  }

  askForKick(): void {
    const { device } = this.#place;
    if (this.#eventIndex) {
      this.#memory.putU16(device + EVENT_OFFSET, this.#avail | (this.#availWrap ? EVENT_WRAP_BIT : 0));
      this.#memory.putU16(device + EVENT_FLAGS, EVENT_DESC);
    } else this.#memory.putU16(device + EVENT_FLAGS, 0);
    this.#memory.fence(); // and whoever asked looks once more
  }

  save(): QueueProgress {
    return {
      avail: this.#avail,
      used: this.#used,
      availWrap: this.#availWrap,
      usedWrap: this.#usedWrap,
      notifiedUsed: this.#since,
    };
  }

  restore(progress: QueueProgress): void {
    this.#avail = progress.avail % this.size;
    this.#used = progress.used % this.size;
    this.#availWrap = progress.availWrap;
    this.#usedWrap = progress.usedWrap;
    this.#since = Math.min(progress.notifiedUsed, 2 * this.size);
  }

  inspect(): Record<string, number | bigint> {
    const { size, desc, driver, device } = this.#place;
    return {
      size,
      desc,
      driver,
      device,
      avail: this.#avail,
      availWrap: Number(this.#availWrap),
      used: this.#used,
      usedWrap: Number(this.#usedWrap),
    };
  }

  /** A table's descriptors follow each other; of their flags only WRITE counts (2.8.7). */
  #gatherTable(builder: ChainBuilder, descriptor: Descriptor): void {
    if (!this.#indirect) throw new DriverFault("an indirect table, which was not negotiated");
    if (descriptor.flags & DESC.NEXT) throw new DriverFault("a descriptor has both INDIRECT and NEXT");
    const entries = builder.tableEntries(descriptor);
    const table = tableOf(this.#memory, descriptor, { entries, limit: this.size, decode: packedDescriptor });
    for (let i = 0; i < entries; i++) builder.add(table(i));
  }

  #at(index: number): bigint {
    return this.#place.desc + BigInt(DESCRIPTOR_BYTES * index);
  }

  #move(which: "avail" | "used", entries: number): void {
    if (which === "avail") {
      this.#avail += entries;
      if (this.#avail < this.size) return;
      this.#avail -= this.size;
      this.#availWrap = !this.#availWrap;
    } else {
      this.#used += entries;
      if (this.#used < this.size) return;
      this.#used -= this.size;
      this.#usedWrap = !this.#usedWrap;
    }
  }
}

/** Whether flags say that the driver made a descriptor available in the lap that `wrap` stands for (2.8.1). */
function available(flags: number, wrap: boolean): boolean {
  return (flags & DESC.AVAIL) !== 0 === wrap && (flags & DESC.USED) !== 0 !== wrap;
}
