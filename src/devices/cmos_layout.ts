/**
 * What a PC's firmware keeps in the CMOS RAM behind the clock's registers: memory sizes, boot order, drives.
 * Indices as QEMU's `hw/i386/pc.c` sets them and SeaBIOS's `src/hw/rtc.h` reads them.
 */

/** A boot device as `bootOrder` names it. */
export type CmosBoot = "floppy" | "disk" | "cdrom" | "network";

/** What the CMOS RAM tells the firmware. */
export interface CmosLayout {
  /** RAM in bytes; what exceeds 3 GiB lies above 4 GiB. */
  readonly memory: number | bigint;
  /** vCPUs. Default 1. */
  readonly cpus?: number;
  /** Up to three devices, first choice first. Default: disk, floppy, CD-ROM. */
  readonly boot?: readonly CmosBoot[];
  /** Types of the floppy drives A and B: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M, 0 none. Default: none. */
  readonly floppies?: readonly number[];
  /** Equipment byte (0x14): bit 1 FPU, bit 2 PS/2 mouse; the floppy drives are added. Default: FPU. */
  readonly equipment?: number;
}

/** Number of bytes of CMOS RAM, clock included. */
export const CMOS_BYTES = 128;

const SHUTDOWN_STATUS = 0x0f;
const FLOPPY_TYPES = 0x10;
const EQUIPMENT = 0x14;
const BASE_MEMORY = 0x15;
const EXTENDED_MEMORY = 0x17;
const CHECKSUM_FIRST = 0x10;
const CHECKSUM_LAST = 0x2d;
const CHECKSUM_HIGH = 0x2e;
const CHECKSUM_LOW = 0x2f;
const EXTENDED_MEMORY_POST = 0x30;
const MEMORY_ABOVE_16M = 0x34;
const BOOT_FLAG_1 = 0x38;
const BOOT_FLAG_2 = 0x3d;
const MEMORY_ABOVE_4G = 0x5b;
const CPUS_MINUS_1 = 0x5f;

const KiB = 1024;
const MiB = 1024 * KiB;
/** Where RAM continues above 4 GiB (the machine's memory map). */
const BELOW_4G_LIMIT = 3 * 1024 * MiB;
const BASE_KIB = 640;
const BOOT_CODES: Readonly<Record<CmosBoot, number>> = { floppy: 1, disk: 2, cdrom: 3, network: 4 };

/** Fills in what the firmware reads; the clock's registers stay. */
export function layOut(ram: number[], layout: CmosLayout): void {
  const put = (index: number, value: number, bytes: number) => {
    for (let i = 0; i < bytes; i++) ram[index + i] = Math.floor(value / 2 ** (8 * i)) & 0xff;
  };
  const memory = Number(layout.memory);
  const below = Math.min(memory, BELOW_4G_LIMIT);
  const extended = clamp((below - MiB) / KiB, 0xffff);
  ram[SHUTDOWN_STATUS] = 0;
  const [a = 0, b = 0] = layout.floppies ?? [];
  ram[FLOPPY_TYPES] = a << 4 | b;
  // Bit 0: there are floppy drives, bits 7:6 one less than how many.
  const floppies = [a, b].filter((type) => type !== 0).length;
  ram[EQUIPMENT] = (layout.equipment ?? 0x02) | (floppies > 0 ? 0x01 | floppies - 1 << 6 : 0);
  put(BASE_MEMORY, Math.min(BASE_KIB, Math.floor(memory / KiB)), 2);
  put(EXTENDED_MEMORY, extended, 2);
  put(EXTENDED_MEMORY_POST, extended, 2);
  put(MEMORY_ABOVE_16M, clamp((below - 16 * MiB) / (64 * KiB), 0xffff), 2);
  put(MEMORY_ABOVE_4G, clamp((memory - below) / (64 * KiB), 0xff_ffff), 3);
  put(CPUS_MINUS_1, (layout.cpus ?? 1) - 1, 1);
  const [first, second, third] = layout.boot ?? ["disk", "floppy", "cdrom"];
  const code = (device: CmosBoot | undefined) => device === undefined ? 0 : BOOT_CODES[device];
  ram[BOOT_FLAG_2] = code(second) << 4 | code(first);
  // Bit 0 would let a floppy boot without the 0xaa55 signature.
  ram[BOOT_FLAG_1] = code(third) << 4;
  checksum(ram);
}

/** Sets the checksum over 0x10..0x2d, big-endian at 0x2e. */
export function checksum(ram: number[]): void {
  let sum = 0;
  for (let i = CHECKSUM_FIRST; i <= CHECKSUM_LAST; i++) sum += ram[i];
  ram[CHECKSUM_HIGH] = sum >> 8 & 0xff;
  ram[CHECKSUM_LOW] = sum & 0xff;
}

function clamp(value: number, most: number): number {
  return Math.max(0, Math.min(Math.floor(value), most));
}
