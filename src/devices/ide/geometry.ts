/** Cylinders, heads and sectors: what a disk says it has, and what an address in them means. */

/** A translation of addresses. */
export interface Geometry {
  readonly cylinders: number;
  /** 1..16 */
  readonly heads: number;
  /** Sectors of a track, 1..255. */
  readonly sectors: number;
}

/** As many cylinders as the register takes in the default translation (ATA-5, annex B). */
const DEFAULT_CYLINDERS = 16383;

/** The translation after power-on of a disk of `total` sectors: 16 heads of 63 sectors. */
export function defaultGeometry(total: number): Geometry {
  const geometry = translation(total, 16, 63);
  return { ...geometry, cylinders: Math.min(DEFAULT_CYLINDERS, geometry.cylinders) };
}

/** The translation that INITIALIZE DEVICE PARAMETERS asks for. Firmware divides by cylinders: there is always one. */
export function translation(total: number, heads: number, sectors: number): Geometry {
  const cylinders = Math.min(0xffff, Math.max(1, Math.floor(total / (heads * sectors))));
  return { cylinders, heads, sectors };
}

/** The sector's number, undefined if the address is outside of the translation. Sectors count from 1. */
export function lbaOf(
  { cylinders, heads, sectors }: Geometry,
  cylinder: number,
  head: number,
  sector: number,
): number | undefined {
  if (cylinder >= cylinders || head >= heads || sector === 0 || sector > sectors) return undefined;
  return (cylinder * heads + head) * sectors + sector - 1;
}

/** The address of a sector. */
export function addressOf(
  { heads, sectors }: Geometry,
  lba: number,
): { cylinder: number; head: number; sector: number } {
  const track = Math.floor(lba / sectors);
  return { cylinder: Math.floor(track / heads) & 0xffff, head: track % heads, sector: lba % sectors + 1 };
}
