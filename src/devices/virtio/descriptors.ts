/** What both ring formats share: descriptors gathered into a chain, within bounds that the device sets. */
import { Chain, type Segment } from "./chain.ts";
import { DriverFault } from "./driver_fault.ts";
import type { DriverMemory } from "./driver_memory.ts";
import { DESC, DESCRIPTOR_BYTES } from "./spec.ts";

/** One descriptor, whichever ring it stood in. */
export interface Descriptor {
  /** Guest-physical address of its buffer. */
  readonly at: bigint;
  /** Bytes of its buffer. */
  readonly length: number;
  /** See `DESC`. */
  readonly flags: number;
  /** Split ring: index of the next one; packed ring: buffer ID. */
  readonly link: number;
}

/** A descriptor of a split ring, or of an indirect table of one, `at` bytes into `view` (virtio 1.2, 2.7.5). */
export function splitDescriptor(view: DataView, at = 0): Descriptor {
  return {
    at: view.getBigUint64(at, true),
    length: view.getUint32(at + 8, true),
    flags: view.getUint16(at + 12, true),
    link: view.getUint16(at + 14, true),
  };
}

/** The same of a packed ring: ID before flags (2.8.13). */
export function packedDescriptor(view: DataView, at = 0): Descriptor {
  return {
    at: view.getBigUint64(at, true),
    length: view.getUint32(at + 8, true),
    flags: view.getUint16(at + 14, true),
    link: view.getUint16(at + 12, true),
  };
}

/**
 * What gives the entries of an indirect table. One that is no longer than a chain may be is read at once, which is what
 * drivers make; of a longer one each is read when it is its turn.
 *
 * @throws {FaultError} As what it gives does, if it lies where no memory is.
 */
export function tableOf(
  memory: DriverMemory,
  { at }: Descriptor,
  { entries, limit, decode }: {
    readonly entries: number;
    readonly limit: number;
    readonly decode: (view: DataView, at?: number) => Descriptor;
  },
): (index: number) => Descriptor {
  if (entries > limit) return (index) => decode(memory.descriptor(at + BigInt(DESCRIPTOR_BYTES * index)));
  const table = memory.table(at, DESCRIPTOR_BYTES * entries);
  return (index) => decode(table, DESCRIPTOR_BYTES * index);
}

/** Gathers the buffers of a chain and holds it to the rules. */
export class ChainBuilder {
  readonly #limit: number;
  readonly #readable: Segment[] = [];
  readonly #writable: Segment[] = [];

  /** @param limit Most descriptors of a chain: the queue's size (2.7.5.2, 2.8.6). */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Adds a descriptor's buffer. @throws {DriverFault} */
  add({ at, length, flags }: Descriptor): void {
    if (this.#readable.length + this.#writable.length === this.#limit) {
      throw new DriverFault(`a chain has more than ${this.#limit} descriptors, the queue's size`);
    }
    if (flags & DESC.WRITE) this.#writable.push({ at, length });
    else if (this.#writable.length > 0) {
      throw new DriverFault("a chain has a buffer to read behind one to write");
    } else this.#readable.push({ at, length });
  }

  /** How many entries an indirect table has. @throws {DriverFault} If it can't be one. */
  tableEntries({ length }: Descriptor): number {
    const entries = length / DESCRIPTOR_BYTES;
    if (!Number.isInteger(entries) || entries < 1) {
      throw new DriverFault(`an indirect table has ${length} bytes, no multiple of ${DESCRIPTOR_BYTES}`);
    }
    return entries;
  }

  /** The chain. @throws {DriverFault} If it is longer than its given-back length could tell (2.7.8.2: 32 bits). */
  chain(memory: DriverMemory, id: number, entries: number): Chain {
    const chain = new Chain(memory, { id, entries, readable: this.#readable, writable: this.#writable });
    if (chain.readableBytes + chain.writableBytes > 0xffff_ffff) {
      throw new DriverFault("a chain has 4 GiB or more");
    }
    return chain;
  }
}
