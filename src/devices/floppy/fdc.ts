/**
 * The floppy disk controller of a PC/AT with up to two drives.
 *
 * Data sheet: Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166, in AT mode.
 */
import { type BlockBacking, type BlockFault, SECTOR_BYTES } from "../../vm/block.ts";
import { type DeviceHost, type DeviceRange, type InterruptLine, NO_LINE } from "../../vm/device.ts";
import { ByteDevice } from "../byte_device.ts";
import type { DmaChannel } from "../dma_channel.ts";
import { bits, flag, integer, list, oneOf, record, restoreRecord, saveRecord, type Shape } from "../state.ts";
import { InputError } from "../../vm/errors.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import * as r from "./fdc_registers.ts";
import { DRIVE_SHAPE, FloppyDrive, type FloppyDriveState, type SectorFault } from "./floppy_drive.ts";

const REGISTERS: DeviceRange = { start: 0x3f0, length: 6 };
/** DIR when read, CCR when written; 0x3f6 between them is the disk's. */
const DIR_CCR: DeviceRange = { start: 0x3f7, length: 1 };
const DRIVES = 2;
/** How many drives the chip asks for their state after a reset. */
const POLLED = 4;
const SIZE_CODE = 2;
const ID_BYTES = 4;
const VERSION_82077 = 0x90;
const PART_82077 = 0x01;

type Phase = "command" | "execution" | "result";

/** Where the next sector is looked for: what the command says of it. */
interface Sector {
  cylinder: number;
  head: number;
  sector: number;
}

interface State {
  dor: number;
  tdr: number;
  rate: number;
  /** SPECIFY's bytes. */
  specify: number[];
  /** CONFIGURE's last two bytes. */
  config: number[];
  perpendicular: number;
  lock: boolean;
  phase: Phase;
  /** The command's bytes so far. */
  command: number[];
  result: number[];
  /** The sector that is moved, or a sector's ID for FORMAT, and how far it is. */
  data: number[];
  at: number;
  id: Sector;
  /** Sectors that FORMAT and READ TRACK still have to do. */
  left: number;
  interrupt: boolean;
  /** What SENSE INTERRUPT STATUS will tell: status register 0 of each drive. */
  senses: number[];
  drives: FloppyDriveState[];
}

const SHAPE: Shape<State> = {
  dor: bits(8),
  tdr: bits(8),
  rate: bits(2),
  specify: list(bits(8), 2, 2),
  config: list(bits(8), 2, 2),
  perpendicular: bits(8),
  lock: flag,
  phase: oneOf<Phase>("command", "execution", "result"),
  command: list(bits(8), 0, 9),
  result: list(bits(8), 0, 10),
  data: list(bits(8), 0, SECTOR_BYTES),
  at: integer(0, SECTOR_BYTES),
  id: record<Sector>({ cylinder: bits(8), head: bits(8), sector: bits(8) }),
  left: bits(8),
  interrupt: flag,
  senses: list(bits(8), 0, POLLED),
  drives: list(record(DRIVE_SHAPE), DRIVES, DRIVES),
};

/** What the controller is made of. */
export interface FdcOptions {
  /** Default "fdc0". */
  readonly name?: string;
  /** Its DMA channel: 2 on a PC. */
  readonly dma: DmaChannel;
  /** Interrupt. Default: ISA interrupt 6. */
  readonly irq?: number;
  /** Drives A and B with what lies in them; "empty" for nothing. */
  readonly drives: readonly (BlockBacking | "empty" | undefined)[];
  /** Called once for each kind of fault and drive, until a reset, when the host's side of a medium fails. */
  readonly onFault?: (fault: BlockFault) => void;
}

/** The controller at ports 0x3f0 to 0x3f5 and 0x3f7. Commands take no time. */
export class Fdc extends ByteDevice {
  /** "fdc0" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: readonly DeviceRange[] = [REGISTERS, DIR_CCR];
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = r.BITS;
  /** Drives A and B; undefined for none. */
  readonly drives: readonly (FloppyDrive | undefined)[];
  readonly #options: FdcOptions;
  readonly #told = new Set<string>();
  #line: InterruptLine = NO_LINE;
  #raised = false;
  #state: Omit<State, "drives"> = powerOn();

  /** @param options What it is made of. */
  constructor(options: FdcOptions) {
    super();
    this.#options = options;
    this.name = options.name ?? "fdc0";
    this.drives = [0, 1].map((i) => {
      const inside = options.drives[i];
      return inside === undefined ? undefined : new FloppyDrive(inside === "empty" ? undefined : inside);
    });
    options.dma.onReady = () => this.#move();
  }

  /** Finds the interrupt input. */
  attach(host: DeviceHost): void {
    this.#line = host.line(this.#options.irq ?? 6);
    this.#drive();
  }

  /** Lets go of the interrupt input. */
  detach(): void {
    if (this.#raised) this.#line.lower();
    this.#raised = false;
  }

  /** The guest reads a register. */
  protected readByte(offset: number, range: DeviceRange): number {
    const state = this.#state;
    if (range.start === DIR_CCR.start) {
      const drive = this.drives[state.dor & r.DOR_DRIVE_MASK];
      const motor = state.dor >> 4 & 1 << (state.dor & r.DOR_DRIVE_MASK);
      return motor && drive?.changed ? r.DIR_CHANGED_BIT : 0;
    }
    switch (offset) {
      case r.DOR:
        return state.dor;
      case r.TDR:
        return state.tdr;
      case r.MSR_DSR:
        return this.#status();
      case r.FIFO:
        return this.#take();
      default:
        return 0xff; // the status registers A and B are not there in AT mode
    }
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number, range: DeviceRange): void {
    const state = this.#state;
    if (range.start === DIR_CCR.start) {
      state.rate = value & r.RATE_MASK;
      return;
    }
    switch (offset) {
      case r.DOR: {
        const before = state.dor;
        state.dor = value;
        if ((value & r.DOR_RUN_BIT) === 0) this.#stop();
        else if ((before & r.DOR_RUN_BIT) === 0) this.#restarted();
        return this.#drive();
      }
      case r.TDR:
        state.tdr = value;
        return;
      case r.MSR_DSR:
        state.rate = value & r.RATE_MASK;
        if (value & r.DSR_RESET_BIT) {
          this.#stop();
          if (state.dor & r.DOR_RUN_BIT) this.#restarted();
        }
        return;
      case r.FIFO:
        if (state.dor & r.DOR_RUN_BIT) this.#give(value);
    }
  }

  /** Power-on state; media stay, and count as changed. */
  reset(): void {
    this.#state = powerOn();
    this.#told.clear();
    for (const drive of this.drives) if (drive) drive.state = { track: 0, changed: true };
    this.#drive();
  }

  /** Registers, the command on its way, and the drives without their media. */
  save(): unknown {
    const drives = [0, 1].map((i) => this.drives[i]?.state ?? { track: 0, changed: false });
    return saveRecord<State>("fdc", 1, { ...this.#state, drives });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    const { drives, ...state } = restoreRecord("fdc", 1, SHAPE, saved);
    const { phase, command, data, at, result, left } = state;
    const needed = r.LENGTHS[command[0] & r.COMMAND_MASK];
    const whole = command.length === needed && isTransfer(command[0]);
    const length = command[0] === undefined || (command[0] & r.COMMAND_MASK) !== r.FORMAT
      ? SECTOR_BYTES
      : ID_BYTES;
    const fits = phase === "command"
      ? command.length === 0 || command.length < needed
      : phase === "result"
      ? result.length > 0
      : whole && data.length === length && at < length && left > 0;
    if (!fits) {
      throw new InputError("The saved state is not usable: the fdc's command and its data do not fit", {
        remedy: "restore a record that save() of an fdc gave",
      });
    }
    this.#state = state;
    drives.forEach((drive, i) => this.drives[i] && (this.drives[i].state = drive));
    this.#drive();
  }

  /** Registers and drives. */
  inspect(): Record<string, number | string> {
    const { dor, tdr, rate, phase, command, interrupt } = this.#state;
    const shown: Record<string, number | string> = { dor, tdr, msr: this.#status(), rate, phase };
    shown.command = command.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    shown.interrupt = interrupt ? 1 : 0;
    this.drives.forEach((drive, i) => {
      if (drive === undefined) return;
      const { format, track, changed } = drive;
      const what = format ? `${format.cylinders}/${format.heads}/${format.sectors}` : "empty";
      shown[`drive${"AB"[i]}`] = `${what}, cylinder ${track}${changed ? ", changed" : ""}`;
    });
    return shown;
  }

  get #number(): number {
    return this.#state.command[1] & r.DOR_DRIVE_MASK;
  }

  get #head(): number {
    return this.#state.command[1] & r.HEAD_BIT ? 1 : 0;
  }

  /** Whether bytes go through the data register. */
  get #pio(): boolean {
    return (this.#state.specify[1] & r.SPECIFY_NON_DMA_BIT) !== 0;
  }

  #status(): number {
    const { dor, phase, command } = this.#state;
    if ((dor & r.DOR_RUN_BIT) === 0) return 0;
    if (phase === "result") return r.MSR_READY_BIT | r.MSR_READ_BIT | r.MSR_BUSY_BIT;
    if (phase === "command") return r.MSR_READY_BIT | (command.length > 0 ? r.MSR_BUSY_BIT : 0);
    if (!this.#pio) return r.MSR_BUSY_BIT;
    const direction = takesData(command[0]) ? 0 : r.MSR_READ_BIT;
    return r.MSR_READY_BIT | r.MSR_BUSY_BIT | r.MSR_NON_DMA_BIT | direction;
  }

  /** The guest reads the data register. */
  #take(): number {
    const state = this.#state;
    if (state.phase === "result") {
      this.#interrupt(false);
      const byte = state.result.shift() ?? 0;
      if (state.result.length === 0) this.#idle();
      return byte;
    }
    if (state.phase !== "execution" || !this.#pio || takesData(state.command[0])) return 0;
    const byte = state.data[state.at++];
    this.#byteMoved();
    return byte;
  }

  /** The guest writes the data register. */
  #give(value: number): void {
    const state = this.#state;
    if (state.phase === "execution" && this.#pio && takesData(state.command[0])) {
      state.data[state.at++] = value;
      return this.#byteMoved();
    }
    if (state.phase !== "command") return;
    state.command.push(value);
    const needed = r.LENGTHS[state.command[0] & r.COMMAND_MASK];
    if (needed === undefined) return this.#answer([r.ST0_INVALID], false);
    if (state.command.length === needed) this.#execute();
  }

  #execute(): void {
    const state = this.#state;
    const [code, second, third, fourth] = state.command;
    switch (code & r.COMMAND_MASK) {
      case r.SPECIFY:
        state.specify = [second, third];
        return this.#idle();
      case r.CONFIGURE:
        state.config = [third, fourth];
        return this.#idle();
      case r.PERPENDICULAR:
        state.perpendicular = second;
        return this.#idle();
      case r.LOCK:
        // The command's own bit 7 is the lock's new state.
        state.lock = (code & r.MULTI_TRACK_BIT) !== 0;
        return this.#answer([state.lock ? 0x10 : 0], false);
      case r.VERSION:
        return this.#answer([VERSION_82077], false);
      case r.PART_ID:
        return this.#answer([PART_82077], false);
      case r.DUMP_REGISTERS:
        return this.#answer(this.#dump(), false);
      case r.SENSE_DRIVE:
        return this.#answer([this.#driveStatus()], false);
      case r.SENSE_INTERRUPT:
        return this.#senseInterrupt();
      case r.RECALIBRATE:
        return this.#seek(0);
      case r.SEEK:
        return this.#seek(third, code);
      case r.READ_ID:
        return this.#readId();
      default:
        return this.#begin();
    }
  }

  #dump(): number[] {
    const { specify, config, perpendicular, lock, id } = this.#state;
    const tracks = [0, 1].map((i) => this.drives[i]?.track ?? 0);
    const flags = (lock ? r.MULTI_TRACK_BIT : 0) | (perpendicular & 0x7f);
    return [...tracks, 0, 0, ...specify, id.sector, flags, ...config];
  }

  #driveStatus(): number {
    const drive = this.drives[this.#number];
    const address = this.#state.command[1] & (r.HEAD_BIT | r.DOR_DRIVE_MASK);
    return address | r.ST3_READY_BIT | ((drive?.format?.heads ?? 2) === 2 ? r.ST3_TWO_SIDES_BIT : 0) |
      (drive?.track === 0 ? r.ST3_TRACK_0_BIT : 0) | (drive?.protected ? r.ST3_PROTECTED_BIT : 0);
  }

  #senseInterrupt(): void {
    const status = this.#state.senses.shift();
    this.#interrupt(false);
    if (status === undefined) return this.#answer([r.ST0_INVALID], false);
    this.#answer([status, this.drives[status & r.DOR_DRIVE_MASK]?.track ?? 0], false);
  }

  /** SEEK, RELATIVE SEEK (bit 7; bit 6 is inwards) and RECALIBRATE: done at once, told by SENSE INTERRUPT STATUS. */
  #seek(to: number, code = 0): void {
    const number = this.#number;
    const drive = this.drives[number];
    const from = drive?.track ?? 0;
    const inwards = code & 0x40 ? to : -to;
    const track = code & 0x80 ? Math.max(0, Math.min(from + inwards, 0xff)) : to;
    drive?.step(track);
    const ended = r.ST0_SEEK_END_BIT | (this.#state.command[1] & r.HEAD_BIT) | number;
    const missing = drive === undefined ? r.ST0_ABNORMAL | r.ST0_EQUIPMENT_BIT : 0;
    const others = this.#state.senses.filter((status) =>
      status < r.ST0_POLLED && (status & r.DOR_DRIVE_MASK) !== number
    );
    this.#state.senses = [...others, ended | missing];
    this.#idle();
    this.#interrupt(true);
  }

  #readId(): void {
    const drive = this.drives[this.#number];
    const format = drive?.format;
    const { id, rate } = this.#state;
    const found = format !== undefined && format.rates.includes(rate) && this.#head < format.heads &&
      drive!.track < format.cylinders;
    if (found) {
      // The disk turns: each time the next one comes by.
      Object.assign(id, { cylinder: drive!.track, head: this.#head, sector: id.sector % format.sectors + 1 });
    }
    this.#end(found ? 0 : r.ST1_MISSING_MARK_BIT, 0);
  }

  /** A command that moves data begins. */
  #begin(): void {
    const state = this.#state;
    const [code, , cylinder, head, sector] = state.command;
    const drive = this.drives[this.#number];
    state.phase = "execution";
    const command = code & r.COMMAND_MASK;
    if (takesData(code) && drive?.protected) return this.#end(r.ST1_NOT_WRITABLE_BIT, 0);
    if (command === r.FORMAT) {
      if (drive?.format === undefined) return this.#end(r.ST1_MISSING_MARK_BIT, 0);
      state.left = state.command[3];
      if (state.left === 0) return this.#end(0, 0);
    } else {
      if (state.config[0] & r.CONFIG_IMPLIED_SEEK_BIT) drive?.step(cylinder);
      state.id = { cylinder, head, sector: command === r.READ_TRACK ? 1 : sector };
      state.left = 1;
    }
    this.#next();
    this.#move();
  }

  /** Makes the buffer ready for the next sector or ID. */
  #next(): void {
    const state = this.#state;
    const [code] = state.command;
    state.at = 0;
    if ((code & r.COMMAND_MASK) === r.FORMAT) {
      state.data = new Array(ID_BYTES).fill(0);
    } else {
      const place = this.#find();
      if (place === undefined) return;
      const bytes = new Uint8Array(SECTOR_BYTES);
      if (!takesData(code)) {
        const fault = this.drives[this.#number]!.read(place, bytes);
        if (fault !== undefined) return this.#failed(fault);
      }
      state.data = [...bytes];
    }
    if (this.#pio) this.#interrupt(true);
  }

  /** A byte went through the data register: each of them is an interrupt. */
  #byteMoved(): void {
    const state = this.#state;
    this.#interrupt(false);
    if (state.at === state.data.length) this.#moved(false);
    else this.#interrupt(true);
  }

  /** The number of the sector that the command wants; ends the command if there is no such sector. */
  #find(): number | undefined {
    const { id, command, rate } = this.#state;
    const drive = this.drives[this.#number];
    const format = drive?.format;
    const side = (command[0] & r.MULTI_TRACK_BIT) !== 0 && id.head !== command[3] ? id.head & 1 : this.#head;
    if (
      format === undefined || !format.rates.includes(rate) || side >= format.heads ||
      drive!.track >= format.cylinders
    ) {
      this.#end(r.ST1_MISSING_MARK_BIT, 0);
      return undefined;
    }
    if (id.cylinder !== drive!.track) {
      this.#end(r.ST1_NO_DATA_BIT, r.ST2_WRONG_CYLINDER_BIT);
      return undefined;
    }
    if (id.head !== side || id.sector < 1 || id.sector > format.sectors || command[5] !== SIZE_CODE) {
      this.#end(r.ST1_NO_DATA_BIT, 0);
      return undefined;
    }
    return (id.cylinder * format.heads + side) * format.sectors + id.sector - 1;
  }

  /** Moves what can be moved by DMA. */
  #move(): void {
    const state = this.#state;
    const { dma } = this.#options;
    while (state.phase === "execution") {
      if ((state.command[0] & r.COMMAND_MASK) === r.VERIFY) {
        state.at = SECTOR_BYTES;
        this.#moved(false);
        continue;
      }
      if (this.#pio || !dma.ready) return;
      const bytes = Uint8Array.from(state.data.slice(state.at));
      const { moved, terminal } = takesData(state.command[0]) ? dma.get(bytes) : dma.put(bytes);
      if (takesData(state.command[0])) state.data.splice(state.at, moved, ...bytes.subarray(0, moved));
      state.at += moved;
      if (terminal || state.at === state.data.length) this.#moved(terminal);
    }
  }

  /** A sector or an ID is through, or the last part of one. */
  #moved(terminal: boolean): void {
    const state = this.#state;
    const [code] = state.command;
    const command = code & r.COMMAND_MASK;
    if (command === r.FORMAT) {
      if (!this.#formatted()) return;
      state.left--;
      if (terminal || state.left === 0) return this.#end(0, 0);
      return this.#next();
    }
    if (takesData(code) && !this.#stored()) return;
    if (command === r.READ_DELETED && (code & r.SKIP_BIT) === 0) {
      // All data here has ordinary marks, which this command takes for the wrong ones: it stops after the first.
      this.#advance();
      return this.#end(0, r.ST2_CONTROL_MARK_BIT);
    }
    const more = this.#advance();
    if (terminal) return this.#end(0, 0);
    if (more) return this.#next();
    const early = !this.#pio && command !== r.VERIFY;
    this.#end(early ? r.ST1_END_OF_TRACK_BIT : 0, 0);
  }

  /** Goes on to the next sector's ID (82077AA, table "Result Phase"). Whether the command wants that one. */
  #advance(): boolean {
    const { id, command } = this.#state;
    const last = command[6];
    if (id.sector !== last) {
      id.sector = (id.sector + 1) & 0xff;
      return true;
    }
    id.sector = 1;
    const multi = (command[0] & r.MULTI_TRACK_BIT) !== 0 && (command[0] & r.COMMAND_MASK) !== r.READ_TRACK;
    if (multi && (id.head & 1) === 0) {
      id.head |= 1;
      return true;
    }
    if (multi) id.head &= ~1;
    id.cylinder = (id.cylinder + 1) & 0xff;
    return false;
  }

  /** Writes the sector in the buffer; what did not come is zeros. */
  #stored(): boolean {
    const place = this.#find();
    if (place === undefined) return false;
    const { data, at } = this.#state;
    const bytes = Uint8Array.from(data, (byte, i) => i < at ? byte : 0);
    const fault = this.drives[this.#number]!.write(place, bytes);
    if (fault !== undefined) this.#failed(fault);
    return fault === undefined;
  }

  /** Fills the sector whose ID came; one that the format does not have takes no room. */
  #formatted(): boolean {
    const { data, command } = this.#state;
    const drive = this.drives[this.#number];
    const format = drive?.format;
    const [, , sector] = data;
    if (format === undefined || this.#head >= format.heads || drive!.track >= format.cylinders) {
      this.#end(r.ST1_MISSING_MARK_BIT, 0);
      return false;
    }
    if (sector < 1 || sector > format.sectors) return true;
    const place = (drive!.track * format.heads + this.#head) * format.sectors + sector - 1;
    const fault = drive!.write(place, new Uint8Array(SECTOR_BYTES).fill(command[5]));
    if (fault !== undefined) this.#failed(fault);
    return fault === undefined;
  }

  /** The host's side failed, which is a bad sector for the guest. */
  #failed(fault: SectorFault): void {
    const key = `${this.#number} ${fault === "absent" ? fault : fault.kind}`;
    if (fault !== "absent" && !this.#told.has(key)) {
      this.#told.add(key);
      this.#options.onFault?.(fault);
    }
    const readOnly = fault !== "absent" && fault.kind === "read-only";
    if (readOnly) this.#end(r.ST1_NOT_WRITABLE_BIT, 0);
    else this.#end(r.ST1_DATA_ERROR_BIT, r.ST2_DATA_ERROR_BIT);
  }

  /** The command is over: its seven result bytes, and the interrupt. */
  #end(st1: number, st2: number): void {
    const { id, command } = this.#state;
    const address = command[1] & (r.HEAD_BIT | r.DOR_DRIVE_MASK);
    const st0 = (st1 ? r.ST0_ABNORMAL : 0) | address;
    this.#answer([st0, st1, st2, id.cylinder, id.head, id.sector, SIZE_CODE], true);
  }

  #answer(result: number[], interrupt: boolean): void {
    Object.assign(this.#state, { phase: "result", result, data: [], at: 0, left: 0 });
    this.#interrupt(interrupt);
  }

  #idle(): void {
    Object.assign(this.#state, { phase: "command", command: [], result: [], data: [], at: 0, left: 0 });
  }

  /** Reset is asserted. */
  #stop(): void {
    this.#idle();
    this.#state.senses = [];
    if (!this.#state.lock) this.#state.config = [0, 0];
    for (const drive of this.drives) drive?.home();
    this.#interrupt(false);
  }

  /** Reset ended: the drives are polled, and the guest hears of four that became ready. */
  #restarted(): void {
    if (this.#state.config[0] & r.CONFIG_NO_POLLING_BIT) return;
    this.#state.senses = Array.from({ length: POLLED }, (_, i) => r.ST0_POLLED | i);
    this.#interrupt(true);
  }

  #interrupt(on: boolean): void {
    this.#state.interrupt = on;
    this.#drive();
  }

  /** The gate in DOR lets the interrupt through. */
  #drive(): void {
    const level = this.#state.interrupt && (this.#state.dor & r.DOR_GATE_BIT) !== 0;
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }
}

/** Whether the command's data goes to the disk. */
function takesData(code: number): boolean {
  return [r.WRITE, r.WRITE_DELETED, r.FORMAT].includes(code & r.COMMAND_MASK);
}

function isTransfer(code: number): boolean {
  return takesData(code) || [r.READ, r.READ_DELETED, r.READ_TRACK, r.VERIFY].includes(code & r.COMMAND_MASK);
}

function powerOn(): Omit<State, "drives"> {
  return {
    dor: 0,
    tdr: 0,
    rate: 2,
    specify: [0, 0],
    config: [0, 0],
    perpendicular: 0,
    lock: false,
    phase: "command",
    command: [],
    result: [],
    data: [],
    at: 0,
    id: { cylinder: 0, head: 0, sector: 0 },
    left: 0,
    interrupt: false,
    senses: [],
  };
}
