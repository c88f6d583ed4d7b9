/** Configuration space that is made when it is read. */

/**
 * Gives the driver what it reads of a space of `length` bytes.
 *
 * @param offset Of the first byte that is read; `data` lies inside the space.
 * @param fill Puts the fields in; what it leaves is zeros.
 */
export function readConfigBytes(
  length: number,
  offset: number,
  data: Uint8Array,
  fill: (config: DataView) => void,
): void {
  const config = new DataView(new ArrayBuffer(length));
  fill(config);
  data.set(new Uint8Array(config.buffer, offset, data.length));
}
