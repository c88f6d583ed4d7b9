/** The Common Flash Interface's table (JESD68.01): what a chip tells of itself. */

/** Where the answer to a query begins, on a chip 8 bits wide. */
const QUERY_AT = 0x10;
const INTEL_EXTENDED = 0x0001;
/** Behind the geometry. */
const PRIMARY_TABLE = 0x31;

/**
 * The table of a chip with blocks of one size.
 *
 * @param size Bytes of the chip.
 * @param block Bytes of a block, a multiple of 256.
 */
export function cfiTable(size: number, block: number): Uint8Array {
  const bytes = new Uint8Array(PRIMARY_TABLE + 16);
  const view = new DataView(bytes.buffer);
  bytes.set([0x51, 0x52, 0x59], QUERY_AT); // "QRY"
  view.setUint16(0x13, INTEL_EXTENDED, true);
  view.setUint16(0x15, PRIMARY_TABLE, true);
  // Supply voltage: 4.5 to 5.5 V; no programming voltage. 2^N us a byte, 2^N ms a block; the most is 2^N of that.
  bytes.set([0x45, 0x55, 0, 0, 7, 0, 10, 0, 4, 0, 4, 0], 0x1b);
  // The largest power of 2 that is not more than it has.
  bytes[0x27] = 31 - Math.clz32(size);
  // Interface: 8 bits; no buffer; one kind of blocks.
  bytes[0x2c] = 1;
  view.setUint16(0x2d, size / block - 1, true);
  view.setUint16(0x2f, block / 256, true);
  bytes.set([0x50, 0x52, 0x49, 0x31, 0x30], PRIMARY_TABLE); // "PRI", version 1.0
  return bytes;
}
