/**
 * A CD-ROM drive: SCSI commands in packets.
 *
 * Specification: ATA/ATAPI-6 (T13/1410D), 9.8 (PACKET protocols); MMC-3 (T10/1363-D).
 */
import type { BlockBacking } from "../../vm/block.ts";
import * as a from "./ata.ts";
import * as answer from "./cd_answers.ts";
import { type CdState, checkedCd, initialCd, type SavedCd } from "./cd_state.ts";
import { inquiry, vitalProductData } from "./cd_inquiry.ts";
import { readDvdStructure } from "./dvd_structure.ts";
import { BUFFER_BYTES, IdeDrive } from "./drive.ts";
import { identifyCdRom, type Identity } from "./identify.ts";
import { frameSectors, RAW_BYTES } from "./raw_sectors.ts";
import { blocksOf, OPERATION, operationName, SENSE, type Sense } from "./scsi.ts";
import { modeFits, modeText, selectedMode } from "./transfer_mode.ts";

const { BLOCK_BYTES } = answer;
/** Bytes of a command packet. */
const PACKET_BYTES = 12;
const FEATURE_DMA_BIT = 0x01;
const BLOCKS_LIMIT = 2 ** 32 - 1;
const KNOWN_FEATURES: ReadonlySet<number> = new Set(Object.values(a.FEATURE));
/** Media events of GET EVENT STATUS NOTIFICATION. */
const EVENT_EJECT_REQUEST = 1;
const EVENT_NEW_MEDIUM = 2;
const EVENT_REMOVED = 3;

/** A drive whose medium is a store of sectors, or nothing. */
export class CdRom extends IdeDrive {
  readonly packet = true;
  /** The signature of packet devices. */
  protected readonly signature = 0xeb14;
  /** Not ready until the first command: a packet device shows that it is one by that (9.12). */
  protected readonly idleStatus: number = 0x00;
  readonly #identity: Identity;
  #medium: BlockBacking | undefined;
  #cd: CdState = initialCd();

  /**
   * Makes a drive.
   *
   * @param medium What lies in the drive, if something does.
   */
  constructor(medium: BlockBacking | undefined, identity: Identity) {
    super();
    this.#medium = medium;
    this.#identity = identity;
    this.powerOn();
  }

  /** What lies in the drive. */
  get title(): string {
    return `cdrom ${this.#medium?.name ?? "empty"}`;
  }

  /** The medium, if there is one. */
  get medium(): BlockBacking | undefined {
    return this.#medium;
  }

  /** Whether the guest holds the medium. */
  get locked(): boolean {
    return this.#cd.locked;
  }

  /**
   * Puts a medium into the drive, or takes out what is in it, as a person would: the tray is closed afterwards and
   * the guest is told. A transfer in progress fails. `force` does it though the guest locked the tray.
   *
   * @returns Whether it was done; if not, the guest was asked to let go of the medium.
   */
  insert(medium: BlockBacking | undefined, force = false): boolean {
    const cd = this.#cd;
    if (cd.locked && this.#medium !== undefined && !force) {
      cd.event = EVENT_EJECT_REQUEST;
      return false;
    }
    this.#medium = medium;
    // What is still to be read of the other one is nowhere.
    cd.lba = BLOCKS_LIMIT;
    cd.trayOpen = false;
    cd.changed = medium !== undefined;
    cd.event = medium === undefined ? EVENT_REMOVED : EVENT_NEW_MEDIUM;
    return true;
  }

  /** As after power-on, with the tray closed. */
  override powerOn(): void {
    this.#cd = initialCd();
    super.powerOn();
  }

  /** Ends what goes on; sense and lock stay. */
  override reset(): void {
    this.#cd.left = 0;
    super.reset();
  }

  /** Registers, sense, tray and buffer; not the medium. */
  save(): SavedCd {
    return { registers: { ...this.state }, cd: { ...this.#cd }, blocks: this.#size, data: this.saveBuffer() };
  }

  /** A function that takes what `save` gave. @throws {InputError} If it is not usable. */
  prepare(given: unknown): () => void {
    const saved = checkedCd(given, this.#size);
    return () => {
      this.state = saved.registers;
      this.#cd = saved.cd;
      this.restoreBuffer(saved.data);
    };
  }

  /** Registers, packet, sense and tray. */
  override inspect(): Record<string, number | string> {
    const { key, code, qualifier, operation, lba, left, trayOpen, locked, mode } = this.#cd;
    const hex = (n: number) => n.toString(16).padStart(2, "0");
    return {
      ...super.inspect(),
      packet: operationName(operation),
      sense: `${hex(key)}/${hex(code)}/${hex(qualifier)}`,
      lba,
      blocksLeft: left,
      blocks: this.#size,
      tray: trayOpen ? "open" : locked ? "locked" : "closed",
      transferMode: modeText(mode),
    };
  }

  /** DEVICE RESET is taken at any time. */
  protected override interrupts(command: number): boolean {
    return command === a.COMMAND.DEVICE_RESET;
  }

  /** Runs a command of the AT attachment. */
  protected execute(command: number): void {
    const C = a.COMMAND;
    const s = this.state;
    switch (command) {
      case C.DEVICE_RESET: {
        const device = s.device;
        this.reset();
        s.device = device & a.DEVICE_DEV_BIT;
        return;
      }
      case C.PACKET:
        s.count = a.REASON_CD_BIT;
        return this.transfer("packet", 0, PACKET_BYTES, false);
      case C.IDENTIFY_PACKET_DEVICE:
        identifyCdRom(this.buffer, { ...this.#identity, mode: selectedMode(this.#cd.mode) });
        this.#cd.left = 0;
        s.filled = 512;
        return this.transfer("pio-in", 0, 512, true);
      case C.SET_FEATURES:
        if ((s.features & 0xff) === a.FEATURE.TRANSFER_MODE) {
          if (!modeFits(s.count & 0xff)) return this.abort();
          this.#cd.mode = s.count & 0xff;
        } else if (!KNOWN_FEATURES.has(s.features & 0xff)) return this.abort();
        return this.finish();
      case C.CHECK_POWER_MODE:
        s.count = 0xff;
        return this.finish();
      case C.FLUSH_CACHE:
      case C.STANDBY:
      case C.STANDBY_IMMEDIATE:
      case C.IDLE:
      case C.IDLE_IMMEDIATE:
      case C.SLEEP:
        return this.finish();
      case C.IDENTIFY_DEVICE:
      case C.READ_SECTORS:
        // Refused with the signature, by which software sees what it talks to (9.12).
        this.sign();
        return this.abort();
    }
    this.abort();
  }

  /** The host took a part of the data. */
  protected taken(): void {
    const { state: s } = this;
    if (s.command === a.COMMAND.IDENTIFY_PACKET_DEVICE) return this.settle(a.STATUS_READY);
    if (s.at < s.filled) return this.#offer(s.at, true);
    if (this.#cd.left > 0) return this.#load();
    this.#done();
  }

  /** The packet is complete. */
  protected given(): void {
    const packet = this.buffer.slice(0, PACKET_BYTES);
    const view = new DataView(packet.buffer);
    const cd = this.#cd;
    const { features, mid, high } = this.state;
    cd.operation = packet[0];
    cd.dma = (features & FEATURE_DMA_BIT) !== 0;
    // No limit, and one that is odd, are not allowed; older drivers do it.
    cd.limit = ((mid & 0xff) | (high & 0xff) << 8) & 0xfffe || 0xfffe;
    cd.left = 0;
    this.events.command({ command: a.COMMAND.PACKET, packet, ...blocksOf(packet, view) });
    const O = OPERATION;
    const attention = [O.INQUIRY, O.REQUEST_SENSE, O.GET_CONFIGURATION, O.GET_EVENT_STATUS_NOTIFICATION];
    if (cd.changed && !attention.includes(cd.operation as typeof attention[number])) {
      cd.changed = false;
      return this.#refuse(SENSE.MEDIUM_CHANGED);
    }
    this.#operate(packet, view);
  }

  #operate(packet: Uint8Array, view: DataView): void {
    const O = OPERATION;
    const cd = this.#cd;
    const allocation = view.getUint16(7);
    switch (packet[0]) {
      case O.TEST_UNIT_READY:
        return this.#ready() ? this.#good() : undefined;
      case O.REQUEST_SENSE: {
        const sense = answer.requestSense(cd);
        Object.assign(cd, SENSE.NONE);
        return this.#reply(sense, packet[4]);
      }
      case O.INQUIRY: {
        const vital = (packet[1] & 0x01) !== 0;
        if (!vital && packet[2] !== 0) return this.#refuse(SENSE.INVALID_FIELD);
        const data = vital ? vitalProductData(this.#identity, packet[2]) : inquiry(this.#identity);
        return data === undefined ? this.#refuse(SENSE.INVALID_FIELD) : this.#reply(data, packet[4]);
      }
      case O.START_STOP_UNIT:
        return this.#startStop((packet[4] & 0x02) !== 0, (packet[4] & 0x01) !== 0);
      case O.PREVENT_ALLOW_MEDIUM_REMOVAL:
        cd.locked = (packet[4] & 0x01) !== 0;
        return this.#good();
      case O.READ_CAPACITY:
        return this.#ready() ? this.#reply(answer.readCapacity(this.#status), 8) : undefined;
      case O.READ_10:
        return this.#read(view.getUint32(2), view.getUint16(7), BLOCK_BYTES);
      case O.READ_12:
        return this.#read(view.getUint32(2), view.getUint32(6), BLOCK_BYTES);
      case O.READ_CD:
        return this.#readCd(view.getUint32(2), view.getUint32(5) & 0xff_ffff, packet[9]);
      case O.SEEK_10:
        if (!this.#ready()) return;
        return view.getUint32(2) < this.#blocks ? this.#good() : this.#refuse(SENSE.BLOCK_OUT_OF_RANGE);
      case O.READ_TOC: {
        if (!this.#ready()) return;
        // Older drivers ask for the format in the control byte's high bits (SFF-8020i).
        const format = packet[2] & 0x0f || packet[9] >> 6;
        const toc = answer.readToc(this.#status, format, packet[6], (packet[1] & 0x02) !== 0);
        return toc === undefined ? this.#refuse(SENSE.INVALID_FIELD) : this.#reply(toc, allocation);
      }
      case O.GET_CONFIGURATION: {
        const request = packet[1] & 0x03;
        if (request === 3) return this.#refuse(SENSE.INVALID_FIELD);
        return this.#reply(answer.getConfiguration(this.#status, request, view.getUint16(2)), allocation);
      }
      case O.GET_EVENT_STATUS_NOTIFICATION: {
        // Only polling: there is no queue that could end the command later.
        if ((packet[1] & 0x01) === 0) return this.#refuse(SENSE.INVALID_FIELD);
        const events = answer.eventStatus(this.#status, packet[4], cd.event);
        if (packet[4] & 0x10) cd.event = 0;
        return this.#reply(events, allocation);
      }
      case O.READ_DISC_INFORMATION:
        return this.#ready() ? this.#reply(answer.discInformation(), allocation) : undefined;
      case O.MODE_SENSE_10: {
        const control = packet[2] >> 6;
        if (control === 3) return this.#refuse(SENSE.SAVING_NOT_SUPPORTED);
        const page = answer.modeSense(this.#status, packet[2] & 0x3f, control === 1);
        return page === undefined ? this.#refuse(SENSE.INVALID_FIELD) : this.#reply(page, allocation);
      }
      case O.READ_DVD_STRUCTURE: {
        if (!this.#ready()) return;
        if (!answer.isDvd(this.#status)) return this.#refuse(SENSE.INCOMPATIBLE_MEDIUM);
        const structure = readDvdStructure(this.#blocks, packet[7], packet[6]);
        return structure === undefined
          ? this.#refuse(SENSE.INVALID_FIELD)
          : this.#reply(structure, view.getUint16(8));
      }
      case O.SET_CD_SPEED:
        return this.#good();
      case O.MECHANISM_STATUS:
        return this.#reply(answer.mechanismStatus(this.#status), view.getUint16(8));
    }
    this.#refuse(SENSE.INVALID_OPERATION);
  }

  /** Blocks of the medium, whether it can be read now or not. */
  get #size(): number {
    return Math.min(BLOCKS_LIMIT, Math.floor((this.#medium?.size ?? 0) / BLOCK_BYTES));
  }

  /** Blocks that can be read now. */
  get #blocks(): number {
    return this.#cd.trayOpen ? 0 : this.#size;
  }

  get #status(): answer.CdStatus {
    const { trayOpen, locked } = this.#cd;
    return { blocks: this.#blocks, trayOpen, locked };
  }

  /** Whether there is a medium; if not, the command has failed. */
  #ready(): boolean {
    if (this.#blocks > 0) return true;
    this.#refuse(this.#cd.trayOpen ? SENSE.TRAY_OPEN : SENSE.NO_MEDIUM);
    return false;
  }

  #startStop(loadEject: boolean, start: boolean): void {
    const cd = this.#cd;
    if (!loadEject) return this.#good();
    if (!start && cd.locked) return this.#refuse(SENSE.REMOVAL_PREVENTED);
    if (cd.trayOpen === start) {
      cd.trayOpen = !start;
      cd.changed = start && this.#size > 0;
      cd.event = start ? EVENT_NEW_MEDIUM : EVENT_REMOVED;
    }
    this.#good();
  }

  #readCd(lba: number, blocks: number, flags: number): void {
    switch (flags & 0xf8) {
      case 0x00:
        return this.#ready() ? this.#good() : undefined;
      case 0x10:
        return this.#read(lba, blocks, BLOCK_BYTES);
      case 0xf8:
        return this.#read(lba, blocks, RAW_BYTES);
    }
    this.#refuse(SENSE.INVALID_FIELD);
  }

  /** Starts to read blocks, each giving `unit` bytes. */
  #read(lba: number, blocks: number, unit: number): void {
    const cd = this.#cd;
    if (!this.#ready()) return;
    if (lba + blocks > this.#blocks) return this.#refuse(SENSE.BLOCK_OUT_OF_RANGE);
    if (blocks === 0) return this.#good();
    cd.lba = lba;
    cd.left = blocks;
    cd.unit = unit;
    // Whole blocks in every part: that is what drives do, and what simple drivers count on.
    if (cd.limit >= unit) cd.limit -= cd.limit % unit;
    this.#load();
  }

  /** Fills the buffer from the medium, and offers the first part of it. */
  #load(): void {
    const cd = this.#cd;
    const medium = this.#medium;
    const part = Math.max(1, Math.floor(cd.limit / cd.unit));
    const room = Math.floor(BUFFER_BYTES / cd.unit);
    const blocks = Math.min(cd.left, cd.dma ? room : Math.max(part, room - room % part));
    const into = this.buffer.subarray(0, blocks * BLOCK_BYTES);
    if (medium === undefined || cd.lba + blocks > this.#blocks) {
      return this.#refuse(SENSE.MEDIUM_CHANGED);
    }
    let got = blocks;
    let fault = medium.read(cd.lba * BLOCK_BYTES, into);
    if (fault !== undefined) {
      // One by one, to give what can be read before the block that can't.
      for (got = 0; got < blocks; got++) {
        const at = got * BLOCK_BYTES;
        fault = medium.read(cd.lba * BLOCK_BYTES + at, into.subarray(at, at + BLOCK_BYTES));
        if (fault !== undefined) break;
      }
    }
    if (fault !== undefined && got === 0) {
      this.events.fault(fault);
      return this.#refuse(SENSE.UNRECOVERED_READ);
    }
    if (cd.unit === RAW_BYTES) frameSectors(this.buffer, got, cd.lba);
    cd.lba += got;
    cd.left -= got;
    this.state.filled = got * cd.unit;
    this.#offer(0, true);
  }

  /** An answer, cut to what the host has room for. */
  #reply(bytes: readonly number[], allocation: number): void {
    const length = Math.min(bytes.length, allocation);
    if (length === 0) return this.#good();
    this.buffer.set(bytes.slice(0, length));
    this.state.filled = length;
    this.#offer(0, true);
  }

  /** Offers what is in the buffer from `at`: all of it to a DMA engine, to the CPU no more than it asked for. */
  #offer(at: number, interrupt: boolean): void {
    const s = this.state;
    const cd = this.#cd;
    s.count = a.REASON_IO_BIT;
    if (cd.dma) {
      this.transfer("dma-in", at, s.filled, false);
      return this.events.dma();
    }
    const length = Math.min(cd.limit, s.filled - at);
    s.mid = length & 0xff;
    s.high = length >> 8;
    this.transfer("pio-in", at, at + length, interrupt);
  }

  /** The command went well. */
  #good(): void {
    Object.assign(this.#cd, SENSE.NONE);
    this.#done();
  }

  #done(): void {
    this.state.count = a.REASON_CD_BIT | a.REASON_IO_BIT;
    this.finish();
  }

  /** The command failed: the sense key is in the error register, the rest waits for REQUEST SENSE. */
  #refuse({ key, code, qualifier }: Sense): void {
    Object.assign(this.#cd, { key, code, qualifier, left: 0 });
    this.state.count = a.REASON_CD_BIT | a.REASON_IO_BIT;
    this.abort(key << 4 | a.ERROR_ABRT_BIT);
  }

  /** A DMA engine could not reach the guest's memory. */
  override dmaFailed(): void {
    this.#refuse(SENSE.ABORTED);
  }
}
