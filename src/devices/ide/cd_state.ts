/** What a CD-ROM drive keeps beside the registers, and what a saved one must look like. */
import { InputError } from "../../vm/errors.ts";
import { base64, bits, flag, integer, record, type Shape } from "../state.ts";
import { BUFFER_BYTES, consistent, DRIVE_SHAPE, type DriveState } from "./drive.ts";
import { DEFAULT_MODE } from "./transfer_mode.ts";

/** What goes on, and what the drive remembers. */
export interface CdState {
  /** The packet's operation code. */
  operation: number;
  /** Next block of the medium, and how many are still to be read from it. */
  lba: number;
  left: number;
  /** Bytes that a block gives: its data, or the whole sector. */
  unit: number;
  /** Bytes that the host takes at a time. */
  limit: number;
  /** Data goes by DMA. */
  dma: boolean;
  /** Sense data. */
  key: number;
  code: number;
  qualifier: number;
  trayOpen: boolean;
  locked: boolean;
  /** The guest has to be told of another medium. */
  changed: boolean;
  /** What the next event notification tells: none, eject request, new medium, removal. */
  event: number;
  /** Transfer mode as SET FEATURES takes it. */
  mode: number;
}

/** A saved drive. */
export interface SavedCd {
  readonly registers: DriveState;
  readonly cd: CdState;
  /** Blocks of the medium. */
  readonly blocks: number;
  /** What the buffer holds, as base64. */
  readonly data: string;
}

const SHAPE: Shape<SavedCd> = {
  registers: record(DRIVE_SHAPE),
  cd: record<CdState>({
    operation: bits(8),
    lba: bits(32),
    left: bits(32),
    unit: integer(2048, 2352),
    limit: integer(2, 0xfffe),
    dma: flag,
    key: bits(4),
    code: bits(8),
    qualifier: bits(8),
    trayOpen: flag,
    locked: flag,
    changed: flag,
    event: integer(0, 3),
    mode: bits(8),
  }),
  blocks: bits(32),
  data: base64(BUFFER_BYTES),
};

/** After power-on. */
export function initialCd(): CdState {
  return {
    operation: 0,
    lba: 0,
    left: 0,
    unit: 2048,
    limit: 0xfffe,
    dma: false,
    key: 0,
    code: 0,
    qualifier: 0,
    trayOpen: false,
    locked: false,
    changed: false,
    event: 0,
    mode: DEFAULT_MODE,
  };
}

/** A saved drive, if it can be restored with a medium of `blocks` blocks. @throws {InputError} If it can't. */
export function checkedCd(given: unknown, blocks: number): SavedCd {
  const saved = record(SHAPE)(given, "cdrom");
  if (saved.blocks !== blocks) {
    throw new InputError(
      `The saved CD-ROM drive had a medium of ${saved.blocks} blocks, this one has ${blocks}`,
      {
        remedy: "insert the medium it was saved with",
      },
    );
  }
  const { phase } = saved.registers;
  if (phase === "pio-out" || phase === "dma-out" || !consistent(saved.registers)) {
    throw new InputError("The saved CD-ROM state contradicts itself", {
      remedy: "restore an unchanged record",
    });
  }
  return saved;
}
