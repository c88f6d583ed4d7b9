/**
 * The timer of a PC: Intel 8254. Channel 0 is the timer interrupt, 1 was for memory refresh, 2 is the speaker's.
 *
 * Data sheet: Intel 8254 Programmable Interval Timer, 231164-005.
 */
import { type DeviceHost, type InterruptLine, NO_LINE } from "../vm/device.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { ByteDevice } from "./byte_device.ts";
import type { Cancel, Timebase } from "./device_clock.ts";
import { CHANNEL_SHAPE, type ChannelState, PitChannel } from "./pit_channel.ts";
import type { SpeakerTimer } from "./port61.ts";
import { bits, flag, integer, list, record, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Ticks a second: 14.31818 MHz / 12. */
export const PIT_HZ = 1_193_182;

/** Port offsets: three counters, then the control word. */
const CONTROL = 3;
const CHANNELS = 3;
const CONTROL_BCD_BIT = 0x01;
const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
/** Channel bits of a control word that make it a read-back command. */
const READ_BACK = 3;
const READ_BACK_NO_COUNT_BIT = 0x20;
const READ_BACK_NO_STATUS_BIT = 0x10;
const STATUS_OUTPUT_BIT = 0x80;
const STATUS_NULL_COUNT_BIT = 0x40;

const SECOND = 1_000_000_000n;
/** The timer interrupt comes no oftener than this, as in KVM: a guest must not keep the host busy with it. */
const SHORTEST_NS = 200_000n;
/**
 * Timer interrupts that are made up for when the guest ran late: those of a quarter of a second. More would keep
 * other interrupts out and let waits end early after the guest had interrupts off for long.
 */
const OWED_LIMIT = 200;
const OWED_TICKS = PIT_HZ / 4;

const STATUS_BITS: RegisterBits = { OUT: 0x80, nullCount: 0x40, access: 0x30, mode: 0x0e, BCD: 0x01 };
const BITS = Object.fromEntries(Array.from({ length: CHANNELS }, (_, i) => [`status${i}`, STATUS_BITS]));

/** What is between the bus and a counting element. */
interface Port {
  /** Whether the next byte written or read is the high one. */
  writeHigh: boolean;
  readHigh: boolean;
  /** The low byte that was written first. */
  low: number;
  /** A latched count, -1 for none. Its low byte is read first, wherever unlatched reads have got to. */
  latch: number;
  /** Whether the low byte of the latched count was read. */
  latchHigh: boolean;
  /** A latched status, or -1. */
  status: number;
}

interface State {
  channels: ChannelState[];
  ports: Port[];
  /** Timer interrupts that were not seen. */
  owed: number;
}

const SHAPE: Shape<State> = {
  channels: list(record(CHANNEL_SHAPE), CHANNELS, CHANNELS),
  ports: list(
    record<Port>({
      writeHigh: flag,
      readHigh: flag,
      low: bits(8),
      latch: integer(-1, 0xffff),
      latchHigh: flag,
      status: integer(-1, 0xff),
    }),
    CHANNELS,
    CHANNELS,
  ),
  owed: integer(0, OWED_LIMIT),
};

/** What the timer is wired to. */
export interface Pit8254Options {
  /** Default "pit". */
  readonly name?: string;
  /** Ticks pass with this clock. */
  readonly time: Timebase;
  /** Channel 0's output. Default: ISA interrupt 0. */
  readonly irq?: number | InterruptLine;
  /** Whether channel 0 ticks 18.2 times a second as SeaBIOS leaves it (mode 2), for a guest started without one. */
  readonly configured?: boolean;
  /** What channel 2 sounds like may have changed. */
  readonly onTone?: () => void;
}

/** The timer at ports 0x40..0x43. Port 0x61 drives channel 2's gate and shows its output. */
export class Pit8254 extends ByteDevice implements SpeakerTimer {
  /** "pit" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0x40, length: 4 };
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = BITS;
  readonly #time: Timebase;
  readonly #irq: number | InterruptLine;
  #line: InterruptLine = NO_LINE;
  #raised = false;
  #epoch: bigint;
  readonly #configured: boolean;
  readonly #onTone: (() => void) | undefined;
  #channels: PitChannel[];
  #registers: Port[] = makePorts();
  #owed = 0;
  /** Until when channel 0's edges were counted. */
  #seen = 0;
  #cancel: Cancel | undefined;

  /** @param options What it is made of. */
  constructor(options: Pit8254Options) {
    super();
    this.name = options.name ?? "pit";
    this.#time = options.time;
    this.#epoch = this.#time.now();
    this.#configured = options.configured ?? false;
    this.#onTone = options.onTone;
    this.#channels = makeChannels(this.#configured, 0);
    this.#irq = options.irq ?? 0;
    if (typeof this.#irq !== "number") this.#line = this.#irq;
  }

  /** Channel 2's output. */
  get output2(): boolean {
    return this.#channels[2].output(this.#now());
  }

  /** The tone channel 2 makes, in Hz; undefined while it makes none. */
  get tone(): number | undefined {
    const channel = this.#channels[2];
    return channel.mode === 3 && channel.running ? PIT_HZ / channel.written : undefined;
  }

  /** Drives channel 2's gate. */
  setGate2(open: boolean): void {
    this.#channels[2].setGate(open, this.#now());
    this.#onTone?.();
  }

  /**
   * The CPU took the timer interrupt: one that came while the last was not taken follows. Wire it to the interrupt
   * controller's `onAcknowledge`, so that a guest that counts ticks keeps its time when the host runs it in slices.
   */
  acknowledged(): void {
    this.#count();
    if (this.#owed === 0) return;
    this.#owed--;
    this.#pulse();
  }

  /** Finds the interrupt input. */
  attach(host: DeviceHost): void {
    if (typeof this.#irq === "number") this.#line = host.line(this.#irq);
    this.#arm();
  }

  /** Lets go of the interrupt input and of timers. */
  detach(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#drive(false);
  }

  /** The guest reads a register. */
  protected readByte(offset: number): number {
    // The control word can't be read.
    if (offset === CONTROL) return 0xff;
    const port = this.#registers[offset];
    if (port.status >= 0) {
      const { status } = port;
      port.status = -1;
      return status;
    }
    const channel = this.#channels[offset];
    const both = channel.access !== ACCESS_LOW && channel.access !== ACCESS_HIGH;
    let value: number, high: boolean;
    if (port.latch >= 0) {
      value = port.latch;
      high = both ? port.latchHigh : channel.access === ACCESS_HIGH;
      if (both && !high) port.latchHigh = true;
      else port.latch = -1;
    } else {
      value = channel.value(this.#now());
      high = both ? port.readHigh : channel.access === ACCESS_HIGH;
      if (both) port.readHigh = !high;
    }
    return high ? value >> 8 : value & 0xff;
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number): void {
    this.#count();
    if (offset === CONTROL) this.#control(value);
    else this.#write(offset, value);
    this.#arm();
    if (offset >= 2) this.#onTone?.();
  }

  /** Power-on state. The data sheet leaves it undefined; here nothing counts, and channel 2's gate is closed. */
  reset(): void {
    this.#channels = makeChannels(this.#configured, this.#now());
    this.#registers = makePorts();
    this.#owed = 0;
    this.#seen = this.#now();
    this.#drive(false);
    this.#arm();
    this.#onTone?.();
  }

  /** Channels with what they have counted. */
  save(): unknown {
    this.#count();
    const now = this.#now();
    return saveRecord<State>("pit8254", 1, {
      channels: this.#channels.map((c) => c.save(now)),
      ports: this.#registers,
      owed: this.#owed,
    });
  }

  /** The channels go on from where they were. @throws {InputError} If the record is foreign or damaged. */
  restore(saved: unknown): void {
    const state = restoreRecord("pit8254", 1, SHAPE, saved);
    // A tick begins now, so that nothing of the saved ticks is lost in rounding.
    this.#epoch = this.#time.now();
    state.channels.forEach((channel, i) => this.#channels[i].restore(channel, 0));
    this.#registers = state.ports;
    this.#owed = state.owed;
    this.#seen = 0;
    this.#drive(this.#channels[0].output(0));
    this.#arm();
    this.#onTone?.();
  }

  /** How often channel 0 interrupts, and what channel 2 sounds like. */
  summary(): string {
    const [first, , third] = this.#channels;
    const tick = first.running ? `IRQ 0 at ${(PIT_HZ / first.count).toFixed(2)} Hz` : "IRQ 0 stopped";
    return third.running && third.mode === 3 ? `${tick}, tone of ${this.tone?.toFixed(0)} Hz` : tick;
  }

  /** The interrupts it drives. */
  get interrupts(): readonly number[] {
    return typeof this.#irq === "number" ? [this.#irq] : [];
  }

  /** Status (as the read-back command gives it), count, value and frequency of each channel. */
  inspect(): Record<string, number | string> {
    const now = this.#now();
    const shown: Record<string, number | string> = { owed: this.#owed };
    this.#channels.forEach((channel, i) => {
      shown[`status${i}`] = statusOf(channel, now);
      shown[`count${i}`] = channel.count;
      shown[`value${i}`] = channel.value(now);
      shown[`hz${i}`] = channel.running ? (PIT_HZ / channel.count).toFixed(2) : "stopped";
    });
    return shown;
  }

  #now(): number {
    return Number((this.#time.now() - this.#epoch) * BigInt(PIT_HZ) / SECOND);
  }

  #control(value: number): void {
    const select = value >> 6;
    if (select === READ_BACK) return this.#readBack(value);
    const port = this.#registers[select];
    const channel = this.#channels[select];
    const access = value >> 4 & 3;
    if (access === ACCESS_LATCH) return this.#latchCount(select);
    channel.setMode(value >> 1 & 7, access, (value & CONTROL_BCD_BIT) !== 0);
    Object.assign(port, { writeHigh: false, readHigh: false, latch: -1, status: -1 });
    if (select === 0) this.#owed = 0;
  }

  /** Latches count, status or both of the channels in bits 3:1; what is latched already stays. */
  #readBack(value: number): void {
    const now = this.#now();
    for (let i = 0; i < CHANNELS; i++) {
      if ((value & 2 << i) === 0) continue;
      if ((value & READ_BACK_NO_COUNT_BIT) === 0) this.#latchCount(i);
      const port = this.#registers[i];
      if ((value & READ_BACK_NO_STATUS_BIT) !== 0 || port.status >= 0) continue;
      const channel = this.#channels[i];
      port.status = statusOf(channel, now);
    }
  }

  #latchCount(i: number): void {
    const port = this.#registers[i];
    if (port.latch >= 0) return;
    port.latch = this.#channels[i].value(this.#now());
    port.latchHigh = false;
  }

  #write(i: number, value: number): void {
    const port = this.#registers[i];
    const channel = this.#channels[i];
    const now = this.#now();
    if (channel.access === ACCESS_LOW) channel.load(value, now);
    else if (channel.access === ACCESS_HIGH) channel.load(value << 8, now);
    else if (port.writeHigh) {
      port.writeHigh = false;
      channel.load(port.low | value << 8, now);
    } else {
      port.writeHigh = true;
      port.low = value;
      channel.halfWritten();
    }
  }

  /** Brings channel 0's interrupt up to date. */
  #count(): void {
    const channel = this.#channels[0];
    const now = this.#now();
    const edges = channel.edges(this.#seen, now);
    const level = channel.output(now);
    this.#seen = now;
    if (edges > 0) {
      this.#pulse();
      this.#owed = Math.min(this.#owed + edges - 1, OWED_LIMIT, Math.floor(OWED_TICKS / channel.count));
    }
    // In the periodic modes only the rising edge matters: between two of them the line stays high.
    if (!channel.periodic || !channel.running) this.#drive(level);
  }

  #pulse(): void {
    this.#drive(false);
    this.#drive(true);
  }

  #drive(level: boolean): void {
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }

  /** Sets the timer to channel 0's next edge. */
  #arm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#count();
    const next = this.#channels[0].nextRise(this.#seen);
    if (next === undefined) return;
    // Rounded up, so that the tick is over when the timer runs.
    const at = (BigInt(next) * SECOND + BigInt(PIT_HZ) - 1n) / BigInt(PIT_HZ);
    const delay = this.#epoch + at - this.#time.now();
    this.#cancel = this.#time.schedule(delay > SHORTEST_NS ? delay : SHORTEST_NS, () => {
      this.#cancel = undefined;
      this.#arm();
    });
  }
}

/** The status byte of the read-back command (figure 12). */
function statusOf(channel: PitChannel, now: number): number {
  return (channel.output(now) ? STATUS_OUTPUT_BIT : 0) |
    (channel.nullCount(now) ? STATUS_NULL_COUNT_BIT : 0) |
    channel.access << 4 | channel.mode << 1 | (channel.bcd ? CONTROL_BCD_BIT : 0);
}

/** Gates 0 and 1 are tied high; gate 2 is port 0x61's. */
function makeChannels(configured: boolean, now: number): PitChannel[] {
  const channels = [new PitChannel(true), new PitChannel(true), new PitChannel(false)];
  if (configured) {
    channels[0].setMode(2, 3, false);
    channels[0].load(0, now);
  }
  return channels;
}

function makePorts(): Port[] {
  return Array.from(
    { length: CHANNELS },
    () => ({ writeHigh: false, readHigh: false, low: 0, latch: -1, latchHigh: false, status: -1 }),
  );
}
