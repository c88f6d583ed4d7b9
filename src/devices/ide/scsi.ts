/**
 * Commands and sense codes of CD-ROM drives.
 *
 * Specification: MMC-3 (T10/1363-D) and SPC-2 (T10/1236-D); the packet's layout is that of ATAPI (SFF-8020i).
 */

/** Operation codes. */
export const OPERATION = {
  TEST_UNIT_READY: 0x00,
  REQUEST_SENSE: 0x03,
  INQUIRY: 0x12,
  START_STOP_UNIT: 0x1b,
  PREVENT_ALLOW_MEDIUM_REMOVAL: 0x1e,
  READ_CAPACITY: 0x25,
  READ_10: 0x28,
  SEEK_10: 0x2b,
  READ_TOC: 0x43,
  GET_CONFIGURATION: 0x46,
  GET_EVENT_STATUS_NOTIFICATION: 0x4a,
  READ_DISC_INFORMATION: 0x51,
  MODE_SENSE_10: 0x5a,
  READ_12: 0xa8,
  READ_DVD_STRUCTURE: 0xad,
  SET_CD_SPEED: 0xbb,
  MECHANISM_STATUS: 0xbd,
  READ_CD: 0xbe,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(OPERATION).map(([name, code]) => [code, name.replaceAll("_", " ")]),
);

/** The name of an operation, or its code in hexadecimal. */
export function operationName(code: number): string {
  return NAMES.get(code) ?? `0x${code.toString(16).padStart(2, "0")}`;
}

/** Why a command failed: sense key, additional sense code and its qualifier. */
export interface Sense {
  readonly key: number;
  readonly code: number;
  readonly qualifier: number;
}

/** Sense data by what they say. */
export const SENSE = {
  NONE: { key: 0, code: 0, qualifier: 0 },
  NO_MEDIUM: { key: 2, code: 0x3a, qualifier: 1 },
  TRAY_OPEN: { key: 2, code: 0x3a, qualifier: 2 },
  UNRECOVERED_READ: { key: 3, code: 0x11, qualifier: 0 },
  INVALID_OPERATION: { key: 5, code: 0x20, qualifier: 0 },
  BLOCK_OUT_OF_RANGE: { key: 5, code: 0x21, qualifier: 0 },
  INVALID_FIELD: { key: 5, code: 0x24, qualifier: 0 },
  INCOMPATIBLE_MEDIUM: { key: 5, code: 0x30, qualifier: 0 },
  SAVING_NOT_SUPPORTED: { key: 5, code: 0x39, qualifier: 0 },
  REMOVAL_PREVENTED: { key: 5, code: 0x53, qualifier: 2 },
  MEDIUM_CHANGED: { key: 6, code: 0x28, qualifier: 0 },
  ABORTED: { key: 0xb, code: 0, qualifier: 0 },
} as const satisfies Record<string, Sense>;

/** The blocks that a packet names, for those who watch. */
export function blocksOf(packet: Uint8Array, view: DataView): { lba?: number; count?: number } {
  switch (packet[0]) {
    case OPERATION.READ_10:
      return { lba: view.getUint32(2), count: view.getUint16(7) };
    case OPERATION.READ_12:
      return { lba: view.getUint32(2), count: view.getUint32(6) };
    case OPERATION.READ_CD:
      return { lba: view.getUint32(2), count: view.getUint32(5) & 0xff_ffff };
  }
  return {};
}
