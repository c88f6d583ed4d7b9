/**
 * The floppy disk controller of a PC/AT with up to two drives.
 *
 * Data sheet: Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166, in AT mode.
 */
import type { BlockBacking, BlockFault } from "../../vm/block.ts";
import { type DeviceHost, type DeviceRange, type InterruptLine, NO_LINE } from "../../vm/device.ts";
import { ByteDevice } from "../byte_device.ts";
import type { DmaChannel } from "../dma_channel.ts";
import { restoreRecord, saveRecord } from "../state.ts";
import { InputError } from "../../vm/errors.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import * as r from "./fdc_registers.ts";
import {
  byPio,
  driveOf,
  FDC_SHAPE,
  type FdcState,
  headOf,
  isPossible,
  POLLED,
  powerOn,
  SIZE_CODE,
  takesData,
} from "./fdc_state.ts";
import { FdcTransfer } from "./fdc_transfer.ts";
import { FloppyDrive } from "./floppy_drive.ts";

const REGISTERS: DeviceRange = { start: 0x3f0, length: 6 };
/** DIR when read, CCR when written; 0x3f6 between them is the disk's. */
const DIR_CCR: DeviceRange = { start: 0x3f7, length: 1 };
const VERSION_82077 = 0x90;
const PART_82077 = 0x01;

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
  #state: FdcState = powerOn();
  readonly #transfer: FdcTransfer;

  /** @param options What it is made of. */
  constructor(options: FdcOptions) {
    super();
    this.#options = options;
    this.name = options.name ?? "fdc0";
    this.drives = [0, 1].map((i) => {
      const inside = options.drives[i];
      return inside === undefined ? undefined : new FloppyDrive(inside === "empty" ? undefined : inside);
    });
    this.#transfer = new FdcTransfer({
      state: () => this.#state,
      drives: this.drives,
      dma: options.dma,
      end: (st1, st2) => this.#end(st1, st2),
      interrupt: (on) => this.#interrupt(on),
      fault: (fault, drive) => this.#tell(fault, drive),
    });
    options.dma.onReady = () => this.#transfer.move();
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
    return saveRecord("fdc", 1, { ...this.#state, drives });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    const { drives, ...state } = restoreRecord("fdc", 1, FDC_SHAPE, saved);
    if (!isPossible(state)) {
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

  #status(): number {
    const { dor, phase, command } = this.#state;
    if ((dor & r.DOR_RUN_BIT) === 0) return 0;
    if (phase === "result") return r.MSR_READY_BIT | r.MSR_READ_BIT | r.MSR_BUSY_BIT;
    if (phase === "command") return r.MSR_READY_BIT | (command.length > 0 ? r.MSR_BUSY_BIT : 0);
    if (!byPio(this.#state)) return r.MSR_BUSY_BIT;
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
    if (state.phase !== "execution" || !byPio(this.#state) || takesData(state.command[0])) return 0;
    const byte = state.data[state.at++];
    this.#transfer.byteMoved();
    return byte;
  }

  /** The guest writes the data register. */
  #give(value: number): void {
    const state = this.#state;
    if (state.phase === "execution" && byPio(this.#state) && takesData(state.command[0])) {
      state.data[state.at++] = value;
      return this.#transfer.byteMoved();
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
        return this.#transfer.begin();
    }
  }

  #dump(): number[] {
    const { specify, config, perpendicular, lock, id } = this.#state;
    const tracks = [0, 1].map((i) => this.drives[i]?.track ?? 0);
    const flags = (lock ? r.MULTI_TRACK_BIT : 0) | (perpendicular & 0x7f);
    return [...tracks, 0, 0, ...specify, id.sector, flags, ...config];
  }

  #driveStatus(): number {
    const drive = this.drives[driveOf(this.#state)];
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
    const number = driveOf(this.#state);
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
    const drive = this.drives[driveOf(this.#state)];
    const format = drive?.format;
    const { id, rate } = this.#state;
    const found = format !== undefined && format.rates.includes(rate) && headOf(this.#state) < format.heads &&
      drive!.track < format.cylinders;
    if (found) {
      // The disk turns: each time the next one comes by.
      Object.assign(id, {
        cylinder: drive!.track,
        head: headOf(this.#state),
        sector: id.sector % format.sectors + 1,
      });
    }
    this.#end(found ? 0 : r.ST1_MISSING_MARK_BIT, 0);
  }

  /** Tells the user of a fault, once for each kind and drive. */
  #tell(fault: BlockFault, drive: number): void {
    const key = `${drive} ${fault.kind}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#options.onFault?.(fault);
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
