/**
 * The serial port of a PC: National Semiconductor PC16550D.
 *
 * Data sheet: PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs, June 1995, section 8 (Registers),
 * https://media.digikey.com/pdf/Data%20Sheets/Texas%20Instruments%20PDFs/PC16550D.pdf
 *
 * Transmission takes no time: the holding register is always empty again at once. Reception is paced by the
 * guest: what the host gives waits in a queue and comes in bursts as the guest empties the FIFO.
 */
import type { DeviceHost, InterruptLine } from "../vm/device.ts";
import { NO_LINE } from "../vm/device.ts";
import { ByteDevice } from "./byte_device.ts";
import type { Cancel, Timebase } from "./device_clock.ts";
import { restoreRecord, saveRecord } from "./state.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import * as r from "./uart16550_registers.ts";
import { powerOn, SHAPE, type UartState } from "./uart16550_registers.ts";

/** What a serial port is made of. */
export interface Uart16550Options {
  /** Unique among a machine's devices: "uart0". */
  readonly name: string;
  /** First of its eight ports; 0x3f8 for COM1. */
  readonly base: number;
  /** Its interrupt input: an ISA interrupt (4 for COM1) found when it is plugged in, or a line. */
  readonly irq: number | InterruptLine;
  /** Takes what the guest sends, in order, a copy each. */
  readonly sink: (bytes: Uint8Array) => void;
  /** Lets the character timeout pass in the guest's time. Without it, it has always passed. */
  readonly time?: Timebase;
  /**
   * Whether OUT2 must be set for interrupts to leave the card, as on a PC (the default). QEMU's port does not
   * ask for it, and guests that were only ever run there may not set it.
   */
  readonly gated?: boolean;
}

/** A PC16550D with the glue of a PC's serial card. */
export class Uart16550 extends ByteDevice {
  /** Unique among a machine's devices. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number };
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = r.BITS;
  readonly #options: Uart16550Options;
  #line: InterruptLine = NO_LINE;
  #raised = false;
  #state: UartState = powerOn();
  /** First unread element of `queue`: taking from an array's front one by one would be quadratic. */
  #head = 0;
  #timer: Cancel | undefined;
  #lastRead = 0n;

  /**
   * A serial port at power-on.
   *
   * @param options What it is made of.
   */
  constructor(options: Uart16550Options) {
    super();
    this.#options = options;
    this.name = options.name;
    this.ports = { start: options.base, length: 8 };
    if (typeof options.irq !== "number") this.#line = options.irq;
  }

  /** Finds the interrupt input. */
  attach(host: DeviceHost): void {
    if (typeof this.#options.irq === "number") this.#line = host.line(this.#options.irq);
    this.#update();
  }

  /** Lets go of the interrupt input and of timers. */
  detach(): void {
    this.#disarm();
    if (this.#raised) this.#line.lower();
    this.#raised = false;
  }

  /** Bytes that `receive` takes now. */
  get room(): number {
    return r.QUEUE_LIMIT - (this.#state.queue.length - this.#head);
  }

  /** Bytes that were received and that the guest has not read, FIFO and queue together. */
  get waiting(): number {
    return this.#state.received.length + this.#state.queue.length - this.#head;
  }

  /**
   * Bytes arrive from the other end. They are not lost however slowly the guest reads: what does not fit the
   * FIFO waits, up to `room` bytes.
   *
   * @returns How many of the first bytes were taken; offer the others again later.
   */
  receive(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.room);
    for (let i = 0; i < taken; i++) this.#state.queue.push(bytes[i]);
    this.#refill();
    return taken;
  }

  /** The other end sends a break: a zero character with LSR.BI. Says whether there was room for it. */
  receiveBreak(): boolean {
    if (this.room === 0) return false;
    this.#state.queue.push(r.LSR_BREAK_BIT << 8);
    this.#refill();
    return true;
  }

  /** The other end drives the modem status inputs; those left out stay. */
  setModemInputs(inputs: { cts?: boolean; dsr?: boolean; ri?: boolean; dcd?: boolean }): void {
    this.#modem(() => {
      const drive = (on: boolean | undefined, bit: number) => {
        if (on !== undefined) this.#state.inputs = (this.#state.inputs & ~bit) | (on ? bit : 0);
      };
      drive(inputs.cts, r.MSR_CTS_BIT);
      drive(inputs.dsr, r.MSR_DSR_BIT);
      drive(inputs.ri, r.MSR_RI_BIT);
      drive(inputs.dcd, r.MSR_DCD_BIT);
    });
  }

  /** The guest reads a register. */
  protected readByte(offset: number): number {
    const state = this.#state;
    const dlab = (state.lcr & r.LCR_DLAB_BIT) !== 0;
    switch (offset) {
      case r.RBR_THR:
        return dlab ? state.divisor & 0xff : this.#take();
      case r.IER:
        return dlab ? state.divisor >> 8 : state.ier;
      case r.IIR_FCR: {
        const source = this.#source();
        if (source === r.IIR_THRE) {
          state.transmitterEmpty = false;
          this.#update();
        }
        return source | (state.fcr & r.FCR_ENABLE_BIT ? r.IIR_FIFO_MASK : 0);
      }
      case r.LCR:
        return state.lcr;
      case r.MCR:
        return state.mcr;
      case r.LSR: {
        const status = this.#lineStatus();
        state.errors = 0;
        if (state.received.length > 0) state.received[0] &= 0xff;
        this.#update();
        return status;
      }
      case r.MSR: {
        const status = this.#modemLevels() | state.deltas;
        state.deltas = 0;
        this.#update();
        return status;
      }
      default:
        return state.scr;
    }
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number): void {
    const state = this.#state;
    const dlab = (state.lcr & r.LCR_DLAB_BIT) !== 0;
    switch (offset) {
      case r.RBR_THR:
        if (dlab) state.divisor = (state.divisor & 0xff00) | value;
        else this.#transmit(value);
        return;
      case r.IER:
        if (dlab) {
          state.divisor = (state.divisor & 0xff) | (value << 8);
          return;
        }
        // Enabling the transmitter interrupt while THR is empty gives one at once (8.7; drivers probe for it).
        if ((value & ~state.ier & r.IER_TRANSMIT_BIT) !== 0) state.transmitterEmpty = true;
        state.ier = value & r.IER_MASK;
        break;
      case r.IIR_FCR:
        this.#fifoControl(value);
        break;
      case r.LCR: {
        const breaks = (value & ~state.lcr & r.LCR_BREAK_BIT) !== 0;
        state.lcr = value;
        if (breaks && (state.mcr & r.MCR_LOOP_BIT) !== 0) this.#arrive(r.LSR_BREAK_BIT << 8);
        break;
      }
      case r.MCR:
        this.#modem(() => state.mcr = value & r.MCR_MASK);
        this.#refill();
        return;
      case r.LSR:
      case r.MSR:
        // Writing these is for factory testing (8.4, 8.8); nothing is written here.
        return;
      case r.SCR:
        state.scr = value;
        return;
    }
    this.#update();
  }

  /** Power-on state (8, table II); what the host queued is dropped, the other end's modem lines stay. */
  reset(): void {
    this.#disarm();
    this.#state = { ...powerOn(), inputs: this.#state.inputs };
    this.#head = 0;
    this.#update();
  }

  /** The whole state, with what waits for the guest. */
  save(): unknown {
    return saveRecord("uart16550", 1, { ...this.#state, queue: this.#state.queue.slice(this.#head) });
  }

  /**
   * Takes what `save` gave.
   *
   * @throws {InputError} If the record is of another device or version, or damaged.
   */
  restore(saved: unknown): void {
    this.#state = restoreRecord("uart16550", 1, SHAPE, saved);
    this.#head = 0;
    this.#disarm();
    if (!this.#state.timeout) this.#arm();
    this.#refill();
  }

  /** Registers by name, as a read would show them, without the effects of a read. */
  inspect(): Record<string, number | string> {
    const state = this.#state;
    return {
      IER: state.ier,
      IIR: this.#source() | (state.fcr & r.FCR_ENABLE_BIT ? r.IIR_FIFO_MASK : 0),
      FCR: state.fcr,
      LCR: state.lcr,
      MCR: state.mcr,
      LSR: this.#lineStatus(),
      MSR: this.#modemLevels() | state.deltas,
      SCR: state.scr,
      divisor: state.divisor,
      baud: state.divisor === 0 ? "stopped" : Number(r.CLOCK_HZ) / 16 / state.divisor,
      received: state.received.length,
      queued: state.queue.length - this.#head,
    };
  }

  #capacity(): number {
    return this.#state.fcr & r.FCR_ENABLE_BIT ? r.FIFO_DEPTH : 1;
  }

  #trigger(): number {
    return this.#state.fcr & r.FCR_ENABLE_BIT ? r.TRIGGERS[this.#state.fcr >> 6] : 1;
  }

  #lineStatus(): number {
    const { received, errors, fcr } = this.#state;
    return r.LSR_EMPTY_MASK | errors | (received.length > 0 ? r.LSR_DATA_BIT : 0) |
      (fcr & r.FCR_ENABLE_BIT && received.some((c) => c > 0xff) ? r.LSR_FIFO_ERROR_BIT : 0);
  }

  /** CTS, DSR, RI and DCD as MSR shows them; in loopback they are RTS, DTR, OUT1 and OUT2 (8.7). */
  #modemLevels(): number {
    const { mcr, inputs } = this.#state;
    if ((mcr & r.MCR_LOOP_BIT) === 0) return inputs & r.MSR_INPUT_MASK;
    return (mcr & r.MCR_RTS_BIT ? r.MSR_CTS_BIT : 0) | (mcr & r.MCR_DTR_BIT ? r.MSR_DSR_BIT : 0) |
      (mcr & r.MCR_OUT1_BIT ? r.MSR_RI_BIT : 0) | (mcr & r.MCR_OUT2_BIT ? r.MSR_DCD_BIT : 0);
  }

  /** Makes a change and notes what it did to the modem inputs; RI counts only when it goes away (TERI). */
  #modem(change: () => void): void {
    const before = this.#modemLevels();
    change();
    const after = this.#modemLevels();
    const changed = (before ^ after) & ~(after & r.MSR_RI_BIT);
    this.#state.deltas |= changed >> 4;
    this.#update();
  }

  /** The interrupt IIR shows: the first in order of priority (8.6, table IV). */
  #source(): number {
    const state = this.#state;
    if (state.ier & r.IER_LINE_BIT && state.errors !== 0) return r.IIR_LINE;
    if (state.ier & r.IER_RECEIVE_BIT) {
      if (state.received.length >= this.#trigger()) return r.IIR_DATA;
      if (state.timeout) return r.IIR_TIMEOUT;
    }
    if (state.ier & r.IER_TRANSMIT_BIT && state.transmitterEmpty) return r.IIR_THRE;
    if (state.ier & r.IER_MODEM_BIT && state.deltas !== 0) return r.IIR_MODEM;
    return r.IIR_NONE;
  }

  /** On a PC the interrupt leaves the card only with OUT2 set; loopback takes OUT2 off its pin (8.7). */
  #update(): void {
    const out = this.#options.gated === false ||
      (this.#state.mcr & (r.MCR_OUT2_BIT | r.MCR_LOOP_BIT)) === r.MCR_OUT2_BIT;
    const level = out && this.#source() !== r.IIR_NONE;
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }

  #transmit(value: number): void {
    const state = this.#state;
    state.transmitterEmpty = false;
    this.#update();
    // Empty again at once. The line went low in between, so that an edge-triggered input sees a new edge.
    state.transmitterEmpty = true;
    if (state.mcr & r.MCR_LOOP_BIT) this.#arrive(value);
    this.#update();
    if ((state.mcr & r.MCR_LOOP_BIT) === 0) this.#options.sink(Uint8Array.of(value));
  }

  #fifoControl(value: number): void {
    const state = this.#state;
    const enabled = (value & r.FCR_ENABLE_BIT) !== 0;
    const toggled = ((value ^ state.fcr) & r.FCR_ENABLE_BIT) !== 0;
    if (toggled || (value & r.FCR_CLEAR_RECEIVE_BIT) !== 0) {
      state.received.length = 0;
      state.timeout = false;
    }
    // The other bits are taken only together with the enable bit (8.5).
    state.fcr = enabled ? value & r.FCR_KEPT_MASK : state.fcr & r.FCR_TRIGGER_MASK;
    this.#refill();
  }

  /** A character came off the line. In a full FIFO it is lost; without FIFOs it replaces RBR (8.4, OE). */
  #arrive(character: number): void {
    const { received } = this.#state;
    if (received.length >= this.#capacity()) {
      this.#state.errors |= r.LSR_OVERRUN_BIT;
      if (this.#capacity() > 1) return;
      received.length = 0;
    }
    received.push(character);
    this.#settle();
  }

  /** The guest reads RBR. An empty one gives what it gave before, an empty FIFO zero. */
  #take(): number {
    const state = this.#state;
    const empty = state.fcr & r.FCR_ENABLE_BIT ? 0 : state.last;
    const character = (state.received.shift() ?? empty) & 0xff;
    state.last = character;
    // The indication goes with the read (8.6.3) and comes back when the rest has lain long enough.
    state.timeout = false;
    this.#update();
    this.#reveal();
    if (state.received.length === 0) this.#refill();
    else this.#arm();
    this.#update();
    return character;
  }

  /**
   * Brings the next burst from the queue, as large as the trigger level, once the guest has read the last one:
   * a larger one would take the trigger level's meaning away.
   */
  #refill(): void {
    const state = this.#state;
    if (state.received.length === 0 && (state.mcr & r.MCR_LOOP_BIT) === 0) {
      const end = Math.min(state.queue.length, this.#head + this.#trigger());
      while (this.#head < end) state.received.push(state.queue[this.#head++]);
      if (this.#head === state.queue.length || this.#head >= 4096) {
        state.queue.splice(0, this.#head);
        this.#head = 0;
      }
      if (state.received.length > 0) this.#settle();
    }
    this.#update();
  }

  /** After characters came in: shows the first one's errors; nothing more is on its way, so time has passed. */
  #settle(): void {
    this.#reveal();
    this.#state.timeout = (this.#state.fcr & r.FCR_ENABLE_BIT) !== 0;
    this.#disarm();
  }

  /** PE, FE and BI show in LSR when their character is the next to be read (8.4). */
  #reveal(): void {
    this.#state.errors |= ((this.#state.received[0] ?? 0) >> 8) & r.LSR_CHARACTER_MASK;
  }

  /** Lets the character timeout come, four character times after the last read. */
  #arm(): void {
    const state = this.#state;
    const time = this.#options.time;
    if ((state.fcr & r.FCR_ENABLE_BIT) === 0 || state.received.length === 0) return;
    if (time === undefined) {
      state.timeout = true;
      return;
    }
    this.#lastRead = time.now();
    if (this.#timer === undefined) this.#wait(time, this.#characterTimeout());
  }

  #wait(time: Timebase, delay: bigint): void {
    this.#timer = time.schedule(delay, () => {
      this.#timer = undefined;
      if (this.#state.received.length === 0) return;
      const left = this.#lastRead + this.#characterTimeout() - time.now();
      if (left > 0n) return this.#wait(time, left);
      this.#state.timeout = true;
      this.#update();
    });
  }

  #disarm(): void {
    this.#timer?.();
    this.#timer = undefined;
  }

  /** Four times start bit, data, parity and stop bits, in nanoseconds. */
  #characterTimeout(): bigint {
    const { lcr, divisor } = this.#state;
    const length = 1 + 5 + (lcr & r.LCR_LENGTH_MASK) + (lcr & r.LCR_PARITY_BIT ? 1 : 0) +
      (lcr & r.LCR_STOP_BIT ? 2 : 1);
    return 4n * BigInt(length) * 16n * BigInt(divisor || 1) * 1_000_000_000n / r.CLOCK_HZ;
  }
}
