/** Access widths: what an ISA device with 8-bit registers makes of them, and little-endian numbers. */
import type { Device, DeviceRange } from "../vm/device.ts";

/** The number in `data`, little-endian, at most 4 bytes. */
export function numberOf(data: Uint8Array): number {
  let value = 0;
  for (let i = data.length - 1; i >= 0; i--) value = value * 256 + data[i];
  return value;
}

/** Puts the low `data.length` bytes of `value` (32 bits, unsigned) into `data`, little-endian; more are zeros. */
export function putNumber(data: Uint8Array, value: number): void {
  for (let i = 0; i < data.length; i++) data[i] = i < 4 ? (value >>> (8 * i)) & 0xff : 0;
}

/**
 * A device with 8-bit registers. A wider access is what the ISA bus makes of it: one access a byte, at rising
 * addresses (`out 0x70, ax` writes AL to 0x70 and AH to 0x71).
 */
export abstract class ByteDevice implements Device {
  /** Unique among a machine's devices. */
  abstract readonly name: string;
  abstract readonly ports?: DeviceRange | readonly DeviceRange[];
  /** The guest reads the register at `offset` of `range`; gives 8 bits. */
  protected abstract readByte(offset: number, range: DeviceRange): number;
  /** The guest writes 8 bits to the register at `offset` of `range`. */
  protected abstract writeByte(offset: number, value: number, range: DeviceRange): void;

  /** The guest reads. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    for (let i = 0; i < data.length; i++) data[i] = this.readByte(offset + i, range);
  }

  /** The guest writes. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    for (let i = 0; i < data.length; i++) this.writeByte(offset + i, data[i], range);
  }
}
