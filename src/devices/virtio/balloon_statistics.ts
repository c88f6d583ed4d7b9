/** What a guest tells of its memory by the balloon (virtio 1.2, 5.5.6.4). */

/** A guest's memory as it sees it itself. What it did not tell is left out. */
export interface BalloonStatistics {
  /** Bytes swapped in since it booted. */
  readonly swapIn?: bigint;
  /** Bytes swapped out. */
  readonly swapOut?: bigint;
  /** Page faults that needed the disk. */
  readonly majorFaults?: bigint;
  /** Page faults that did not. */
  readonly minorFaults?: bigint;
  /** Bytes that are not used at all. */
  readonly free?: bigint;
  /** Bytes it has. */
  readonly total?: bigint;
  /** Bytes it could have without swapping. */
  readonly available?: bigint;
  /** Bytes of caches that it could give up. */
  readonly caches?: bigint;
  /** Huge pages it allocated. */
  readonly hugeAllocated?: bigint;
  /** Huge pages it could not allocate. */
  readonly hugeFailed?: bigint;
}

/** By tag. */
const NAMES: readonly (keyof BalloonStatistics)[] = [
  "swapIn",
  "swapOut",
  "majorFaults",
  "minorFaults",
  "free",
  "total",
  "available",
  "caches",
  "hugeAllocated",
  "hugeFailed",
];

/** A tag of 16 bits and a value of 64. */
const ENTRY_BYTES = 10;

/** Takes a statistics buffer apart; tags that are not known are left out. */
export function readStatistics(bytes: Uint8Array): BalloonStatistics {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: { -readonly [K in keyof BalloonStatistics]: bigint } = {};
  for (let i = 0; i + ENTRY_BYTES <= bytes.length; i += ENTRY_BYTES) {
    const name = NAMES[view.getUint16(i, true)];
    if (name !== undefined) found[name] = view.getBigUint64(i + 2, true);
  }
  return found;
}
