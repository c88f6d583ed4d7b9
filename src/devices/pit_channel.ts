/**
 * One counter of the 8254, as a function of time: nothing here runs, it is asked what the counter would show.
 *
 * Data sheet: Intel 8254 Programmable Interval Timer, 231164-005, "Mode Definitions".
 */
import { bits, flag, integer, type Shape } from "./state.ts";

/** A channel's state. Times are in ticks of the chip's clock; what is saved is relative. */
export interface ChannelState {
  /** 0..5. */
  mode: number;
  bcd: boolean;
  /** 1 low byte, 2 high byte, 3 low then high. */
  access: number;
  /** Count register as it was loaded, 1..65536 (BCD: 1..10000). */
  count: number;
  /** Count to be loaded at the end of this (half) period, or 0. */
  next: number;
  /** Whether a count was written since the mode was set. */
  armed: boolean;
  /** Modes 1 and 5: whether the gate has triggered it. */
  triggered: boolean;
  gate: boolean;
  /** Ticks counted when it stopped, or so far. */
  counted: number;
}

/** What a saved channel must look like. */
export const CHANNEL_SHAPE: Shape<ChannelState> = {
  mode: integer(0, 5),
  bcd: flag,
  access: integer(1, 3),
  count: integer(1, 0x1_0000),
  next: integer(0, 0x1_0000),
  armed: flag,
  triggered: flag,
  gate: flag,
  counted: bits(53),
};

/** The counting element of a channel. */
export class PitChannel {
  #state: ChannelState;
  /** Tick at which `counted` was right, while it counts. */
  #since = 0;

  /** @param gate The gate's level at power-on. */
  constructor(gate: boolean) {
    this.#state = {
      mode: 0,
      bcd: false,
      access: 3,
      count: 0x1_0000,
      next: 0,
      armed: false,
      triggered: false,
      gate,
      counted: 0,
    };
  }

  /** 0..5. */
  get mode(): number {
    return this.#state.mode;
  }

  /** Whether it counts in BCD. */
  get bcd(): boolean {
    return this.#state.bcd;
  }

  /** 1 low byte, 2 high byte, 3 low then high. */
  get access(): number {
    return this.#state.access;
  }

  /** Whether the output repeats by itself. */
  get periodic(): boolean {
    return this.#state.mode === 2 || this.#state.mode === 3;
  }

  /** Whether it counts now. */
  get running(): boolean {
    const { mode, armed, triggered, gate } = this.#state;
    if (!armed) return false;
    return mode === 1 || mode === 5 ? triggered : gate;
  }

  /** Ticks of a whole period, or until the terminal count. */
  get count(): number {
    return this.#state.count;
  }

  /** The same of the count that was written last, which a running period or half period may still keep out. */
  get written(): number {
    return this.#state.next || this.#state.count;
  }

  /** Whether a count was written that is not loaded (status bit "null count"). */
  nullCount(now: number): boolean {
    this.#settle(now);
    return !this.#state.armed || this.#state.next !== 0;
  }

  /** A control word: the output goes to its first level and waits for a count. */
  setMode(mode: number, access: number, bcd: boolean): void {
    const { gate } = this.#state;
    Object.assign(this.#state, { mode: mode > 5 ? mode - 4 : mode, access, bcd, gate });
    Object.assign(this.#state, { armed: false, triggered: false, next: 0, counted: 0 });
  }

  /** The first byte of two was written: mode 0 stops until the second comes. */
  halfWritten(): void {
    if (this.#state.mode === 0) this.#state.armed = false;
  }

  /** A whole count was written: 16 bits as the guest wrote them. */
  load(raw: number, now: number): void {
    this.#settle(now);
    const state = this.#state;
    const count = state.bcd ? fromBcd(raw) || 10_000 : raw || 0x1_0000;
    if (state.armed && (this.periodic || state.mode === 1 || state.mode === 5)) {
      // Takes effect at the end of the period, the half period, or with the next trigger.
      state.next = count;
      return;
    }
    Object.assign(state, { count, next: 0, armed: true, counted: 0 });
    this.#since = now;
  }

  /** The gate's input. A rising edge starts modes 1, 2, 3 and 5 over; low holds 0, 2, 3 and 4. */
  setGate(level: boolean, now: number): void {
    this.#settle(now);
    const state = this.#state;
    if (level === state.gate) return;
    const counted = this.#counted(now);
    state.gate = level;
    this.#since = now;
    const starts = state.mode !== 0 && state.mode !== 4;
    if (level && starts) {
      if (state.next !== 0) state.count = state.next;
      Object.assign(state, { next: 0, counted: 0, triggered: state.armed });
    } else {
      state.counted = counted;
    }
  }

  /** The output's level. */
  output(now: number): boolean {
    this.#settle(now);
    const { mode, count, armed, triggered, gate } = this.#state;
    const counted = this.#counted(now);
    switch (mode) {
      case 0:
        return armed && counted >= count;
      case 1:
        return !triggered || counted >= count;
      case 2:
        return !armed || !gate || counted % count !== count - 1;
      case 3:
        return !armed || !gate || counted % count < Math.ceil(count / 2);
      case 4:
        return !armed || counted !== count;
      default:
        return !triggered || counted !== count;
    }
  }

  /** What the guest reads: 16 bits, BCD if so set. */
  value(now: number): number {
    this.#settle(now);
    const { mode, count, bcd } = this.#state;
    const modulus = bcd ? 10_000 : 0x1_0000;
    const counted = this.#counted(now);
    let value: number;
    if (mode === 3) {
      // Down by two, twice a period; an odd count is made even first.
      const half = Math.ceil(count / 2);
      const place = counted % count;
      value = (count & ~1) - 2 * (place < half ? place : place - half);
    } else if (mode === 2) {
      value = count - counted % count;
    } else {
      value = count - counted;
    }
    value = (value % modulus + modulus) % modulus;
    return bcd ? toBcd(value) : value;
  }

  /** Rising edges of the output after tick `from` until `to` (`now`), in modes 2, 3 and 4. */
  edges(from: number, to: number): number {
    this.#settle(to);
    const { mode, count, counted } = this.#state;
    if (!this.running) return 0;
    // Before the count was loaded there was another; the edge of the change itself is ours.
    const first = counted + Math.max(from - this.#since, -1);
    const last = counted + to - this.#since;
    if (mode === 4) return first <= count && last > count ? 1 : 0;
    return this.periodic ? Math.max(0, Math.floor(last / count) - Math.floor(first / count)) : 0;
  }

  /** The next tick after `now` at which the output rises; undefined if it does not. */
  nextRise(now: number): number | undefined {
    this.#settle(now);
    if (!this.running) return undefined;
    const { mode, count } = this.#state;
    const counted = this.#counted(now);
    if (this.periodic) return now + count - counted % count;
    // Modes 4 and 5 give a low strobe of one tick.
    const rise = mode === 4 || mode === 5 ? count + 1 : count;
    return counted < rise ? now + rise - counted : undefined;
  }

  /** The state with times relative to `now`. */
  save(now: number): ChannelState {
    this.#settle(now);
    const counted = this.#counted(now);
    const { count, bcd } = this.#state;
    const modulus = bcd ? 10_000 : 0x1_0000;
    let kept = counted;
    if (this.periodic) kept = counted % count;
    // Behind the terminal count only the value that wraps around matters.
    else if (counted > count + modulus) kept = count + 1 + (counted - count - 1) % modulus;
    return { ...this.#state, counted: kept };
  }

  /** Goes on at `now` from a saved state. */
  restore(state: ChannelState, now: number): void {
    this.#state = { ...state };
    this.#since = now;
  }

  #counted(now: number): number {
    return this.#state.counted + (this.running ? now - this.#since : 0);
  }

  /** Loads a count whose time has come (mode 2: end of the period; mode 3: of the half period). */
  #settle(now: number): void {
    const state = this.#state;
    if (state.next === 0 || !this.periodic || !this.running) return;
    const counted = this.#counted(now);
    const first = state.mode === 2 ? state.count : Math.ceil(state.count / 2);
    const place = state.counted % state.count;
    const low = place >= first;
    const end = state.counted - place + (low ? state.count : first);
    if (counted < end) return;
    const { next } = state;
    // In mode 3 the half period that follows is the other one.
    const into = state.mode === 3 && !low ? Math.ceil(next / 2) : 0;
    this.#since += end - state.counted;
    Object.assign(state, { count: next, next: 0, counted: into });
  }
}

function fromBcd(raw: number): number {
  return (raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15);
}

function toBcd(value: number): number {
  return Math.floor(value / 1000) << 12 | Math.floor(value / 100) % 10 << 8 |
    Math.floor(value / 10) % 10 << 4 |
    value % 10;
}
