/**
 * Registers, bits and command codes of the AT attachment.
 *
 * Specification: ATA/ATAPI-6 (T13/1410D), clauses 7 (registers) and 8 (commands).
 */

/** Offsets from the command block's first port (0x1f0, 0x170). */
export const DATA = 0;
export const ERROR_FEATURES = 1;
export const SECTOR_COUNT = 2;
export const LBA_LOW = 3;
export const LBA_MID = 4;
export const LBA_HIGH = 5;
export const DEVICE = 6;
export const STATUS_COMMAND = 7;

/** Status. */
export const STATUS_ERR_BIT = 0x01;
export const STATUS_DRQ_BIT = 0x08;
/** Seek complete, as older drivers know it. */
export const STATUS_DSC_BIT = 0x10;
export const STATUS_DF_BIT = 0x20;
export const STATUS_DRDY_BIT = 0x40;
export const STATUS_BSY_BIT = 0x80;
export const STATUS_READY = STATUS_DRDY_BIT | STATUS_DSC_BIT;

/** Error. */
export const ERROR_ABRT_BIT = 0x04;
export const ERROR_IDNF_BIT = 0x10;
export const ERROR_UNC_BIT = 0x40;
/** Of writes: the medium is write-protected. */
export const ERROR_WP_BIT = 0x40;
/** After a reset: the self-test passed. */
export const DIAGNOSTIC_PASSED = 0x01;

/** Device. */
export const DEVICE_DEV_BIT = 0x10;
export const DEVICE_LBA_BIT = 0x40;
export const DEVICE_HEAD_MASK = 0x0f;
/** Bits 7 and 5, obsolete since ATA-4: drives give ones, as they were to be written (ATA-3, 7.2.8). */
export const DEVICE_ONES = 0xa0;

/** Device control. */
export const CONTROL_NIEN_BIT = 0x02;
export const CONTROL_SRST_BIT = 0x04;
export const CONTROL_HOB_BIT = 0x80;

/** Interrupt reason of the PACKET command, in the sector count register. */
export const REASON_CD_BIT = 0x01;
export const REASON_IO_BIT = 0x02;

/** Commands by code. */
export const COMMAND = {
  NOP: 0x00,
  DEVICE_RESET: 0x08,
  RECALIBRATE: 0x10,
  READ_SECTORS: 0x20,
  READ_SECTORS_NO_RETRY: 0x21,
  READ_SECTORS_EXT: 0x24,
  READ_DMA_EXT: 0x25,
  READ_NATIVE_MAX_EXT: 0x27,
  READ_MULTIPLE_EXT: 0x29,
  WRITE_SECTORS: 0x30,
  WRITE_SECTORS_NO_RETRY: 0x31,
  WRITE_SECTORS_EXT: 0x34,
  WRITE_DMA_EXT: 0x35,
  WRITE_MULTIPLE_EXT: 0x39,
  WRITE_VERIFY: 0x3c,
  WRITE_DMA_FUA_EXT: 0x3d,
  READ_VERIFY: 0x40,
  READ_VERIFY_NO_RETRY: 0x41,
  READ_VERIFY_EXT: 0x42,
  SEEK: 0x70,
  EXECUTE_DEVICE_DIAGNOSTIC: 0x90,
  INITIALIZE_DEVICE_PARAMETERS: 0x91,
  STANDBY_IMMEDIATE_OLD: 0x94,
  IDLE_IMMEDIATE_OLD: 0x95,
  STANDBY_OLD: 0x96,
  IDLE_OLD: 0x97,
  CHECK_POWER_MODE_OLD: 0x98,
  SLEEP_OLD: 0x99,
  PACKET: 0xa0,
  IDENTIFY_PACKET_DEVICE: 0xa1,
  READ_MULTIPLE: 0xc4,
  WRITE_MULTIPLE: 0xc5,
  SET_MULTIPLE_MODE: 0xc6,
  READ_DMA: 0xc8,
  READ_DMA_NO_RETRY: 0xc9,
  WRITE_DMA: 0xca,
  WRITE_DMA_NO_RETRY: 0xcb,
  WRITE_MULTIPLE_FUA_EXT: 0xce,
  STANDBY_IMMEDIATE: 0xe0,
  IDLE_IMMEDIATE: 0xe1,
  STANDBY: 0xe2,
  IDLE: 0xe3,
  READ_BUFFER: 0xe4,
  CHECK_POWER_MODE: 0xe5,
  SLEEP: 0xe6,
  FLUSH_CACHE: 0xe7,
  WRITE_BUFFER: 0xe8,
  FLUSH_CACHE_EXT: 0xea,
  IDENTIFY_DEVICE: 0xec,
  SET_FEATURES: 0xef,
  READ_NATIVE_MAX: 0xf8,
} as const;

/** Subcommands of SET FEATURES. */
export const FEATURE = {
  WRITE_CACHE_ON: 0x02,
  TRANSFER_MODE: 0x03,
  LOOK_AHEAD_OFF: 0x55,
  KEEP_SETTINGS: 0x66,
  WRITE_CACHE_OFF: 0x82,
  LOOK_AHEAD_ON: 0xaa,
  REVERT_SETTINGS: 0xcc,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(COMMAND).map(([name, code]) => [code, name.replaceAll("_", " ")]),
);

/** The name of a command, "READ DMA EXT", or its code in hexadecimal if there is none. */
export function commandName(code: number): string {
  return NAMES.get(code) ?? `0x${code.toString(16).padStart(2, "0")}`;
}

const NARROW: ReadonlySet<number> = new Set([
  COMMAND.READ_SECTORS,
  COMMAND.READ_SECTORS_NO_RETRY,
  COMMAND.READ_MULTIPLE,
  COMMAND.READ_DMA,
  COMMAND.READ_DMA_NO_RETRY,
  COMMAND.READ_VERIFY,
  COMMAND.READ_VERIFY_NO_RETRY,
  COMMAND.WRITE_SECTORS,
  COMMAND.WRITE_SECTORS_NO_RETRY,
  COMMAND.WRITE_VERIFY,
  COMMAND.WRITE_MULTIPLE,
  COMMAND.WRITE_DMA,
  COMMAND.WRITE_DMA_NO_RETRY,
]);
const WIDE: ReadonlySet<number> = new Set([
  COMMAND.READ_SECTORS_EXT,
  COMMAND.READ_MULTIPLE_EXT,
  COMMAND.READ_DMA_EXT,
  COMMAND.READ_VERIFY_EXT,
  COMMAND.WRITE_SECTORS_EXT,
  COMMAND.WRITE_MULTIPLE_EXT,
  COMMAND.WRITE_MULTIPLE_FUA_EXT,
  COMMAND.WRITE_DMA_EXT,
  COMMAND.WRITE_DMA_FUA_EXT,
]);

/** Whether a command names sectors: with 28-bit or CHS addresses ("narrow"), or with 48-bit ones ("wide"). */
export function addressing(command: number): "narrow" | "wide" | undefined {
  return NARROW.has(command) ? "narrow" : WIDE.has(command) ? "wide" : undefined;
}
