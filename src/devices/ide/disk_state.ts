/** What a disk keeps beside the registers, and what a saved one must look like. */
import { SECTOR_BYTES } from "../../vm/block.ts";
import { InputError } from "../../vm/errors.ts";
import { base64, bits, flag, integer, record, type Shape } from "../state.ts";
import { BUFFER_BYTES, consistent, DRIVE_SHAPE, type DriveState } from "./drive.ts";
import type { Geometry } from "./geometry.ts";
import { DEFAULT_MODE } from "./transfer_mode.ts";

/** Sectors of a block of READ and WRITE MULTIPLE at most. */
export const MULTIPLE_LIMIT = 16;
/** Sectors that the buffer holds. */
export const BUFFER_SECTORS: number = BUFFER_BYTES / SECTOR_BYTES;
/** Sectors that 48-bit and 28-bit addresses reach. */
export const SECTORS_LIMIT: number = 2 ** 48;
export const LBA28_SECTORS: number = 2 ** 28;

/** What goes on, and what was set. */
export interface DiskState {
  /** Next sector of the medium, and how many are still to be read from it or written to it. */
  lba: number;
  left: number;
  /** Sectors of a block. */
  block: number;
  /** The last command used 48-bit addresses. */
  wide: boolean;
  /** What the command writes is flushed at its end. */
  through: boolean;
  multiple: number;
  heads: number;
  sectors: number;
  writeCache: boolean;
  standby: boolean;
  /** Transfer mode as SET FEATURES takes it. */
  mode: number;
}

/** A saved disk. */
export interface SavedDisk {
  readonly registers: DriveState;
  readonly disk: DiskState;
  /** Sectors of the medium. */
  readonly total: number;
  /** What the buffer holds, as base64. */
  readonly data: string;
}

const SHAPE: Shape<SavedDisk> = {
  registers: record(DRIVE_SHAPE),
  disk: record<DiskState>({
    lba: integer(0, SECTORS_LIMIT),
    left: integer(0, 0x10000),
    block: integer(1, BUFFER_SECTORS),
    wide: flag,
    through: flag,
    multiple: integer(0, MULTIPLE_LIMIT),
    heads: integer(1, 16),
    sectors: integer(1, 255),
    writeCache: flag,
    standby: flag,
    mode: bits(8),
  }),
  total: integer(1, SECTORS_LIMIT),
  data: base64(BUFFER_BYTES),
};

/** After power-on. */
export function initialDisk({ heads, sectors }: Geometry): DiskState {
  return {
    lba: 0,
    left: 0,
    block: 1,
    wide: false,
    through: false,
    multiple: MULTIPLE_LIMIT,
    heads,
    sectors,
    writeCache: true,
    standby: false,
    mode: DEFAULT_MODE,
  };
}

/** A saved disk, if it can be restored on one of `total` sectors. @throws {InputError} If it can't. */
export function checkedDisk(given: unknown, total: number, name: string): SavedDisk {
  const saved = record(SHAPE)(given, "disk");
  if (saved.total !== total) {
    throw new InputError(`The saved disk has ${saved.total} sectors, ${name} has ${total}`, {
      remedy: "restore it with the disk it was saved with",
    });
  }
  if (!possible(saved)) {
    throw new InputError("The saved disk state contradicts itself", {
      remedy: "restore an unchanged record",
    });
  }
  return saved;
}

/** Whether the transfer that goes on is one that a command could have started. */
function possible({ registers, disk, total }: SavedDisk): boolean {
  const { phase, end, filled } = registers;
  if (phase === "idle") return true;
  const sectors = end % SECTOR_BYTES === 0 && filled % SECTOR_BYTES === 0;
  const inside = disk.lba + disk.left <= total;
  const out = phase === "pio-out" || phase === "dma-out";
  return phase !== "packet" && consistent(registers) && sectors && inside &&
    (!out || end / SECTOR_BYTES <= disk.left);
}
