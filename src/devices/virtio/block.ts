/** The block device (virtio 1.2, 5.2), on any store of sectors. */
import { type BlockBacking, type BlockFault, SECTOR_BYTES } from "../../vm/block.ts";
import { InputError } from "../../vm/errors.ts";
import { flag, record } from "../state.ts";
import type { Chain } from "./chain.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** Feature bits (5.2.3). */
const FEATURE = {
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  CONFIG_WCE: 1n << 11n,
  MQ: 1n << 12n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const;

/** Names of the feature bits, for listings. */
const FEATURE_NAMES = new Map([
  [2, "SEG_MAX"],
  [5, "RO"],
  [6, "BLK_SIZE"],
  [9, "FLUSH"],
  [11, "CONFIG_WCE"],
  [12, "MQ"],
  [13, "DISCARD"],
  [14, "WRITE_ZEROES"],
]);

/** Offsets in configuration space (5.2.4). */
const CONFIG = {
  capacity: 0,
  seg_max: 12,
  blk_size: 20,
  writeback: 32,
  num_queues: 34,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  write_zeroes_may_unmap: 56,
} as const;
const CONFIG_BYTES = 60;

/** Request types (5.2.6). */
const REQUEST = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
const REQUEST_NAMES = new Map<number, string>(Object.entries(REQUEST).map(([name, type]) => [type, name]));
/** Type, reserved, sector. */
const HEADER_BYTES = 16;
/** What the last byte of a request tells. */
const STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
const ID_BYTES = 20;
/** Sector, count, flags: struct virtio_blk_discard_write_zeroes. */
const RANGE_BYTES = 16;
const UNMAP_FLAG = 1;
/** Ranges in one request, and sectors in each, that may be discarded: a host without holes writes zeros instead. */
const MOST_DISCARD_RANGES = 16;
const MOST_DISCARD_SECTORS = 8192;
/** What a file system is told to keep together: a page of the host's. */
const DISCARD_ALIGNMENT_SECTORS = 8;
/** Zeros a request may ask for: what is written in one go, while the guest waits. */
const MOST_ZERO_SECTORS = 8192;
/** Bytes moved at a time: a request has up to 4 GiB, our memory has not. */
const PIECE_BYTES = 1 << 20;

/** How a disk looks to its guest. */
export interface VirtioBlockOptions {
  /** Unique among a machine's devices; "blk0" if left out. */
  readonly name?: string;
  /** Where its sectors are; a function is called when it becomes part of a machine, and what it gave disposed of. */
  readonly backing: BlockBacking | (() => BlockBacking & Disposable);
  /** What GET_ID tells, at most 20 bytes of ASCII; the name if left out. */
  readonly serial?: string;
  /** How many queues; 1 if left out. */
  readonly queues?: number;
  /** Told of each request that fails for the host's sake. */
  readonly onFault?: (fault: BlockFault) => void;
}

/** Counts for listings. */
interface Counts {
  reads: number;
  writes: number;
  flushes: number;
  discards: number;
  failed: number;
}

/** A disk. Requests are done at once, in order. */
export class VirtioBlock implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.block;
  readonly queues: readonly number[];
  readonly featureNames: ReadonlyMap<number, string> = FEATURE_NAMES;
  readonly configBytes: number = CONFIG_BYTES;
  readonly #opener: (() => BlockBacking & Disposable) | undefined;
  /** Undefined while there is none: not yet opened, or closed. */
  #backing: BlockBacking | undefined;
  readonly #serial: Uint8Array;
  readonly #onFault: ((fault: BlockFault) => void) | undefined;
  readonly #config = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #headerBytes = new Uint8Array(HEADER_BYTES);
  readonly #header = new DataView(this.#headerBytes.buffer);
  readonly #status = new Uint8Array(1);
  #piece: Uint8Array = new Uint8Array(0);
  readonly #counts: Counts = { reads: 0, writes: 0, flushes: 0, discards: 0, failed: 0 };
  /** Negotiated features, while the driver is there. */
  #accepted = 0n;

  /** @throws {InputError} If an option makes no sense. */
  constructor(options: VirtioBlockOptions) {
    const { name = "blk0", backing, queues = 1, onFault } = options;
    const serial = new TextEncoder().encode(options.serial ?? name);
    if (!Number.isInteger(queues) || queues < 1 || queues > 64) {
      throw new InputError(`${name}: a disk has 1 to 64 queues, not ${queues}`, {
        remedy: "leave queues out for one",
      });
    }
    if (serial.length > ID_BYTES) {
      throw new InputError(`${name}: the serial has ${serial.length} bytes`, {
        remedy: `give one of at most ${ID_BYTES}`,
      });
    }
    this.name = name;
    this.queues = new Array<number>(queues).fill(256);
    this.#opener = typeof backing === "function" ? backing : undefined;
    this.#serial = serial;
    this.#onFault = onFault;
    if (typeof backing !== "function") this.#use(backing);
    const config = this.#config;
    // A chain has the request's header and status besides its segments.
    config.setUint32(CONFIG.seg_max, 256 - 2, true);
    config.setUint32(CONFIG.blk_size, SECTOR_BYTES, true);
    config.setUint8(CONFIG.writeback, 1);
    config.setUint16(CONFIG.num_queues, queues, true);
    config.setUint32(CONFIG.max_discard_sectors, MOST_DISCARD_SECTORS, true);
    config.setUint32(CONFIG.max_discard_seg, MOST_DISCARD_RANGES, true);
    config.setUint32(CONFIG.discard_sector_alignment, DISCARD_ALIGNMENT_SECTORS, true);
    config.setUint32(CONFIG.max_write_zeroes_sectors, MOST_ZERO_SECTORS, true);
    config.setUint32(CONFIG.max_write_zeroes_seg, 1, true);
  }

  /** What it can do, which depends on the backing. */
  get features(): bigint {
    return FEATURE.SEG_MAX | FEATURE.BLK_SIZE | FEATURE.FLUSH | FEATURE.CONFIG_WCE |
      (this.queues.length > 1 ? FEATURE.MQ : 0n) | (this.#readOnly ? FEATURE.RO : FEATURE.WRITE_ZEROES) |
      (this.#discards ? FEATURE.DISCARD : 0n);
  }

  attach(): void {
    if (this.#opener !== undefined) this.#use(this.#opener());
  }

  detach(): void {
    if (this.#opener === undefined) return;
    (this.#backing as (BlockBacking & Disposable) | undefined)?.[Symbol.dispose]();
    this.#backing = undefined;
  }

  readConfig(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) data[i] = this.#config.getUint8(offset + i);
  }

  /** The driver may choose between write-back (1) and write-through (0), where both agreed on that (5.2.5). */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset !== CONFIG.writeback || (this.#accepted & FEATURE.CONFIG_WCE) === 0n) return;
    this.#config.setUint8(CONFIG.writeback, data[0] & 1);
  }

  start(link: VirtioLink): void {
    this.#accepted = link.features;
    // A driver that can't flush gets each write on stable storage (5.2.5.1).
    if ((link.features & (FEATURE.FLUSH | FEATURE.CONFIG_WCE)) === 0n) {
      this.#config.setUint8(CONFIG.writeback, 0);
    }
  }

  stop(): void {
    this.#accepted = 0n;
    this.#config.setUint8(CONFIG.writeback, 1);
  }

  describe(chain: Chain): string | (() => string) | undefined {
    const header = this.#header;
    if (chain.read(0, this.#headerBytes) < HEADER_BYTES) return undefined;
    const type = header.getUint32(0, true);
    if (type !== REQUEST.IN && type !== REQUEST.OUT) return REQUEST_NAMES.get(type) ?? `type ${type}`;
    const low = header.getUint32(8, true);
    const high = header.getUint32(12, true);
    const bytes = type === REQUEST.IN ? chain.writableBytes - 1 : chain.readableBytes - HEADER_BYTES;
    return () => `${REQUEST_NAMES.get(type)} sector ${BigInt(high) << 32n | BigInt(low)}, ${bytes} bytes`;
  }

  request(chain: Chain): void {
    // The status is the last byte that the device may write (5.2.6). Without it nobody can be told anything.
    const room = chain.writableBytes - 1;
    if (room < 0) return;
    const status = this.#serve(chain, room);
    if (status !== STATUS.OK) this.#counts.failed++;
    this.#status[0] = status;
    chain.write(room, this.#status);
  }

  save(): unknown {
    return { writeback: this.#config.getUint8(CONFIG.writeback) !== 0 };
  }

  restore(state: unknown): void {
    const { writeback } = record({ writeback: flag })(state, this.name);
    this.#config.setUint8(CONFIG.writeback, Number(writeback));
  }

  inspect(): Record<string, number | string> {
    const { name = "(closed)", size = 0 } = this.#backing ?? {};
    return { backing: name, size, readOnly: Number(this.#readOnly), ...this.#counts };
  }

  get #discards(): boolean {
    return !this.#readOnly && this.#backing?.discard !== undefined;
  }

  get #readOnly(): boolean {
    return this.#backing?.readOnly ?? true;
  }

  #use(backing: BlockBacking): void {
    this.#backing = backing;
    this.#config.setBigUint64(CONFIG.capacity, BigInt(backing.size / SECTOR_BYTES), true);
    this.#config.setUint8(CONFIG.write_zeroes_may_unmap, Number(this.#discards));
  }

  /** Does a request whose answer has `room` bytes before the status; gives the status. */
  #serve(chain: Chain, room: number): number {
    const header = this.#header;
    const backing = this.#backing;
    if (backing === undefined) return STATUS.IOERR;
    if (chain.read(0, this.#headerBytes) < HEADER_BYTES) return STATUS.IOERR;
    const type = header.getUint32(0, true);
    const sector = header.getBigUint64(8, true);
    const given = chain.readableBytes - HEADER_BYTES;
    switch (type) {
      case REQUEST.IN:
        this.#counts.reads++;
        return this.#read(backing, sector, room, chain);
      case REQUEST.OUT:
        this.#counts.writes++;
        if (this.#readOnly) return STATUS.IOERR;
        return this.#through(
          backing,
          this.#transfer(backing, sector, given, (at, piece, done) => {
            chain.read(HEADER_BYTES + done, piece);
            return backing.write(at, piece);
          }),
        );
      case REQUEST.FLUSH:
        this.#counts.flushes++;
        return this.#judge(backing.flush());
      case REQUEST.GET_ID: {
        const id = new Uint8Array(Math.min(room, ID_BYTES));
        id.set(this.#serial.subarray(0, id.length));
        chain.write(0, id);
        return STATUS.OK;
      }
      case REQUEST.DISCARD:
        this.#counts.discards++;
        return this.#through(backing, this.#discard(backing, chain, given));
      case REQUEST.WRITE_ZEROES:
        return this.#through(backing, this.#zero(backing, chain, given));
      default:
        return STATUS.UNSUPP;
    }
  }

  /** A read goes straight to where the guest wants it, if the store can fill as many pieces as that has. */
  #read(backing: BlockBacking, sector: bigint, bytes: number, chain: Chain): number {
    const several = chain.writable[0].length < bytes;
    const can = bytes > 0 && bytes <= PIECE_BYTES && (!several || backing.readv !== undefined);
    const straight = can ? chain.room(bytes) : undefined;
    if (straight === undefined) {
      return this.#transfer(backing, sector, bytes, (at, piece, done) => {
        const fault = backing.read(at, piece);
        if (fault === undefined) chain.write(done, piece);
        return fault;
      });
    }
    if (bytes % SECTOR_BYTES !== 0 || !fits(backing, sector, bytes)) return STATUS.IOERR;
    const at = Number(sector) * SECTOR_BYTES;
    return this.#judge(straight.length > 1 ? backing.readv!(at, straight) : backing.read(at, straight[0]));
  }

  /** Moves `bytes` from `sector` on, piece by piece. A request that does not fit the disk is refused as a whole. */
  #transfer(
    backing: BlockBacking,
    sector: bigint,
    bytes: number,
    move: (at: number, piece: Uint8Array, done: number) => BlockFault | undefined,
  ): number {
    if (bytes % SECTOR_BYTES !== 0 || !fits(backing, sector, bytes)) return STATUS.IOERR;
    const at = Number(sector) * SECTOR_BYTES;
    for (let done = 0; done < bytes;) {
      const length = Math.min(bytes - done, PIECE_BYTES);
      const fault = move(at + done, this.#buffer(length), done);
      if (fault !== undefined) return this.#judge(fault);
      done += length;
    }
    return STATUS.OK;
  }

  #zero(backing: BlockBacking, chain: Chain, given: number): number {
    if (this.#readOnly || given !== RANGE_BYTES) return STATUS.UNSUPP;
    const { sector, count, flags } = rangeAt(chain, 0);
    if ((flags & ~UNMAP_FLAG) !== 0) return STATUS.UNSUPP;
    if (count > MOST_ZERO_SECTORS) return STATUS.IOERR;
    const bytes = count * SECTOR_BYTES;
    if (flags === UNMAP_FLAG && backing.discard !== undefined) {
      if (!fits(backing, sector, bytes)) return STATUS.IOERR;
      return this.#judge(backing.discard(Number(sector) * SECTOR_BYTES, bytes));
    }
    return this.#transfer(backing, sector, bytes, (at, piece) => {
      piece.fill(0);
      return backing.write(at, piece);
    });
  }

  /** All ranges are looked at before the first is discarded (5.2.6.2: no flag may be set). */
  #discard(backing: BlockBacking, chain: Chain, given: number): number {
    const count = given / RANGE_BYTES;
    if (!this.#discards || !Number.isInteger(count) || count < 1) return STATUS.UNSUPP;
    if (count > MOST_DISCARD_RANGES) return STATUS.IOERR;
    const ranges = Array.from({ length: count }, (_, i) => rangeAt(chain, i));
    if (ranges.some(({ flags }) => flags !== 0)) return STATUS.UNSUPP;
    for (const { sector, count } of ranges) {
      if (count > MOST_DISCARD_SECTORS || !fits(backing, sector, count * SECTOR_BYTES)) {
        return STATUS.IOERR;
      }
    }
    for (const { sector, count } of ranges) {
      const fault = backing.discard?.(Number(sector) * SECTOR_BYTES, count * SECTOR_BYTES);
      if (fault !== undefined) return this.#judge(fault);
    }
    return STATUS.OK;
  }

  /** Write-through: what was written is stable before the driver hears of it. */
  #through(backing: BlockBacking, status: number): number {
    if (status !== STATUS.OK || this.#config.getUint8(CONFIG.writeback) === 1) return status;
    return this.#judge(backing.flush());
  }

  #judge(fault: BlockFault | undefined): number {
    if (fault === undefined) return STATUS.OK;
    this.#onFault?.(fault);
    return STATUS.IOERR;
  }

  #buffer(length: number): Uint8Array {
    if (this.#piece.length < length) this.#piece = new Uint8Array(length);
    return this.#piece.subarray(0, length);
  }
}

/** Range `i` behind the header of a discard or write-zeroes (5.2.6). */
function rangeAt(chain: Chain, i: number): { sector: bigint; count: number; flags: number } {
  const range = new DataView(new ArrayBuffer(RANGE_BYTES));
  chain.read(HEADER_BYTES + i * RANGE_BYTES, new Uint8Array(range.buffer));
  return {
    sector: range.getBigUint64(0, true),
    count: range.getUint32(8, true),
    flags: range.getUint32(12, true),
  };
}

function fits(backing: BlockBacking, sector: bigint, bytes: number): boolean {
  // Of a sector too large for a number the next one is as much behind the end.
  return Number(sector) * SECTOR_BYTES + bytes <= backing.size;
}
