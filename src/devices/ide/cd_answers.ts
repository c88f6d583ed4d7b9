/** What a CD-ROM drive says about itself and its medium: MMC-3 (T10/1363-D), clauses 5 and 6; SPC-2, clause 7. */
import type { Sense } from "./scsi.ts";

/** Bytes of a block of data. */
export const BLOCK_BYTES = 2048;
/** Blocks of a CD of 80 minutes: what is larger is a DVD. */
const CD_BLOCKS = 360_000;
const PROFILE_CD_ROM = 0x0008;
const PROFILE_DVD_ROM = 0x0010;
const LEAD_OUT = 0xaa;
/** Two seconds before the first block. */
const MSF_OFFSET = 150;

/** What an answer depends on. */
export interface CdStatus {
  /** Blocks of the medium; 0 if there is none. */
  readonly blocks: number;
  readonly trayOpen: boolean;
  readonly locked: boolean;
}

/** A number in `count` bytes, high byte first. */
function big(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 2 ** (8 * (count - 1 - i))) & 0xff);
}

/** An answer that starts with its own length, which does not count the `count` bytes it takes. */
function lengthFirst(rest: readonly number[], count: number): number[] {
  return [...big(rest.length, count), ...rest];
}

/** A block's address in minutes, seconds and frames, in binary. */
export function minuteSecondFrame(lba: number): number[] {
  const frames = lba + MSF_OFFSET;
  return [Math.floor(frames / 75 / 60) & 0xff, Math.floor(frames / 75) % 60, frames % 75];
}

function address(lba: number, msf: boolean): number[] {
  return msf ? [0, ...minuteSecondFrame(lba)] : big(lba, 4);
}

/** SPC-2 7.20: fixed format. */
export function requestSense({ key, code, qualifier }: Sense): number[] {
  return [0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0];
}

/** MMC-3 6.1.12: the last block and the length of one. */
export function readCapacity({ blocks }: CdStatus): number[] {
  return [...big(blocks - 1, 4), ...big(BLOCK_BYTES, 4)];
}

/** READ TOC/PMA/ATIP (MMC-3 6.25): one data track. Undefined if the field is not one of those. */
export function readToc(
  { blocks }: CdStatus,
  format: number,
  track: number,
  msf: boolean,
): number[] | undefined {
  const entry = (number: number, lba: number) => [0, 0x14, number, 0, ...address(lba, msf)];
  if (format === 0) {
    if (track > 1 && track !== LEAD_OUT) return undefined;
    const tracks = track <= 1 ? entry(1, 0) : [];
    return lengthFirst([1, 1, ...tracks, ...entry(LEAD_OUT, blocks)], 2);
  }
  if (format === 1) return lengthFirst([1, 1, 0, 0x14, 1, 0, ...address(0, msf)], 2);
  if (format !== 2) return undefined;
  const point = (number: number, p: readonly number[]) => [1, 0x14, 0, number, 0, 0, 0, 0, ...p];
  const start = minuteSecondFrame(0);
  const end = minuteSecondFrame(blocks);
  return lengthFirst(
    [1, 1, ...point(0xa0, [1, 0, 0]), ...point(0xa1, [1, 0, 0]), ...point(0xa2, end), ...point(1, start)],
    2,
  );
}

/** Whether the medium is too large for a CD. */
export function isDvd({ blocks }: CdStatus): boolean {
  return blocks > CD_BLOCKS;
}

function profileOf(status: CdStatus): number {
  return status.blocks === 0 ? 0 : isDvd(status) ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/** MMC-3 6.4: the features from `first` on, or only it, or those that are current. */
export function getConfiguration(status: CdStatus, request: number, first: number): number[] {
  const profile = profileOf(status);
  const medium = status.blocks > 0;
  const feature = (
    code: number,
    current: boolean,
    version: number,
    data: readonly number[],
    persistent = false,
  ) => ({
    code,
    current,
    bytes: [...big(code, 2), version << 2 | (persistent ? 2 : 0) | (current ? 1 : 0), data.length, ...data],
  });
  const isCurrent = (p: number) => p === profile ? 1 : 0;
  const features = [
    feature(0x0000, true, 0, [
      ...[...big(PROFILE_DVD_ROM, 2), isCurrent(PROFILE_DVD_ROM), 0],
      ...[...big(PROFILE_CD_ROM, 2), isCurrent(PROFILE_CD_ROM), 0],
    ], true),
    feature(0x0001, true, 1, [...big(2, 4), 0x01, 0, 0, 0], true), // on ATAPI
    feature(0x0003, true, 0, [0x29, 0, 0, 0], true), // a tray that locks and ejects
    feature(0x0010, medium, 0, [...big(BLOCK_BYTES, 4), ...big(1, 2), 0, 0]),
    feature(0x001e, profile === PROFILE_CD_ROM, 1, [0, 0, 0, 0]),
    feature(0x001f, profile === PROFILE_DVD_ROM, 0, []),
  ];
  const asked = features.filter(({ code, current }) =>
    request === 2 ? code === first : code >= first && (request === 0 || current)
  );
  return lengthFirst([0, 0, ...big(profile, 2), ...asked.flatMap(({ bytes }) => bytes)], 4);
}

/** MODE SENSE (10): error recovery and capabilities (MMC-3 5.5.3). Undefined if there is no such page. */
export function modeSense(status: CdStatus, page: number, changeable: boolean): number[] | undefined {
  const speed = big(706, 2);
  const lock = status.locked ? 0x02 : 0;
  const pages: [number, number[]][] = [
    [0x01, [0, 0, 0, 0, 0, 0]],
    // Reads CD-R, CD-RW and DVD; multisession and mode 2; a tray that locks and ejects; speed and 64 KiB of buffer.
    [0x2a, [0x0b, 0, 0x70, 0, 0x29 | lock, 0, ...speed, 0, 2, ...big(64, 2), ...speed, 0, 0, 0, 0]],
  ];
  const asked = pages.filter(([code]) => page === 0x3f || code === page);
  if (asked.length === 0) return undefined;
  const body = asked.flatMap((
    [code, data],
  ) => [code, data.length, ...(changeable ? data.map(() => 0) : data)]);
  const medium = status.trayOpen ? 0x71 : status.blocks === 0 ? 0x70 : 0x01;
  return lengthFirst([medium, 0, 0, 0, 0, 0, ...body], 2);
}

/** READ DISC INFORMATION (MMC-3 6.22): one complete session. */
export function discInformation(): number[] {
  const information = new Array<number>(34).fill(0);
  information.splice(0, 8, 0, 32, 0x0e, 1, 1, 1, 1, 0x20);
  return information;
}

/** GET EVENT STATUS NOTIFICATION (MMC-3 6.5): the media class, or "no such class". */
export function eventStatus({ blocks, trayOpen }: CdStatus, classes: number, event: number): number[] {
  const MEDIA_CLASS = 4;
  const supported = 1 << MEDIA_CLASS;
  if ((classes & supported) === 0) return lengthFirst([0x80, supported], 2);
  const state = (trayOpen ? 1 : 0) | (blocks > 0 ? 2 : 0);
  return lengthFirst([MEDIA_CLASS, supported, event, state, 0, 0], 2);
}

/** MECHANISM STATUS (MMC-3 6.10): idle, one slot. */
export function mechanismStatus({ trayOpen }: CdStatus): number[] {
  return [0, trayOpen ? 0x10 : 0, 0, 0, 0, 1, 0, 0];
}
