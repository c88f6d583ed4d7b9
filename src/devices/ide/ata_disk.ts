/**
 * A hard disk on the AT attachment, with 28-bit and 48-bit addresses and those of cylinder, head and sector.
 *
 * Specification: ATA/ATAPI-6 (T13/1410D), clause 8. Commands take no time: each is done when the write to the
 * command register, to the data register or to the DMA engine that completes it returns.
 */
import { type BlockBacking, type BlockFault, SECTOR_BYTES } from "../../vm/block.ts";
import { InputError } from "../../vm/errors.ts";
import * as a from "./ata.ts";
import {
  BUFFER_SECTORS,
  checkedDisk,
  type DiskState,
  initialDisk,
  LBA28_SECTORS,
  MULTIPLE_LIMIT,
  type SavedDisk,
  SECTORS_LIMIT,
} from "./disk_state.ts";
import { IdeDrive } from "./drive.ts";
import { defaultGeometry, type Geometry, translation } from "./geometry.ts";
import { identifyDisk, type Identity } from "./identify.ts";
import { putSector, sectorOf } from "./sector_address.ts";
import { modeFits, modeText, selectedMode } from "./transfer_mode.ts";

const ACTIVE = 0xff;
const STANDBY = 0x00;

/** A disk over a store of sectors. */
export class AtaDisk extends IdeDrive {
  /** "disk" and the name of its store. */
  readonly title: string;
  readonly packet = false;
  /** The signature of disks. */
  protected readonly signature = 0x0000;
  /** Ready at once. */
  protected readonly idleStatus: number = a.STATUS_READY;
  readonly #backing: BlockBacking;
  readonly #identity: Identity;
  readonly #total: number;
  readonly #standard: Geometry;
  #disk: DiskState;
  /** Why the last transfer with the medium failed. */
  #fault: BlockFault | undefined;

  /**
   * Makes a disk.
   *
   * @throws {InputError} If the store has not one sector.
   */
  constructor(backing: BlockBacking, identity: Identity) {
    super();
    this.#backing = backing;
    this.#identity = identity;
    this.title = `disk ${backing.name}`;
    this.#total = Math.floor(backing.size / SECTOR_BYTES);
    if (!(this.#total >= 1 && this.#total <= SECTORS_LIMIT)) {
      throw new InputError(`A disk can't have ${backing.size} bytes`, {
        remedy: `give it at least ${SECTOR_BYTES} bytes`,
      });
    }
    this.#standard = defaultGeometry(this.#total);
    this.#disk = initialDisk(this.#standard);
    this.powerOn();
  }

  /** As after power-on. */
  override powerOn(): void {
    this.#disk = initialDisk(this.#standard);
    super.powerOn();
  }

  /** Registers, settings and buffer; not the medium. */
  save(): SavedDisk {
    return {
      registers: { ...this.state },
      disk: { ...this.#disk },
      total: this.#total,
      data: this.saveBuffer(),
    };
  }

  /** A function that takes what `save` gave. @throws {InputError} If it is not usable. */
  prepare(given: unknown): () => void {
    const saved = checkedDisk(given, this.#total, this.#backing.name);
    return () => {
      this.state = saved.registers;
      this.#disk = saved.disk;
      this.restoreBuffer(saved.data);
    };
  }

  /** Registers, progress and settings. */
  override inspect(): Record<string, number | string> {
    const { lba, left, multiple, heads, sectors, writeCache } = this.#disk;
    return {
      ...super.inspect(),
      lba,
      sectorsLeft: left,
      capacity: this.#total,
      multiple,
      geometry: `${heads} heads, ${sectors} sectors`,
      writeCache: writeCache ? "on" : "off",
      transferMode: modeText(this.#disk.mode),
    };
  }

  /** Runs a command. */
  protected execute(command: number): void {
    const C = a.COMMAND;
    const disk = this.#disk;
    switch (command) {
      case C.READ_SECTORS:
      case C.READ_SECTORS_NO_RETRY:
        return this.#read("pio-in", 1);
      case C.READ_SECTORS_EXT:
        return this.#read("pio-in", 1);
      case C.READ_MULTIPLE:
      case C.READ_MULTIPLE_EXT:
        if (disk.multiple === 0) return this.abort();
        return this.#read("pio-in", disk.multiple);
      case C.READ_DMA:
      case C.READ_DMA_NO_RETRY:
        return this.#read("dma-in", BUFFER_SECTORS);
      case C.READ_DMA_EXT:
        return this.#read("dma-in", BUFFER_SECTORS);
      case C.WRITE_SECTORS:
      case C.WRITE_SECTORS_NO_RETRY:
      case C.WRITE_VERIFY:
        return this.#write("pio-out", 1);
      case C.WRITE_SECTORS_EXT:
        return this.#write("pio-out", 1);
      case C.WRITE_MULTIPLE:
      case C.WRITE_MULTIPLE_EXT:
      case C.WRITE_MULTIPLE_FUA_EXT:
        if (disk.multiple === 0) return this.abort();
        return this.#write("pio-out", disk.multiple, command === C.WRITE_MULTIPLE_FUA_EXT);
      case C.WRITE_DMA:
      case C.WRITE_DMA_NO_RETRY:
        return this.#write("dma-out", BUFFER_SECTORS);
      case C.WRITE_DMA_EXT:
      case C.WRITE_DMA_FUA_EXT:
        return this.#write("dma-out", BUFFER_SECTORS, command === C.WRITE_DMA_FUA_EXT);
      case C.READ_VERIFY:
      case C.READ_VERIFY_NO_RETRY:
      case C.READ_VERIFY_EXT:
        return this.#verify();
      case C.READ_NATIVE_MAX:
      case C.READ_NATIVE_MAX_EXT:
        return this.#nativeMax(command === C.READ_NATIVE_MAX_EXT);
      case C.FLUSH_CACHE:
      case C.FLUSH_CACHE_EXT:
        return this.#flush();
      case C.IDENTIFY_DEVICE:
        this.#identify();
        disk.left = 0;
        this.state.filled = SECTOR_BYTES;
        return this.transfer("pio-in", 0, SECTOR_BYTES, true);
      case C.SET_FEATURES:
        return this.#setFeatures();
      case C.SET_MULTIPLE_MODE:
        return this.#setMultiple(this.state.count & 0xff);
      case C.INITIALIZE_DEVICE_PARAMETERS:
        return this.#setGeometry();
      case C.CHECK_POWER_MODE:
      case C.CHECK_POWER_MODE_OLD:
        this.state.count = disk.standby ? STANDBY : ACTIVE;
        return this.finish();
      case C.STANDBY:
      case C.STANDBY_IMMEDIATE:
      case C.STANDBY_OLD:
      case C.STANDBY_IMMEDIATE_OLD:
      case C.SLEEP:
      case C.SLEEP_OLD:
        disk.standby = true;
        return this.finish();
      case C.IDLE:
      case C.IDLE_IMMEDIATE:
      case C.IDLE_OLD:
      case C.IDLE_IMMEDIATE_OLD:
        disk.standby = false;
        return this.finish();
    }
    if ((command & 0xf0) === C.RECALIBRATE) return this.finish();
    if ((command & 0xf0) === C.SEEK) {
      return this.#address(false) === undefined ? this.abort(a.ERROR_IDNF_BIT) : this.finish();
    }
    this.abort();
  }

  /** The host took a block. */
  protected taken(): void {
    const { state: s } = this;
    if (s.at < s.filled) {
      const end = Math.min(s.filled, s.at + this.#disk.block * SECTOR_BYTES);
      return this.transfer(s.phase, s.at, end, true);
    }
    if (this.#disk.left > 0) return this.#load();
    if (s.phase === "dma-in") return this.#done();
    // After the last block there is nothing to say: no interrupt (9.5, PIO data-in).
    this.settle(a.STATUS_READY);
    if (s.command !== a.COMMAND.IDENTIFY_DEVICE) this.#showAddress(this.#disk.lba - 1, 0);
  }

  /** The host gave a block: it is written once the buffer is full, or it was the last one. */
  protected given(): void {
    const { state: s } = this;
    const disk = this.#disk;
    const sectors = s.at / SECTOR_BYTES;
    if (sectors < disk.left && sectors + disk.block <= BUFFER_SECTORS) {
      const end = s.at + Math.min(disk.block, disk.left - sectors) * SECTOR_BYTES;
      return this.transfer(s.phase, s.at, end, true);
    }
    const done = this.#each(sectors, (at, bytes) => this.#backing.write(at, bytes));
    disk.lba += done;
    disk.left -= done;
    if (done < sectors) return this.#failed("write");
    if (disk.left === 0) {
      const fault = disk.through ? this.#backing.flush() : undefined;
      if (fault === undefined) return this.#done();
      this.#fault = fault;
      return this.#failed("write");
    }
    this.#ask(true);
  }

  /** Starts to read sectors. */
  #read(phase: "pio-in" | "dma-in", block: number): void {
    if (!this.#start(block)) return;
    this.state.phase = phase;
    this.#load();
  }

  /** Fills the buffer from the medium and offers the first block of it. */
  #load(): void {
    const disk = this.#disk;
    const { phase } = this.state;
    const wanted = Math.min(disk.left, BUFFER_SECTORS - BUFFER_SECTORS % disk.block);
    let got = this.#each(wanted, (at, bytes) => this.#backing.read(at, bytes));
    // A block is given as a whole or not at all; the host gets those before the sector that failed.
    if (got < wanted && phase === "pio-in") got -= got % disk.block;
    if (got === 0) return this.#failed("read");
    disk.lba += got;
    disk.left -= got;
    this.state.filled = got * SECTOR_BYTES;
    this.transfer(phase, 0, Math.min(got, disk.block) * SECTOR_BYTES, phase === "pio-in");
    if (phase === "dma-in") this.events.dma();
  }

  /** Starts to write sectors. */
  #write(phase: "pio-out" | "dma-out", block: number, through = false): void {
    if (!this.#start(block)) return;
    if (this.#backing.readOnly) {
      this.#fault = this.#backing.write(this.#disk.lba * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
      return this.#failed("write");
    }
    this.#disk.through = through || !this.#disk.writeCache;
    this.state.phase = phase;
    this.#ask(false);
  }

  /** Asks for the first block of an empty buffer; the first block of a command comes without an interrupt. */
  #ask(interrupt: boolean): void {
    const { phase } = this.state;
    const end = Math.min(this.#disk.block, this.#disk.left) * SECTOR_BYTES;
    this.transfer(phase, 0, end, interrupt && phase === "pio-out");
    if (phase === "dma-out") this.events.dma();
  }

  #verify(): void {
    if (!this.#start(1)) return;
    const disk = this.#disk;
    while (disk.left > 0) {
      const wanted = Math.min(disk.left, BUFFER_SECTORS);
      const got = this.#each(wanted, (at, bytes) => this.#backing.read(at, bytes));
      disk.lba += got;
      disk.left -= got;
      if (got < wanted) return this.#failed("read");
    }
    this.#done();
  }

  /** The sectors that a command names by the registers as they are. */
  protected override subject(command: number): { lba?: number; count?: number } {
    const form = a.addressing(command);
    if (form === undefined) return {};
    const { count } = this.state;
    return form === "wide"
      ? { lba: this.#address(true), count: count || 0x10000 }
      : { lba: this.#address(false), count: count & 0xff || 0x100 };
  }

  /** Takes address and count out of the registers. False if the command was ended since they make no sense. */
  #start(block: number): boolean {
    const s = this.state;
    const disk = this.#disk;
    const wide = a.addressing(s.command) === "wide";
    if (wide && (s.device & a.DEVICE_LBA_BIT) === 0) {
      this.abort();
      return false;
    }
    const { lba, count } = this.subject(s.command);
    if (lba === undefined || count === undefined || lba + count > this.#total) {
      this.abort(a.ERROR_IDNF_BIT);
      return false;
    }
    disk.lba = lba;
    disk.left = count;
    disk.block = block;
    disk.wide = wide;
    disk.through = false;
    disk.standby = false;
    return true;
  }

  /** Does `sectors` between buffer and medium; if that fails one by one, to find the one. Gives how many went well. */
  #each(sectors: number, move: (at: number, bytes: Uint8Array) => BlockFault | undefined): number {
    const at = this.#disk.lba * SECTOR_BYTES;
    this.#fault = move(at, this.buffer.subarray(0, sectors * SECTOR_BYTES));
    if (this.#fault === undefined) return sectors;
    for (let i = 0; i < sectors; i++) {
      const from = i * SECTOR_BYTES;
      this.#fault = move(at + from, this.buffer.subarray(from, from + SECTOR_BYTES));
      if (this.#fault !== undefined) return i;
    }
    return sectors;
  }

  /** The medium failed at `lba`: the registers say where. */
  #failed(direction: "read" | "write"): void {
    const fault = this.#fault;
    if (fault !== undefined) this.events.fault(fault);
    this.#showAddress(this.#disk.lba, this.#disk.left);
    if (direction === "read") return this.abort(a.ERROR_UNC_BIT);
    this.abort(a.ERROR_ABRT_BIT | (fault?.kind === "read-only" ? a.ERROR_WP_BIT : 0));
  }

  #done(): void {
    this.#showAddress(this.#disk.lba - 1, 0);
    this.finish();
  }

  #flush(): void {
    const fault = this.#backing.flush();
    if (fault === undefined) return this.finish();
    this.#fault = fault;
    this.#disk.left = 0;
    this.#failed("write");
  }

  /** The address in the registers, undefined if the translation has no such place. */
  #address(wide: boolean): number | undefined {
    return sectorOf(this.state, wide, this.#geometry);
  }

  /** Puts an address and a count into the registers, in the form in which the command had them. */
  #showAddress(lba: number, count: number): void {
    this.state.count = count & 0xffff;
    putSector(this.state, lba, this.#disk.wide, this.#geometry);
  }

  get #geometry(): Geometry {
    return translation(this.#total, this.#disk.heads, this.#disk.sectors);
  }

  #nativeMax(wide: boolean): void {
    this.#disk.wide = wide;
    const last = Math.min(this.#total, wide ? SECTORS_LIMIT : LBA28_SECTORS) - 1;
    const s = this.state;
    s.device |= a.DEVICE_LBA_BIT;
    putSector(s, last, wide, this.#geometry);
    this.finish();
  }

  #identify(): void {
    const { multiple, writeCache, mode } = this.#disk;
    identifyDisk(this.buffer, {
      ...this.#identity,
      sectors: this.#total,
      standard: this.#standard,
      current: this.#geometry,
      multiple,
      multipleLimit: MULTIPLE_LIMIT,
      writeCache,
      mode: selectedMode(mode),
    });
  }

  #setFeatures(): void {
    const disk = this.#disk;
    const { features, count } = this.state;
    switch (features & 0xff) {
      case a.FEATURE.WRITE_CACHE_ON:
        disk.writeCache = true;
        return this.finish();
      case a.FEATURE.WRITE_CACHE_OFF:
        disk.writeCache = false;
        return this.#flush();
      case a.FEATURE.TRANSFER_MODE:
        if (!modeFits(count & 0xff)) return this.abort();
        disk.mode = count & 0xff;
        return this.finish();
      case a.FEATURE.LOOK_AHEAD_ON:
      case a.FEATURE.LOOK_AHEAD_OFF:
      case a.FEATURE.KEEP_SETTINGS:
      case a.FEATURE.REVERT_SETTINGS:
        return this.finish();
    }
    this.abort();
  }

  /** A power of two; 0 switches READ and WRITE MULTIPLE off. */
  #setMultiple(sectors: number): void {
    if (sectors > MULTIPLE_LIMIT || (sectors & (sectors - 1)) !== 0) return this.abort();
    this.#disk.multiple = sectors;
    this.finish();
  }

  #setGeometry(): void {
    const sectors = this.state.count & 0xff;
    if (sectors === 0) return this.abort();
    this.#disk.heads = (this.state.device & a.DEVICE_HEAD_MASK) + 1;
    this.#disk.sectors = sectors;
    this.finish();
  }
}
