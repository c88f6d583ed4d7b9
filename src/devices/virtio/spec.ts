/** Numbers of virtio 1.2 that transports, queues and device types share; sections in brackets. */

/** Device status bits (2.1). */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Reserved feature bits (6). */
export const FEATURE = {
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  RING_PACKED: 1n << 34n,
} as const;

/** Names of the reserved feature bits, for listings. */
export const FEATURE_NAMES: ReadonlyMap<number, string> = new Map([
  [28, "INDIRECT_DESC"],
  [29, "EVENT_IDX"],
  [32, "VERSION_1"],
  [34, "RING_PACKED"],
]);

/** Descriptor flags of both ring formats (2.7.5, 2.8.6); AVAIL and USED are of the packed one alone. */
export const DESC = { NEXT: 1, WRITE: 2, INDIRECT: 4, AVAIL: 1 << 7, USED: 1 << 15 } as const;

/** Bytes of a descriptor, in a ring of either format and in an indirect table. */
export const DESCRIPTOR_BYTES = 16;

/** Largest queue of either format (2.7, 2.8): no transport can express a larger one. */
export const QUEUE_SIZE_LIMIT = 32768;

/** Device IDs (5). */
export const DEVICE_ID = {
  network: 1,
  block: 2,
  console: 3,
  entropy: 4,
  balloon: 5,
  socket: 19,
} as const;

/** Bits of the ISR status (4.1.4.5, 4.2.2). */
export const ISR = { QUEUE: 1, CONFIG: 2 } as const;
