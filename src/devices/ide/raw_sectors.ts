/** Sectors as they are on a CD: ECMA-130, clause 14, mode 1. */
import { BLOCK_BYTES, minuteSecondFrame } from "./cd_answers.ts";

/** Bytes of a sector: sync, header, data, and error detection and correction, which are left empty. */
export const RAW_BYTES = 2352;
const DATA_AT = 16;
const MODE_1 = 1;

/** Makes raw sectors of `blocks` blocks of data at the start of `buffer`, the first of which is block `lba`. */
export function frameSectors(buffer: Uint8Array, blocks: number, lba: number): void {
  const bcd = (n: number) => Math.floor(n / 10) << 4 | n % 10;
  // The last one first: each moves up.
  for (let i = blocks - 1; i >= 0; i--) {
    const at = i * RAW_BYTES;
    buffer.copyWithin(at + DATA_AT, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
    buffer.fill(0xff, at, at + 12);
    buffer[at] = buffer[at + 11] = 0;
    buffer.set([...minuteSecondFrame(lba + i).map(bcd), MODE_1], at + 12);
    buffer.fill(0, at + DATA_AT + BLOCK_BYTES, at + RAW_BYTES);
  }
}
