/**
 * What disks and CD-ROM drives have in common: the command block registers, the interrupt, and a data register
 * that is filled and emptied in blocks, by the CPU or by DMA.
 *
 * Specification: ATA/ATAPI-6 (T13/1410D), clauses 7 and 9.
 */
import type { BlockFault } from "../../vm/block.ts";
import { bits, flag, integer, oneOf, type Shape } from "../state.ts";
import * as a from "./ata.ts";

/** Bytes a drive buffers: what one host call reads or writes. */
export const BUFFER_BYTES = 0x10000;

/**
 * What the data register is for now: nothing, the host reads or writes it, it takes a command packet, or a DMA
 * engine moves the data.
 */
export type Phase = "idle" | "pio-in" | "pio-out" | "packet" | "dma-in" | "dma-out";

/** A command was given to a drive. */
export interface IdeCommand {
  /** "primary" or "secondary". */
  readonly channel: string;
  /** 0 for the master, 1 for the slave. */
  readonly drive: number;
  /** Its code. */
  readonly command: number;
  /** Its name in the specification. */
  readonly name: string;
  /** The first sector or block it names, if it names one. */
  readonly lba?: number;
  /** How many. */
  readonly count?: number;
  /** The command packet, once it came. Valid during the call only. */
  readonly packet?: Uint8Array;
}

/** What a drive tells the channel it is on. */
export interface DriveEvents {
  /** The interrupt is pending or no longer so. */
  interrupt(): void;
  /** Data waits for a DMA engine. */
  dma(): void;
  /** A command was given. */
  command(command: Omit<IdeCommand, "channel" | "drive" | "name">): void;
  /** The host's side failed. */
  fault(fault: BlockFault): void;
}

const NO_EVENTS: DriveEvents = { interrupt() {}, dma() {}, command() {}, fault() {} };

/** The registers and the buffer. Registers written twice keep the value before in their high byte (48-bit addresses). */
export interface DriveState {
  features: number;
  count: number;
  low: number;
  mid: number;
  high: number;
  device: number;
  error: number;
  status: number;
  interrupt: boolean;
  /** The last command. */
  command: number;
  phase: Phase;
  /** Next byte of the buffer, the end of the block that the data register gives or takes, and of what is valid. */
  at: number;
  end: number;
  filled: number;
}

/** What saved registers must look like. */
export const DRIVE_SHAPE: Shape<DriveState> = {
  features: bits(16),
  count: bits(16),
  low: bits(16),
  mid: bits(16),
  high: bits(16),
  device: bits(8),
  error: bits(8),
  status: bits(8),
  interrupt: flag,
  command: bits(8),
  phase: oneOf<Phase>("idle", "pio-in", "pio-out", "packet", "dma-in", "dma-out"),
  at: integer(0, BUFFER_BYTES),
  end: integer(0, BUFFER_BYTES),
  filled: integer(0, BUFFER_BYTES),
};

/** A drive on a channel. */
export abstract class IdeDrive {
  /** Set by the channel. */
  events: DriveEvents = NO_EVENTS;
  /** The registers. */
  protected state: DriveState = blank();
  /** The data between medium and host. */
  protected readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BUFFER_BYTES);

  /** What `inspect` calls it: "disk" or "cdrom", and the file. */
  abstract readonly title: string;
  /** Whether it takes command packets: an ATAPI drive. */
  abstract readonly packet: boolean;
  /** What LBA mid and high hold after a reset: how software tells kinds of drives apart (9.12). */
  protected abstract readonly signature: number;
  /** Status after a reset. */
  protected abstract readonly idleStatus: number;
  /** Runs a command. */
  protected abstract execute(command: number): void;
  /** The host took the whole block: `at` is `end`. */
  protected abstract taken(): void;
  /** The host gave the whole block: `at` is `end`. */
  protected abstract given(): void;
  /** Saved beside the registers. */
  abstract save(): object;
  /** A function that takes what `save` gave. @throws {InputError} If it is not usable; nothing is changed then. */
  abstract prepare(saved: unknown): () => void;

  /** Whether INTRQ is pending. */
  get interrupt(): boolean {
    return this.state.interrupt;
  }

  /** The status register, without the effect of reading it. */
  get status(): number {
    return this.state.status;
  }

  /** Which way a DMA engine shall move data now, if it shall. */
  get dma(): "in" | "out" | undefined {
    const { phase } = this.state;
    return phase === "dma-in" ? "in" : phase === "dma-out" ? "out" : undefined;
  }

  /** Registers by name. */
  inspect(): Record<string, number | string> {
    const { command, phase, error, status, features, count, low, mid, high, device } = this.state;
    return {
      drive: this.title,
      command: commandText(command),
      phase,
      status,
      error,
      features: features & 0xff,
      sectorCount: count,
      lbaLow: low,
      lbaMid: mid,
      lbaHigh: high,
      device,
    };
  }

  /** A register of the command block; `hob` asks for what was written before the last (7.9). */
  readRegister(offset: number, hob: boolean): number {
    const s = this.state;
    const shift = hob ? 8 : 0;
    switch (offset) {
      case a.ERROR_FEATURES:
        return s.error;
      case a.SECTOR_COUNT:
        return s.count >> shift & 0xff;
      case a.LBA_LOW:
        return s.low >> shift & 0xff;
      case a.LBA_MID:
        return s.mid >> shift & 0xff;
      case a.LBA_HIGH:
        return s.high >> shift & 0xff;
      case a.DEVICE:
        return s.device | a.DEVICE_ONES;
      default:
        return s.status;
    }
  }

  /** Takes the interrupt back: status was read, or a command written. */
  acknowledge(): void {
    if (!this.state.interrupt) return;
    this.state.interrupt = false;
    this.events.interrupt();
  }

  /** The host writes a register: both drives of a channel see it. */
  writeRegister(offset: number, value: number): void {
    const s = this.state;
    switch (offset) {
      case a.ERROR_FEATURES:
        s.features = (s.features & 0xff) << 8 | value;
        break;
      case a.SECTOR_COUNT:
        s.count = (s.count & 0xff) << 8 | value;
        break;
      case a.LBA_LOW:
        s.low = (s.low & 0xff) << 8 | value;
        break;
      case a.LBA_MID:
        s.mid = (s.mid & 0xff) << 8 | value;
        break;
      case a.LBA_HIGH:
        s.high = (s.high & 0xff) << 8 | value;
        break;
      case a.DEVICE:
        s.device = value;
        break;
    }
  }

  /** The host writes the command register of this drive. While a transfer goes on it is ignored. */
  writeCommand(command: number): void {
    const s = this.state;
    if ((s.status & (a.STATUS_BSY_BIT | a.STATUS_DRQ_BIT)) !== 0 && !this.interrupts(command)) return;
    s.command = command;
    s.error = 0;
    this.acknowledge();
    this.events.command({ command, ...this.subject(command) });
    this.execute(command);
  }

  /** The sectors that a command names by the registers as they are. */
  protected subject(_command: number): { lba?: number; count?: number } {
    return {};
  }

  /** Whether a command is taken in the middle of another. */
  protected interrupts(_command: number): boolean {
    return false;
  }

  /** The data register, read: as many bytes as are there; the others of `data` are zeros. */
  readData(data: Uint8Array): void {
    const s = this.state;
    let done = 0;
    while (done < data.length && s.phase === "pio-in") {
      const n = Math.min(data.length - done, s.end - s.at);
      if (n <= 4) {
        for (let i = 0; i < n; i++) data[done + i] = this.buffer[s.at + i];
      } else data.set(this.buffer.subarray(s.at, s.at + n), done);
      done += n;
      s.at += n;
      if (s.at >= s.end) this.taken();
    }
    data.fill(0, done);
  }

  /** The data register, written: what the drive does not wait for is lost. */
  writeData(data: Uint8Array): void {
    const s = this.state;
    let done = 0;
    while (done < data.length && (s.phase === "pio-out" || s.phase === "packet")) {
      const n = Math.min(data.length - done, s.end - s.at);
      if (n <= 4) {
        for (let i = 0; i < n; i++) this.buffer[s.at + i] = data[done + i];
      } else this.buffer.set(data.subarray(done, done + n), s.at);
      done += n;
      s.at += n;
      if (s.at >= s.end) this.given();
    }
  }

  /** The bytes a DMA engine shall take or fill next, some of them at least. */
  dmaBlock(): Uint8Array {
    return this.buffer.subarray(this.state.at, this.state.end);
  }

  /** A DMA engine moved the first `bytes` of the block. */
  dmaMoved(bytes: number): void {
    const s = this.state;
    s.at += bytes;
    if (s.at < s.end) return;
    if (s.phase === "dma-in") this.taken();
    else this.given();
  }

  /** A DMA engine could not reach the guest's memory. */
  dmaFailed(): void {
    this.abort();
  }

  /** Reset by the line, by software or by a command: what goes on ends, the registers say what kind of drive it is. */
  reset(): void {
    this.settle(this.idleStatus);
    const s = this.state;
    s.interrupt = false;
    s.error = a.DIAGNOSTIC_PASSED;
    s.device = 0;
    this.sign();
    this.events.interrupt();
  }

  /** EXECUTE DEVICE DIAGNOSTIC: as a reset, with an interrupt at its end. */
  diagnose(): void {
    this.reset();
    this.state.command = a.COMMAND.EXECUTE_DEVICE_DIAGNOSTIC;
    this.raise();
  }

  /** As after power-on. */
  powerOn(): void {
    this.state = blank();
    this.reset();
  }

  /** Puts the signature into the registers. */
  protected sign(): void {
    const s = this.state;
    s.count = s.low = 1;
    s.mid = this.signature & 0xff;
    s.high = this.signature >> 8;
  }

  /** Requests the interrupt. */
  protected raise(): void {
    this.state.interrupt = true;
    this.events.interrupt();
  }

  /** Ends what goes on. */
  protected settle(status: number): void {
    const s = this.state;
    s.phase = "idle";
    s.at = s.end = s.filled = 0;
    s.status = status;
  }

  /** Ends the command, and says so. */
  protected finish(status: number = a.STATUS_READY): void {
    this.settle(status);
    this.raise();
  }

  /** Ends the command with an error. */
  protected abort(error: number = a.ERROR_ABRT_BIT): void {
    this.state.error = error;
    this.finish(a.STATUS_READY | a.STATUS_ERR_BIT);
  }

  /** Offers or asks for the block from `at` to `end`. */
  protected transfer(phase: Phase, at: number, end: number, interrupt: boolean): void {
    const s = this.state;
    s.phase = phase;
    s.at = at;
    s.end = end;
    s.status = a.STATUS_READY | a.STATUS_DRQ_BIT;
    if (interrupt) this.raise();
  }

  /** The valid part of the buffer, as base64. */
  protected saveBuffer(): string {
    const { phase, at, filled } = this.state;
    const out = phase === "pio-out" || phase === "dma-out" || phase === "packet";
    return this.buffer.subarray(0, phase === "idle" ? 0 : out ? at : filled).toBase64();
  }

  /** Fills the buffer from base64. */
  protected restoreBuffer(saved: string): void {
    this.buffer.set(Uint8Array.fromBase64(saved));
  }
}

/** Whether positions fit each other and the phase: at < end <= filled while data is to be taken. */
export function consistent({ phase, at, end, filled }: DriveState): boolean {
  if (phase === "idle") return true;
  return at < end && (phase === "pio-in" || phase === "dma-in" ? end <= filled : true);
}

function commandText(command: number): string {
  return `${a.commandName(command)} (0x${command.toString(16).padStart(2, "0")})`;
}

function blank(): DriveState {
  return {
    features: 0,
    count: 0,
    low: 0,
    mid: 0,
    high: 0,
    device: 0,
    error: 0,
    status: 0,
    interrupt: false,
    command: 0,
    phase: "idle",
    at: 0,
    end: 0,
    filled: 0,
  };
}
