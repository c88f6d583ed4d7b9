/**
 * How floppy disks are laid out, told by how many bytes an image has.
 *
 * Data sheet: Intel 82077AA, "Data Rate Select Register"; ISO 8860 and ECMA-100, -125, -147 for the formats.
 */
import { SECTOR_BYTES } from "../../vm/block.ts";

/** What a medium is. */
export interface FloppyFormat {
  readonly cylinders: number;
  readonly heads: number;
  /** Sectors of 512 bytes on a track. */
  readonly sectors: number;
  /** Codes of the data rates it can be read at: 0 is 500, 1 is 300, 2 is 250, 3 is 1000 kbit/s. */
  readonly rates: readonly number[];
  /** The drive that it belongs in, as the CMOS RAM says it: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M. */
  readonly drive: number;
}

const LOW = [1, 2];
const HIGH = [0];
const EXTRA = [3];

const format = (cylinders: number, heads: number, sectors: number, rates: number[], drive: number) => ({
  cylinders,
  heads,
  sectors,
  rates,
  drive,
});

const FORMATS: readonly FloppyFormat[] = [
  format(40, 1, 8, LOW, 1),
  format(40, 1, 9, LOW, 1),
  format(40, 2, 8, LOW, 1),
  format(40, 2, 9, LOW, 1),
  format(80, 2, 9, LOW, 4),
  format(80, 2, 15, HIGH, 2),
  format(80, 2, 18, HIGH, 4),
  format(80, 2, 21, HIGH, 4),
  format(82, 2, 21, HIGH, 4),
  format(80, 2, 36, EXTRA, 5),
];

/** What an empty drive is made for, and what an image is that stops early. */
export const USUAL_FORMAT: FloppyFormat = FORMATS[6];

/** Bytes of a medium in that format. */
export function bytesOf({ cylinders, heads, sectors }: FloppyFormat): number {
  return cylinders * heads * sectors * SECTOR_BYTES;
}

/** The largest image that fits a drive. */
export const LARGEST_FLOPPY: number = Math.max(...FORMATS.map(bytesOf));

/** The format of an image of `size` bytes; one that has none is a 1.44M disk that stops early. */
export function floppyFormat(size: number): FloppyFormat | undefined {
  return FORMATS.find((known) => bytesOf(known) === size) ??
    (size <= bytesOf(USUAL_FORMAT) ? USUAL_FORMAT : undefined);
}
