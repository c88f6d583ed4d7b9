/**
 * The DMA engine of a channel: it moves a drive's data by a table of physical regions in guest memory.
 *
 * Specification: Programming Interface for Bus Master IDE Controller, revision 1.0; Intel 82371SB (PIIX3), 2.7.
 */
import type { DeviceHost } from "../../vm/device.ts";
import { FaultError } from "../../vm/errors.ts";
import { bits, flag, integer, type Shape } from "../state.ts";
import type { IdeDrive } from "./drive.ts";

/** Offsets of a channel's registers. */
const COMMAND = 0;
const STATUS = 2;
const TABLE = 4;
/** Bytes of a channel's registers. */
export const BUS_MASTER_BYTES = 8;

const COMMAND_START_BIT = 0x01;
const COMMAND_TO_MEMORY_BIT = 0x08;
const STATUS_ACTIVE_BIT = 0x01;
const STATUS_ERROR_BIT = 0x02;
const STATUS_INTERRUPT_BIT = 0x04;
/** "Drive is DMA capable": kept for the driver, without effect. */
const STATUS_CAPABLE_MASK = 0x60;

/** A physical region descriptor: address, count, and the end bit. */
const DESCRIPTOR_BYTES = 8;
const DESCRIPTOR_END_BIT = 0x8000_0000;
const COUNT_MASK = 0xfffe;
const ADDRESS_END = 2 ** 32;
/** A table lies within 64 KiB, so it has no more descriptors. */
const DESCRIPTORS_LIMIT = 0x10000 / DESCRIPTOR_BYTES;

/** Registers, and where in the table the engine is. */
export interface BusMasterState {
  command: number;
  status: number;
  table: number;
  /** Descriptors fetched since it was started. */
  fetched: number;
  /** The rest of the current region. */
  address: number;
  left: number;
  /** The current region is the last one. */
  last: boolean;
}

/** What a saved engine must look like. */
export const BUS_MASTER_SHAPE: Shape<BusMasterState> = {
  command: bits(8),
  status: bits(8),
  table: bits(32),
  fetched: integer(0, DESCRIPTORS_LIMIT),
  address: bits(32),
  left: integer(0, 0x10000),
  last: flag,
};

/** The engine. */
export class BusMaster {
  /** The machine's memory, while there is one. */
  host: DeviceHost | undefined;
  /** Whether the function may reach memory. */
  enabled: () => boolean = () => true;
  /** The drive that data is moved for now. */
  drive: () => IdeDrive | undefined = () => undefined;
  #state: BusMasterState = initial();
  #running = false;
  readonly #descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #view = new DataView(this.#descriptor.buffer);

  /** A register's byte. */
  read(offset: number): number {
    const { command, status, table } = this.#state;
    if (offset === COMMAND) return command;
    if (offset === STATUS) return status;
    return offset >= TABLE ? table >>> (8 * (offset - TABLE)) & 0xff : 0;
  }

  /** A register's byte is written. */
  write(offset: number, value: number): void {
    const s = this.#state;
    if (offset === COMMAND) return this.#command(value);
    if (offset === STATUS) {
      const cleared = value & (STATUS_ERROR_BIT | STATUS_INTERRUPT_BIT);
      s.status = s.status & ~STATUS_CAPABLE_MASK & ~cleared | value & STATUS_CAPABLE_MASK;
    } else if (offset >= TABLE) {
      const shift = 8 * (offset - TABLE);
      // The table is aligned to four bytes.
      s.table = (s.table & ~(0xff << shift) | value << shift) & ~3;
      s.table >>>= 0;
    }
  }

  /** The drive requested its interrupt, which follows its data. */
  interrupted(): void {
    this.#state.status |= STATUS_INTERRUPT_BIT;
  }

  /** Moves data as long as the drive has or takes some and the table lasts. */
  run(): void {
    // A drive that is emptied asks again from within: the loop below goes on by itself.
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#step());
    } finally {
      this.#running = false;
    }
  }

  /** As after power-on. */
  reset(): void {
    this.#state = initial();
  }

  /** Registers and place in the table. */
  save(): BusMasterState {
    return { ...this.#state };
  }

  /** Takes a checked record. */
  restore(state: BusMasterState): void {
    this.#state = { ...state };
  }

  /** Registers by name. */
  inspect(name: string): Record<string, number> {
    const { command, status, table } = this.#state;
    return {
      [`${name}.BMICOM`]: command,
      [`${name}.BMISTA`]: status,
      [`${name}.BMIDTP`]: table,
    };
  }

  #command(value: number): void {
    const s = this.#state;
    const started = value & ~s.command & COMMAND_START_BIT;
    s.command = value & (COMMAND_START_BIT | COMMAND_TO_MEMORY_BIT);
    if ((value & COMMAND_START_BIT) === 0) s.status &= ~STATUS_ACTIVE_BIT;
    if (!started) return;
    s.status |= STATUS_ACTIVE_BIT;
    s.fetched = s.left = 0;
    s.last = false;
    this.run();
  }

  /** Moves one piece. False when there is nothing more to do now. */
  #step(): boolean {
    const s = this.#state;
    const drive = this.drive();
    const { host } = this;
    // The drive knows which way the data goes; the direction bit of the command register only repeats it.
    const direction = drive?.dma;
    if (drive === undefined || direction === undefined || host === undefined) return false;
    if ((s.status & STATUS_ACTIVE_BIT) === 0 || !this.enabled()) return false;
    try {
      if (s.left === 0 && !this.#fetch(host)) return false;
      const block = drive.dmaBlock();
      // Addresses have 32 bits: what is behind the last one is the first.
      const room = Math.min(s.left, ADDRESS_END - s.address);
      const piece = block.length <= room ? block : block.subarray(0, room);
      if (direction === "in") host.write(BigInt(s.address), piece);
      else host.read(BigInt(s.address), piece);
      s.address = (s.address + piece.length) % ADDRESS_END;
      s.left -= piece.length;
      // The region is all used: if it was the last, the engine is done before the drive says that it is.
      if (s.left === 0 && s.last) s.status &= ~STATUS_ACTIVE_BIT;
      drive.dmaMoved(piece.length);
      return true;
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      this.#fail(drive);
      return false;
    }
  }

  /** Reads the next descriptor. @throws {FaultError} If it does not lie in memory. */
  #fetch(host: DeviceHost): boolean {
    const s = this.#state;
    if (s.fetched >= DESCRIPTORS_LIMIT) {
      s.status = s.status & ~STATUS_ACTIVE_BIT | STATUS_ERROR_BIT;
      return false;
    }
    // A table shall not cross 64 KiB (1.2); QEMU goes on where one does, and what ran there does here.
    const at = (s.table + s.fetched * DESCRIPTOR_BYTES) % ADDRESS_END;
    host.read(BigInt(at), this.#descriptor);
    s.fetched++;
    const count = this.#view.getUint32(4, true);
    s.address = (this.#view.getUint32(0, true) & ~1) >>> 0;
    s.left = count & COUNT_MASK || 0x10000;
    s.last = count >= DESCRIPTOR_END_BIT;
    return true;
  }

  /** There is no memory where data shall go: the transfer ends, and the drive's command with it. */
  #fail(drive: IdeDrive): void {
    const s = this.#state;
    s.status = s.status & ~STATUS_ACTIVE_BIT | STATUS_ERROR_BIT;
    s.left = 0;
    drive.dmaFailed();
  }
}

function initial(): BusMasterState {
  return { command: 0, status: 0, table: 0, fetched: 0, address: 0, left: 0, last: false };
}
