/**
 * Registers, commands and status bits of the floppy disk controller.
 *
 * Data sheet: Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166.
 */
import type { RegisterBits } from "../../vm/register_bits.ts";

/** Offsets from 0x3f0. */
export const DOR = 2;
export const TDR = 3;
export const MSR_DSR = 4;
export const FIFO = 5;

export const DOR_DRIVE_MASK = 0x03;
export const DOR_RUN_BIT = 0x04;
export const DOR_GATE_BIT = 0x08;
export const DSR_RESET_BIT = 0x80;
export const RATE_MASK = 0x03;
export const MSR_BUSY_BIT = 0x10;
export const MSR_NON_DMA_BIT = 0x20;
export const MSR_READ_BIT = 0x40;
export const MSR_READY_BIT = 0x80;
export const DIR_CHANGED_BIT = 0x80;

/** Status register 0: how it ended. */
export const ST0_ABNORMAL = 0x40;
export const ST0_INVALID = 0x80;
export const ST0_POLLED = 0xc0;
export const ST0_SEEK_END_BIT = 0x20;
export const ST0_EQUIPMENT_BIT = 0x10;
export const ST1_MISSING_MARK_BIT = 0x01;
export const ST1_NOT_WRITABLE_BIT = 0x02;
export const ST1_NO_DATA_BIT = 0x04;
export const ST1_DATA_ERROR_BIT = 0x20;
export const ST1_END_OF_TRACK_BIT = 0x80;
export const ST2_WRONG_CYLINDER_BIT = 0x10;
export const ST2_DATA_ERROR_BIT = 0x20;
export const ST2_CONTROL_MARK_BIT = 0x40;
export const ST3_TWO_SIDES_BIT = 0x08;
export const ST3_TRACK_0_BIT = 0x10;
export const ST3_READY_BIT = 0x20;
export const ST3_PROTECTED_BIT = 0x40;

/** The command is in bits 4:0; bit 7 is MT for those that move data. */
export const COMMAND_MASK = 0x1f;
export const MULTI_TRACK_BIT = 0x80;
export const SKIP_BIT = 0x20;
export const HEAD_BIT = 0x04;
/** In CONFIGURE's second byte. */
export const CONFIG_IMPLIED_SEEK_BIT = 0x40;
export const CONFIG_NO_POLLING_BIT = 0x10;
/** In SPECIFY's second byte. */
export const SPECIFY_NON_DMA_BIT = 0x01;
/** In VERIFY's second byte. */
export const ENABLE_COUNT_BIT = 0x80;

export const READ_TRACK = 0x02;
export const SPECIFY = 0x03;
export const SENSE_DRIVE = 0x04;
export const WRITE = 0x05;
export const READ = 0x06;
export const RECALIBRATE = 0x07;
export const SENSE_INTERRUPT = 0x08;
export const WRITE_DELETED = 0x09;
export const READ_ID = 0x0a;
export const READ_DELETED = 0x0c;
export const FORMAT = 0x0d;
export const DUMP_REGISTERS = 0x0e;
export const SEEK = 0x0f;
export const VERSION = 0x10;
export const PERPENDICULAR = 0x12;
export const CONFIGURE = 0x13;
export const LOCK = 0x14;
export const VERIFY = 0x16;
export const PART_ID = 0x18;

/** Bytes of each command, its first included. Others are invalid. */
export const LENGTHS: Readonly<Record<number, number>> = {
  [READ_TRACK]: 9,
  [SPECIFY]: 3,
  [SENSE_DRIVE]: 2,
  [WRITE]: 9,
  [READ]: 9,
  [RECALIBRATE]: 2,
  [SENSE_INTERRUPT]: 1,
  [WRITE_DELETED]: 9,
  [READ_ID]: 2,
  [READ_DELETED]: 9,
  [FORMAT]: 6,
  [DUMP_REGISTERS]: 1,
  [SEEK]: 3,
  [VERSION]: 1,
  [PERPENDICULAR]: 2,
  [CONFIGURE]: 4,
  [LOCK]: 1,
  [VERIFY]: 9,
  [PART_ID]: 1,
};

/** Names of bits. */
export const BITS: Readonly<Record<string, RegisterBits>> = {
  dor: { RUN: DOR_RUN_BIT, "DMA GATE": DOR_GATE_BIT, "motor A": 0x10, "motor B": 0x20 },
  msr: { BUSY: MSR_BUSY_BIT, NDMA: MSR_NON_DMA_BIT, DIO: MSR_READ_BIT, RQM: MSR_READY_BIT },
};
