/**
 * A parallel port (LPT1) with a printer that is always ready: what a program strobes into it goes to a sink.
 *
 * Data sheet: IBM PC AT Technical Reference, "Parallel Adapter"; the printer answers as QEMU's does
 * (hw/char/parallel.c): busy from a strobe to the second look at the status behind it, with ACK# in between.
 */
import { type DeviceHost, type DeviceRange, type InterruptLine, NO_LINE } from "../vm/device.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { ByteDevice } from "./byte_device.ts";
import { bits, flag, restoreRecord, saveRecord, type Shape } from "./state.ts";

const DATA = 0;
const CONTROL = 2;
/** Status; BUSY and ACK are low-active at the plug, and read so. */
const BUSY_BIT = 0x80;
const ACK_BIT = 0x40;
const ONLINE_BIT = 0x10;
const ERROR_BIT = 0x08;
/** Bit 0 has no wire. QEMU's is a one, which SeaBIOS hands on to programs as "timed out". */
const READY = BUSY_BIT | ACK_BIT | ONLINE_BIT | ERROR_BIT;
/** Control. */
const STROBE_BIT = 0x01;
const INIT_BIT = 0x04;
const SELECT_BIT = 0x08;
const INTERRUPT_BIT = 0x10;
const INPUT_BIT = 0x20;
/** Bits 7 and 6 read as ones. */
const CONTROL_ONES = 0xc0;
const CONTROL_START = CONTROL_ONES | SELECT_BIT | INIT_BIT;
/** What the lines are when the guest lets go of them. */
const FLOATING = 0xff;

interface State {
  data: number;
  status: number;
  control: number;
  pending: boolean;
}

const SHAPE: Shape<State> = { data: bits(8), status: bits(8), control: bits(8), pending: flag };

/** What takes the bytes. */
export interface Printer {
  /** Takes a byte; gives a reason if it can't any more. */
  print(byte: number): string | undefined;
  /** The port was unplugged; it may be plugged in and printed to again. */
  close?(): void;
}

/** What a parallel port is made of. */
export interface ParallelPortOptions {
  /** Default "lpt1". */
  readonly name?: string;
  /** Its first port; 0x378 if left out. */
  readonly base?: number;
  /** ISA interrupt; 7 if left out. */
  readonly irq?: number;
  /** What takes the bytes. */
  readonly printer: Printer;
}

/** Data, status and control registers. */
export class ParallelPort extends ByteDevice {
  /** "lpt1" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: DeviceRange;
  /** The input it drives. */
  readonly interrupts: readonly number[];
  /** Names of the bits of its registers. */
  readonly bits: Readonly<Record<string, RegisterBits>> = {
    status: { BUSY: BUSY_BIT, ACK: ACK_BIT, PE: 0x20, ONLINE: ONLINE_BIT, ERROR: ERROR_BIT },
    control: {
      INPUT: INPUT_BIT,
      INTERRUPT: INTERRUPT_BIT,
      SELECT: SELECT_BIT,
      INIT: INIT_BIT,
      AUTOFEED: 0x02,
      STROBE: STROBE_BIT,
    },
  };
  readonly #printer: Printer;
  #line: InterruptLine = NO_LINE;
  #host: DeviceHost | undefined;
  #state: State = start();
  #raised = false;
  #printed = 0;
  #failed = false;

  /** A port with nothing printed. */
  constructor({ name = "lpt1", base = 0x378, irq = 7, printer }: ParallelPortOptions) {
    super();
    this.name = name;
    this.ports = { start: base, length: 3 };
    this.interrupts = [irq];
    this.#printer = printer;
  }

  /** Finds its interrupt input. */
  attach(host: DeviceHost): void {
    this.#host = host;
    this.#line = host.line(this.interrupts[0]);
    this.#update();
  }

  /** Lets go of it, and of the printer. */
  detach(): void {
    if (this.#raised) this.#line.lower();
    this.#raised = false;
    this.#line = NO_LINE;
    this.#host = undefined;
    this.#printer.close?.();
  }

  /** The guest reads a register. */
  protected readByte(offset: number): number {
    const state = this.#state;
    if (offset === DATA) return state.control & INPUT_BIT ? FLOATING : state.data;
    if (offset === CONTROL) return state.control;
    const { status } = state;
    state.pending = false;
    if ((status & BUSY_BIT) === 0 && (state.control & STROBE_BIT) === 0) {
      state.status = status & ACK_BIT ? status & ~ACK_BIT : status | ACK_BIT | BUSY_BIT;
    }
    this.#update();
    return status;
  }

  /** The guest writes a register; the status can't be written. */
  protected writeByte(offset: number, value: number): void {
    const state = this.#state;
    if (offset === DATA) state.data = value;
    if (offset !== CONTROL) return;
    if ((value & INIT_BIT) === 0) state.status = READY;
    else if (value & SELECT_BIT) {
      if (value & STROBE_BIT) {
        state.status &= ~BUSY_BIT;
        if ((state.control & STROBE_BIT) === 0) this.#print(state.data);
      } else if (state.control & INTERRUPT_BIT) state.pending = true;
    }
    state.control = value | CONTROL_ONES;
    this.#update();
  }

  /** As after power-on. */
  reset(): void {
    this.#state = start();
    this.#update();
  }

  /** The registers. */
  save(): unknown {
    return saveRecord("parallel", 1, this.#state);
  }

  /**
   * Takes what `save` gave.
   *
   * @throws {InputError} If the record is of another device or version.
   */
  restore(saved: unknown): void {
    this.#state = restoreRecord("parallel", 1, SHAPE, saved);
    this.#update();
  }

  /** The registers, and how many bytes were printed. */
  inspect(): Record<string, number> {
    const { data, status, control } = this.#state;
    return { data, status, control, printed: this.#printed };
  }

  /** How much was printed. */
  summary(): string {
    return `${this.#printed} bytes printed`;
  }

  #print(byte: number): void {
    const why = this.#printer.print(byte);
    if (why === undefined) this.#printed++;
    else if (!this.#failed) this.#host?.notice?.(`${this.name} prints no more: ${why}`);
    this.#failed = why !== undefined;
  }

  #update(): void {
    const level = this.#state.pending && (this.#state.control & INTERRUPT_BIT) !== 0;
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }
}

function start(): State {
  return { data: FLOATING, status: READY, control: CONTROL_START, pending: false };
}
