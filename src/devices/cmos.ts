/**
 * Real-time clock and CMOS RAM: Motorola MC146818 as a PC/AT wires it.
 *
 * Data sheet: Motorola MC146818A Real-Time Clock Plus RAM, 1984,
 * https://www.nxp.com/docs/en/data-sheet/MC146818A.pdf; NMI mask: IBM PC AT Technical Reference, 1-56.
 */
import { type DeviceHost, type InterruptLine, NO_LINE } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { ByteDevice } from "./byte_device.ts";
import { checksum, CMOS_BYTES, type CmosLayout, layOut } from "./cmos_layout.ts";
import type { Cancel, Timebase } from "./device_clock.ts";
import { advance, CENTURY, readTime, REGISTER_B, setTime } from "./rtc_time.ts";
import { bits, flag, integer, list, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Port offsets. */
const INDEX = 0;
const NMI_MASK_BIT = 0x80;
const INDEX_MASK = 0x7f;

const REGISTER_A = 0x0a;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
const A_UPDATE_BIT = 0x80;
const A_DIVIDER_MASK = 0x70;
const A_RATE_MASK = 0x0f;
/** The highest divider setting with a time base; those above hold the chain in reset. */
const A_DIVIDER_RUNS = 0x20;
const B_SET_BIT = 0x80;
const B_UPDATE_BIT = 0x10;
/** PIE, AIE, UIE; PF, AF, UF have the same places in C. */
const INTERRUPTS_MASK = 0x70;
const B_SQUARE_WAVE_BIT = 0x08;
const C_REQUEST_BIT = 0x80;
const C_PERIODIC_BIT = 0x40;
const C_ALARM_BIT = 0x20;
const C_UPDATE_BIT = 0x10;
const D_VALID_BIT = 0x80;

const SECOND = 1_000_000_000n;
/** Cycles of the 32,768 Hz time base in a second. */
const CYCLES = 32_768n;
/** UIP is set this long before an update, in cycles: 244 us. */
const UPDATE_CYCLES = 8n;
/** After the chain leaves reset the first update comes half a second later. */
const HALF = SECOND / 2n;

const BITS: Readonly<Record<string, RegisterBits>> = {
  A: { UIP: A_UPDATE_BIT, DV: A_DIVIDER_MASK, RS: A_RATE_MASK },
  B: {
    SET: B_SET_BIT,
    PIE: 0x40,
    AIE: 0x20,
    UIE: B_UPDATE_BIT,
    SQWE: 0x08,
    DM: 0x04,
    "24h": 0x02,
    DSE: 0x01,
  },
  C: { IRQF: C_REQUEST_BIT, PF: C_PERIODIC_BIT, AF: C_ALARM_BIT, UF: C_UPDATE_BIT },
  D: { VRT: D_VALID_BIT },
};

interface State {
  /** Bits 6:0 of port 0x70. */
  index: number;
  nmiMasked: boolean;
  /** Clock registers and RAM; C holds its flags, A's UIP is made when read. */
  ram: number[];
  /** Nanoseconds since the last update cycle. */
  phase: number;
  /** Periodic interrupts that came due while PF was still set. */
  owed: number;
}

const SHAPE: Shape<State> = {
  index: bits(7),
  nmiMasked: flag,
  ram: list(bits(8), CMOS_BYTES, CMOS_BYTES),
  phase: integer(0, Number(SECOND) - 1),
  owed: bits(13),
};

/** What clock and RAM are made of. */
export interface CmosOptions extends CmosLayout {
  /** Default "cmos". */
  readonly name?: string;
  /** Time passes with this clock. */
  readonly time: Timebase;
  /** What the clock shows at first, in UTC. Default: now. */
  readonly date?: Date;
  /** Interrupt input. Default: ISA interrupt 8. */
  readonly irq?: number | InterruptLine;
}

/** The clock and RAM at ports 0x70 and 0x71. */
export class Cmos extends ByteDevice {
  /** "cmos" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0x70, length: 2 };
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = BITS;
  readonly #time: Timebase;
  readonly #irq: number | InterruptLine;
  #line: InterruptLine = NO_LINE;
  #raised = false;
  #index = 0;
  #nmiMasked = false;
  readonly #ram: number[] = new Array(CMOS_BYTES).fill(0);
  /** When the divider chain was at zero, and how much of it has been worked off since. */
  #epoch: bigint;
  #seconds = 0n;
  #cycle = 0n;
  #owed = 0;
  /** When the periodic interrupt that waits was noticed to be due, or was given as one that was owed. */
  #due = 0n;
  #cancel: Cancel | undefined;

  /** @param options What it is made of. */
  constructor(options: CmosOptions) {
    super();
    this.name = options.name ?? "cmos";
    this.#time = options.time;
    this.#irq = options.irq ?? 8;
    if (typeof this.#irq !== "number") this.#line = this.#irq;
    this.#ram[REGISTER_A] = 0x26;
    this.#ram[REGISTER_B] = 0x02;
    this.#ram[REGISTER_D] = D_VALID_BIT;
    layOut(this.#ram, options);
    const date = options.date ?? new Date();
    setTime(this.#ram, date.getTime());
    this.#epoch = this.#time.now() - BigInt(date.getUTCMilliseconds()) * 1_000_000n;
  }

  /** Whether bit 7 of port 0x70 keeps NMIs from the CPU. */
  get nmiMasked(): boolean {
    return this.#nmiMasked;
  }

  /** The time the clock shows. */
  get date(): Date {
    this.#sync();
    return new Date(readTime(this.#ram));
  }

  /** Reads a byte of RAM or a register, without the side effect that reading C has. */
  peek(index: number): number {
    this.#sync();
    return this.#show(index & INDEX_MASK);
  }

  /**
   * Sets a byte of RAM, as a set-up program would; the checksum is kept right.
   *
   * @throws {InputError} If `index` is not in 0x0e..0x7f or `value` is not a byte.
   */
  poke(index: number, value: number): void {
    if (!(index > REGISTER_D && index < CMOS_BYTES) || !(value >= 0 && value <= 0xff)) {
      throw new InputError(`CMOS RAM has no place for ${value} at ${index}`, {
        remedy: "use an index from 0x0e to 0x7f and a byte; the guest sets the clock",
      });
    }
    this.#ram[index] = value;
    checksum(this.#ram);
  }

  /** Finds the interrupt input. */
  attach(host: DeviceHost): void {
    if (typeof this.#irq === "number") this.#line = host.line(this.#irq);
    this.#update();
  }

  /** Lets go of the interrupt input and of timers. */
  detach(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#raised) this.#line.lower();
    this.#raised = false;
  }

  /** The guest reads a register. */
  protected readByte(offset: number): number {
    // The index register is write-only.
    if (offset === INDEX) return 0xff;
    this.#sync();
    const value = this.#show(this.#index);
    if (this.#index === REGISTER_C) this.#acknowledge();
    return value;
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number): void {
    if (offset === INDEX) {
      this.#index = value & INDEX_MASK;
      this.#nmiMasked = (value & NMI_MASK_BIT) !== 0;
      return;
    }
    this.#sync();
    switch (this.#index) {
      case REGISTER_A: {
        const ran = this.#runs();
        this.#ram[REGISTER_A] = value & ~A_UPDATE_BIT;
        if (!ran && this.#runs()) this.#restart(this.#time.now() - HALF);
        this.#owed = 0;
        break;
      }
      case REGISTER_B:
        // Setting SET ends the update cycle and with it its interrupt.
        this.#ram[REGISTER_B] = value & B_SET_BIT ? value & ~B_UPDATE_BIT : value;
        this.#owed = 0;
        break;
      case REGISTER_C:
      case REGISTER_D:
        return;
      default:
        this.#ram[this.#index] = value;
        return;
    }
    this.#update();
    this.#arm();
  }

  /** The RESET pin: interrupts off, flags cleared. Time and RAM are the battery's and stay. */
  reset(): void {
    this.#sync();
    this.#index = 0;
    this.#nmiMasked = false;
    this.#ram[REGISTER_B] &= ~(INTERRUPTS_MASK | B_SQUARE_WAVE_BIT);
    this.#ram[REGISTER_C] = 0;
    this.#owed = 0;
    this.#update();
    this.#arm();
  }

  /** Clock, RAM and what is pending. */
  save(): unknown {
    this.#sync();
    return saveRecord<State>("cmos", 1, {
      index: this.#index,
      nmiMasked: this.#nmiMasked,
      ram: this.#ram,
      phase: this.#runs() ? Number(this.#phase()) : 0,
      owed: this.#owed,
    });
  }

  /** The clock goes on from the saved time. @throws {InputError} If the record is foreign or damaged. */
  restore(saved: unknown): void {
    const state = restoreRecord("cmos", 1, SHAPE, saved);
    this.#index = state.index;
    this.#nmiMasked = state.nmiMasked;
    this.#ram.splice(0, CMOS_BYTES, ...state.ram);
    this.#owed = state.owed;
    this.#restart(this.#time.now() - BigInt(state.phase));
    this.#update();
    this.#arm();
  }

  /** What it shows, and which interrupts are on. */
  summary(): string {
    return new Date(this.date).toISOString().replace(".000Z", "Z");
  }

  /** The interrupts it drives. */
  get interrupts(): readonly number[] {
    return typeof this.#irq === "number" ? [this.#irq] : [];
  }

  /** Clock registers, index and time. */
  inspect(): Record<string, number | string> {
    this.#sync();
    const registers: Record<string, number | string> = {
      index: this.#index,
      nmiMask: this.#nmiMasked ? 1 : 0,
      time: new Date(readTime(this.#ram)).toISOString(),
    };
    for (
      const [name, index] of Object.entries({ A: REGISTER_A, B: REGISTER_B, C: REGISTER_C, D: REGISTER_D })
    ) {
      registers[name] = this.#show(index);
    }
    registers.shutdown = this.#ram[0x0f];
    registers.century = this.#ram[CENTURY];
    return registers;
  }

  #show(index: number): number {
    switch (index) {
      case REGISTER_A:
        return this.#ram[REGISTER_A] | (this.#updating() ? A_UPDATE_BIT : 0);
      case REGISTER_C:
        return this.#ram[REGISTER_C] | (this.#requests() ? C_REQUEST_BIT : 0);
      default:
        return this.#ram[index];
    }
  }

  #runs(): boolean {
    return (this.#ram[REGISTER_A] & A_DIVIDER_MASK) <= A_DIVIDER_RUNS;
  }

  #phase(): bigint {
    return this.#time.now() - this.#epoch - this.#seconds * SECOND;
  }

  #updating(): boolean {
    return this.#runs() && (this.#ram[REGISTER_B] & B_SET_BIT) === 0 &&
      this.#phase() * CYCLES >= (CYCLES - UPDATE_CYCLES) * SECOND;
  }

  #requests(): boolean {
    return (this.#ram[REGISTER_C] & this.#ram[REGISTER_B] & INTERRUPTS_MASK) !== 0;
  }

  /** Cycles between periodic interrupts, 0n for none (table 5; rates 1 and 2 are those of 8 and 9). */
  #period(): bigint {
    const rate = this.#ram[REGISTER_A] & A_RATE_MASK;
    return rate === 0 ? 0n : 1n << BigInt((rate < 3 ? rate + 7 : rate) - 1);
  }

  /** Lets the divider chain begin at `epoch`. */
  #restart(epoch: bigint): void {
    this.#epoch = epoch;
    this.#seconds = 0n;
    this.#cycle = (this.#time.now() - epoch) * CYCLES / SECOND;
  }

  /** Works off the time that has passed since the last look. */
  #sync(): void {
    if (!this.#runs()) return;
    const passed = this.#time.now() - this.#epoch;
    const seconds = passed / SECOND - this.#seconds;
    if (seconds > 0n) {
      this.#seconds += seconds;
      if ((this.#ram[REGISTER_B] & B_SET_BIT) === 0) {
        const alarm = advance(this.#ram, Number(seconds));
        this.#ram[REGISTER_C] |= C_UPDATE_BIT | (alarm ? C_ALARM_BIT : 0);
      }
    }
    const cycle = passed * CYCLES / SECOND;
    const period = this.#period();
    if (period > 0n) {
      this.#periods(Number(cycle / period - this.#cycle / period), Math.ceil(Number(CYCLES / period) / 4));
    }
    this.#cycle = cycle;
    this.#update();
  }

  /**
   * `count` periods passed. A guest that counts the interrupts is given those it was too late for when it reads
   * C, up to a quarter of a second's worth, so that its time does not fall behind when the host runs it in slices.
   */
  #periods(count: number, most: number): void {
    if (count === 0) return;
    const waiting = this.#ram[REGISTER_C] & C_PERIODIC_BIT ? count : count - 1;
    if (waiting < count) this.#due = this.#time.now();
    this.#ram[REGISTER_C] |= C_PERIODIC_BIT;
    if (this.#ram[REGISTER_B] & C_PERIODIC_BIT) this.#owed = Math.min(this.#owed + waiting, most);
  }

  /**
   * C was read: its flags and the interrupt go. One that is owed comes at once, unless the guest took a good part of a
   * period to come here: it would do nothing else any more than take interrupts.
   */
  #acknowledge(): void {
    this.#ram[REGISTER_C] = 0;
    this.#update();
    const now = this.#time.now();
    const took = (now - this.#due) * CYCLES / SECOND;
    if (this.#owed === 0 || 2n * took > this.#period()) return;
    this.#owed--;
    this.#due = now;
    this.#ram[REGISTER_C] = C_PERIODIC_BIT;
    this.#update();
  }

  #update(): void {
    const level = this.#requests();
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }

  /** Sets the timer to the next period or update that an enabled interrupt waits for. */
  #arm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const enabled = this.#ram[REGISTER_B];
    if (!this.#runs() || (enabled & INTERRUPTS_MASK) === 0) return;
    const passed = this.#time.now() - this.#epoch;
    let at: bigint | undefined;
    if (enabled & (C_ALARM_BIT | C_UPDATE_BIT)) at = (passed / SECOND + 1n) * SECOND;
    const period = this.#period();
    if (enabled & C_PERIODIC_BIT && period > 0n) {
      const cycle = (passed * CYCLES / SECOND / period + 1n) * period;
      // Rounded up, so that the cycle is over when the timer runs.
      const next = (cycle * SECOND + CYCLES - 1n) / CYCLES;
      if (at === undefined || next < at) at = next;
    }
    if (at === undefined) return;
    this.#cancel = this.#time.schedule(at - passed, () => {
      this.#cancel = undefined;
      this.#sync();
      this.#arm();
    });
  }
}
