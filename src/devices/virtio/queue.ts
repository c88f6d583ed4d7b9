/** A virtqueue, whichever format its ring has (virtio 1.2, 2.6). */
import type { Chain } from "./chain.ts";
import { bits, flag, integer, type Shape } from "../state.ts";
import { QUEUE_SIZE_LIMIT } from "./spec.ts";

/** Where the driver put a queue, and how large it made it. */
export interface QueuePlace {
  /** Entries. */
  size: number;
  /** Guest-physical address of the descriptors. */
  desc: bigint;
  /** Of the driver area: available ring, or driver event suppression. */
  driver: bigint;
  /** Of the device area: used ring, or device event suppression. */
  device: bigint;
}

/** How far the device is in a ring. */
export interface QueueProgress {
  /** The next entry that may become available: free-running 16 bits (split), or an index (packed). */
  avail: number;
  /** The next entry that is given back, likewise. */
  used: number;
  /** Packed: the driver's ring wrap counter; true at first. */
  availWrap: boolean;
  /** Packed: the device's ring wrap counter; true at first. */
  usedWrap: boolean;
  /** Split: `used` when the driver was last asked about a notification; packed: entries given back since then. */
  notifiedUsed: number;
}

/** What a saved progress must look like. */
export const PROGRESS_SHAPE: Shape<QueueProgress> = {
  avail: bits(16),
  used: bits(16),
  availWrap: flag,
  usedWrap: flag,
  notifiedUsed: bits(17),
};

/** A queue's sizes as saved. */
export const SIZE_FIELD = integer(0, QUEUE_SIZE_LIMIT);

/** Chains that the driver makes available, and the device gives back. */
export interface VirtQueue {
  /** Entries. */
  readonly size: number;
  /**
   * The next chain that the driver has made available, or undefined.
   *
   * @throws {DriverFault} If what the driver wrote makes no sense.
   * @throws {FaultError} If a descriptor or the ring lies where no memory is.
   */
  pop(): Chain | undefined;
  /** Puts the chain that was popped last back, as if it had not been. */
  unpop(chain: Chain): void;
  /**
   * Gives a chain back to the driver, with `chain.written`, and others `behind` it: the driver sees all of them at
   * once. @throws {FaultError}
   */
  push(chain: Chain, behind?: readonly Chain[]): void;
  /** Whether the driver wants to be notified of what was pushed since the last call. @throws {FaultError} */
  wantsInterrupt(): boolean;
  /**
   * Asks the driver to notify the device of the next chain. A chain may have come just before: look once more.
   *
   * @throws {FaultError}
   */
  askForKick(): void;
  /** How far it is. */
  save(): QueueProgress;
  /** Takes a checked record. */
  restore(progress: QueueProgress): void;
  /** Indices by name. */
  inspect(): Record<string, number | bigint>;
}

/**
 * The next chain, for a type that takes it outside of a request: if there is none yet, the driver is asked to tell
 * of the next one.
 *
 * @throws {DriverFault} @throws {FaultError} As `pop`.
 */
export function takeChain(queue: VirtQueue): Chain | undefined {
  const chain = queue.pop();
  if (chain !== undefined) return chain;
  queue.askForKick();
  return queue.pop();
}
