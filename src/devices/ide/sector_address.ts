/** Sector addresses in the command block registers: ATA/ATAPI-6 (T13/1410D), 6.2 and 6.9; CHS: ATA-5, 6.2. */
import * as a from "./ata.ts";
import type { DriveState } from "./drive.ts";
import { addressOf, type Geometry, lbaOf } from "./geometry.ts";

/** The registers of an address. */
export type AddressRegisters = Pick<DriveState, "low" | "mid" | "high" | "device">;

/** The sector that the registers name, undefined if the translation has no such place. */
export function sectorOf(registers: AddressRegisters, wide: boolean, geometry: Geometry): number | undefined {
  const { low, mid, high, device } = registers;
  const bottom = (low & 0xff) + (mid & 0xff) * 0x100 + (high & 0xff) * 0x10000;
  if (wide) return bottom + ((low >> 8) + (mid >> 8) * 0x100 + (high >> 8) * 0x10000) * 0x1000000;
  const head = device & a.DEVICE_HEAD_MASK;
  if (device & a.DEVICE_LBA_BIT) return bottom + head * 0x1000000;
  return lbaOf(geometry, (mid & 0xff) | (high & 0xff) << 8, head, low & 0xff);
}

/** Puts a sector's address into the registers, in the form they had it. */
export function putSector(registers: AddressRegisters, lba: number, wide: boolean, geometry: Geometry): void {
  const byte = (n: number) => Math.floor(lba / 2 ** (8 * n)) & 0xff;
  if (wide) {
    registers.low = byte(0) | byte(3) << 8;
    registers.mid = byte(1) | byte(4) << 8;
    registers.high = byte(2) | byte(5) << 8;
    return;
  }
  const chs = registers.device & a.DEVICE_LBA_BIT ? undefined : addressOf(geometry, lba);
  const [low, mid, high, head] = chs === undefined
    ? [byte(0), byte(1), byte(2), byte(3)]
    : [chs.sector, chs.cylinder & 0xff, chs.cylinder >> 8, chs.head];
  registers.low = registers.low & 0xff00 | low;
  registers.mid = registers.mid & 0xff00 | mid;
  registers.high = registers.high & 0xff00 | high;
  registers.device = registers.device & ~a.DEVICE_HEAD_MASK | head & a.DEVICE_HEAD_MASK;
}
