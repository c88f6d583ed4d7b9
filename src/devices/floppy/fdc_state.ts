/** What a floppy disk controller keeps, and what a saved one must look like. */
import { SECTOR_BYTES } from "../../vm/block.ts";
import { bits, flag, integer, list, oneOf, record, type Shape } from "../state.ts";
import * as r from "./fdc_registers.ts";
import { DRIVE_SHAPE, type FloppyDriveState } from "./floppy_drive.ts";

/** How many drives a controller leads to. */
export const DRIVES = 2;
/** How many drives the chip asks for their state after a reset. */
export const POLLED = 4;
/** Bytes of an ID that FORMAT takes for each sector. */
export const ID_BYTES = 4;
/** 512 bytes a sector, as commands say it. */
export const SIZE_CODE = 2;

/** What the data register is for. */
export type Phase = "command" | "execution" | "result";

/** Where the next sector is looked for: what the command says of it. */
export interface Sector {
  cylinder: number;
  head: number;
  sector: number;
}

/** Every register, the command on its way and its data; drives save themselves. */
export interface FdcState {
  dor: number;
  tdr: number;
  rate: number;
  /** SPECIFY's bytes. */
  specify: number[];
  /** CONFIGURE's last two bytes. */
  config: number[];
  perpendicular: number;
  lock: boolean;
  phase: Phase;
  /** The command's bytes so far. */
  command: number[];
  result: number[];
  /** The sector that is moved, or a sector's ID for FORMAT, and how far it is. */
  data: number[];
  at: number;
  id: Sector;
  /** Sectors that FORMAT and READ TRACK still have to do. */
  left: number;
  interrupt: boolean;
  /** What SENSE INTERRUPT STATUS will tell: status register 0 of each drive. */
  senses: number[];
}

/** What a saved controller must look like. */
export const FDC_SHAPE: Shape<FdcState & { drives: FloppyDriveState[] }> = {
  dor: bits(8),
  tdr: bits(8),
  rate: bits(2),
  specify: list(bits(8), 2, 2),
  config: list(bits(8), 2, 2),
  perpendicular: bits(8),
  lock: flag,
  phase: oneOf<Phase>("command", "execution", "result"),
  command: list(bits(8), 0, 9),
  result: list(bits(8), 0, 10),
  data: list(bits(8), 0, SECTOR_BYTES),
  at: integer(0, SECTOR_BYTES),
  id: record<Sector>({ cylinder: bits(8), head: bits(8), sector: bits(8) }),
  left: bits(8),
  interrupt: flag,
  senses: list(bits(8), 0, POLLED),
  drives: list(record(DRIVE_SHAPE), DRIVES, DRIVES),
};

/** Whether the command's data goes to the disk. */
export function takesData(code: number): boolean {
  return [r.WRITE, r.WRITE_DELETED, r.FORMAT].includes(code & r.COMMAND_MASK);
}

/** Whether the command moves data. */
export function isTransfer(code: number): boolean {
  return takesData(code) || [r.READ, r.READ_DELETED, r.READ_TRACK, r.VERIFY].includes(code & r.COMMAND_MASK);
}

/** After power-on. */
export function powerOn(): FdcState {
  return {
    dor: 0,
    tdr: 0,
    rate: 2,
    specify: [0, 0],
    config: [0, 0],
    perpendicular: 0,
    lock: false,
    phase: "command",
    command: [],
    result: [],
    data: [],
    at: 0,
    id: { cylinder: 0, head: 0, sector: 0 },
    left: 0,
    interrupt: false,
    senses: [],
  };
}

/** The drive that the command names. */
export function driveOf({ command }: FdcState): number {
  return command[1] & r.DOR_DRIVE_MASK;
}

/** The head that it names. */
export function headOf({ command }: FdcState): 0 | 1 {
  return command[1] & r.HEAD_BIT ? 1 : 0;
}

/** Whether bytes go through the data register. */
export function byPio({ specify }: FdcState): boolean {
  return (specify[1] & r.SPECIFY_NON_DMA_BIT) !== 0;
}

/** Whether the command and its data are such that one can have led to the other. */
export function isPossible({ phase, command, data, at, result, left }: FdcState): boolean {
  const needed = r.LENGTHS[command[0] & r.COMMAND_MASK];
  const whole = command.length === needed && isTransfer(command[0]);
  const length = command[0] === undefined || (command[0] & r.COMMAND_MASK) !== r.FORMAT
    ? SECTOR_BYTES
    : ID_BYTES;
  return phase === "command"
    ? command.length === 0 || command.length < needed
    : phase === "result"
    ? result.length > 0
    : whole && data.length === length && at < length && left > 0;
}
