/** What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE answer: ATA/ATAPI-6 (T13/1410D), 8.15 and 8.16. */
import type { Geometry } from "./geometry.ts";

/** What is set with SET FEATURES "set transfer mode": the type and its mode. */
export interface TransferMode {
  readonly multiword: number | undefined;
  readonly ultra: number | undefined;
}

/** The strings of a drive. */
export interface Identity {
  /** At most 20 characters of ASCII. */
  readonly serial: string;
  /** At most 8. */
  readonly firmware: string;
  /** At most 40. */
  readonly model: string;
}

const SECTOR_BYTES = 512;
const LBA28_LIMIT = 0x0fff_ffff;
/** Power management, write cache, look-ahead, NOP. */
const DISK_FEATURES_82 = 0x4068;
const NO_WRITE_CACHE_MASK = ~0x0020;
/** 48-bit addresses, FLUSH CACHE, FLUSH CACHE EXT. */
const DISK_FEATURES_83 = 0x7400;
/** FUA commands. */
const DISK_FEATURES_84 = 0x4040;
/** The highest mode of each kind. */
const SINGLE_WORD_MODES = 0x0007;
const MULTIWORD_MODES = 0x0007;
const ULTRA_MODES = 0x003f;

/** Two characters a word, the first in the high byte, filled up with spaces. */
function text(words: Uint16Array, from: number, count: number, value: string): void {
  const padded = value.padEnd(count * 2).slice(0, count * 2);
  for (let i = 0; i < count; i++) {
    words[from + i] = (padded.charCodeAt(2 * i) & 0x7f) << 8 | padded.charCodeAt(2 * i + 1) & 0x7f;
  }
}

function common(words: Uint16Array, identity: Identity, mode: TransferMode): void {
  text(words, 10, 10, identity.serial);
  words[20] = 3; // ATA-1's: a buffer of both directions with read-ahead, of 512 sectors' bytes, 4 more bytes in READ LONG
  words[21] = 512;
  words[22] = 4;
  text(words, 23, 4, identity.firmware);
  text(words, 27, 20, identity.model);
  words[48] = 1; // 32-bit accesses to the data register
  words[62] = SINGLE_WORD_MODES;
  words[63] = MULTIWORD_MODES | (mode.multiword === undefined ? 0 : 0x100 << mode.multiword);
  words[64] = 0x0003; // PIO modes 3 and 4
  words.fill(120, 65, 69); // cycle times in nanoseconds
  words[80] = 0x0070; // ATA/ATAPI-4 to 6
  words[88] = ULTRA_MODES | (mode.ultra === undefined ? 0 : 0x100 << mode.ultra);
  words[93] = 0x6001; // an 80-wire cable
}

/** Puts the words into `into`, little-endian, with the integrity word (8.15.63). */
function put(words: Uint16Array, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, 512);
  words.forEach((word, i) => view.setUint16(2 * i, word, true));
  into[510] = 0xa5;
  let sum = 0;
  for (let i = 0; i < 511; i++) sum += into[i];
  into[511] = -sum;
}

/** 512 bytes about a disk. */
export function identifyDisk(
  into: Uint8Array,
  disk: Identity & {
    readonly sectors: number;
    readonly standard: Geometry;
    readonly current: Geometry;
    readonly multiple: number;
    readonly multipleLimit: number;
    readonly writeCache: boolean;
    readonly mode: TransferMode;
  },
): void {
  const { sectors, standard, current } = disk;
  const words = new Uint16Array(256);
  common(words, disk, disk.mode);
  const capacity = current.cylinders * current.heads * current.sectors;
  const lba28 = Math.min(sectors, LBA28_LIMIT);
  words[0] = 0x0040; // fixed
  words[1] = standard.cylinders;
  words[3] = standard.heads;
  words[4] = standard.sectors * SECTOR_BYTES; // ATA-1's: unformatted bytes of a track and of a sector
  words[5] = SECTOR_BYTES;
  words[6] = standard.sectors;
  words[47] = 0x8000 | disk.multipleLimit;
  words[49] = 0x0f00; // LBA, DMA, IORDY
  words[50] = 0x4000;
  words[51] = words[52] = 0x0200; // PIO and DMA timing mode 2
  words[53] = 0x0007; // words 54 to 58, 64 to 70 and 88 are valid
  words[54] = current.cylinders;
  words[55] = current.heads;
  words[56] = current.sectors;
  words[57] = capacity & 0xffff;
  words[58] = capacity >>> 16;
  words[59] = disk.multiple === 0 ? 0 : 0x0100 | disk.multiple;
  words[60] = lba28 & 0xffff;
  words[61] = lba28 >>> 16;
  words[82] = DISK_FEATURES_82;
  words[83] = DISK_FEATURES_83;
  words[84] = DISK_FEATURES_84;
  words[85] = disk.writeCache ? DISK_FEATURES_82 : DISK_FEATURES_82 & NO_WRITE_CACHE_MASK;
  words[86] = DISK_FEATURES_83 & 0x3fff;
  words[87] = DISK_FEATURES_84;
  for (let i = 0; i < 4; i++) words[100 + i] = Math.floor(sectors / 2 ** (16 * i)) & 0xffff;
  put(words, into);
}

/** 512 bytes about a CD-ROM drive. */
export function identifyCdRom(into: Uint8Array, identity: Identity & { readonly mode: TransferMode }): void {
  const words = new Uint16Array(256);
  common(words, identity, identity.mode);
  words[0] = 0x85c0; // ATAPI, CD-ROM, removable, DRQ within 50 us, packets of 12 bytes
  words[49] = 0x0b00; // LBA, DMA, IORDY
  words[53] = 0x0006;
  words[71] = words[72] = 30;
  words[82] = words[85] = 0x4210; // NOP, DEVICE RESET, PACKET
  words[83] = 0x4000;
  words[84] = words[87] = 0x4000;
  put(words, into);
}
