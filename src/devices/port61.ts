/**
 * System control port B: timer 2's gate and output, the speaker, and the memory refresh toggle.
 *
 * Data sheet: Intel 82371SB (PIIX3), April 1997, 2.5.5.1 "NMISC - NMI Status and Control Register".
 */
import { ByteDevice } from "./byte_device.ts";
import type { Timebase } from "./device_clock.ts";
import { bits, flag, restoreRecord, saveRecord, type Shape } from "./state.ts";

const GATE_BIT = 0x01;
const SPEAKER_BIT = 0x02;
/** What can be written: timer 2 gate, speaker, SERR# and IOCHK# disable. */
const WRITABLE_MASK = 0x0f;
const REFRESH_BIT = 0x10;
const OUTPUT_BIT = 0x20;
/** Memory is refreshed, and the bit toggles, every 15.085 us. */
const REFRESH_NS = 15_085n;

interface State {
  control: number;
  /** Toggles with each read where there is no clock or no timer to ask. */
  toggle: boolean;
}

const SHAPE: Shape<State> = { control: bits(4), toggle: flag };

/** Timer 2 as this port sees it. */
export interface SpeakerTimer {
  /** Drives channel 2's gate. */
  setGate2(open: boolean): void;
  /** Channel 2's output. */
  readonly output2: boolean;
}

/** What the port is made of. */
export interface Port61Options {
  /** Default "port61". */
  readonly name?: string;
  /** The clock the refresh toggle follows. Without it, each read toggles. */
  readonly time?: Timebase;
  /** The timer chip. Without it each read toggles its output, so that no calibration loop waits for ever. */
  readonly timer?: SpeakerTimer;
  /** The speaker's data bit changed. */
  readonly onSpeaker?: (on: boolean) => void;
}

/** One register at port 0x61. */
export class Port61 extends ByteDevice {
  /** "port61" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0x61, length: 1 };
  readonly #options: Port61Options;
  #state: State = { control: 0, toggle: false };

  /** @param options What it is made of. */
  constructor(options: Port61Options = {}) {
    super();
    this.#options = options;
    this.name = options.name ?? "port61";
  }

  /** The guest reads a register. */
  protected readByte(): number {
    this.#state.toggle = !this.#state.toggle;
    return this.#show();
  }

  /** The guest writes a register. */
  protected writeByte(_offset: number, value: number): void {
    const changed = value ^ this.#state.control;
    this.#state.control = value & WRITABLE_MASK;
    if (changed & GATE_BIT) this.#options.timer?.setGate2((value & GATE_BIT) !== 0);
    if (changed & SPEAKER_BIT) this.#options.onSpeaker?.((value & SPEAKER_BIT) !== 0);
  }

  /** Gate closed, speaker off. */
  reset(): void {
    this.writeByte(0, 0);
    this.#state.toggle = false;
  }

  /** The register. Timer and speaker have their own. */
  save(): unknown {
    return saveRecord("port61", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    const state = restoreRecord("port61", 1, SHAPE, saved);
    this.writeByte(0, state.control);
    this.#state = state;
  }

  /** The register as it would read. */
  inspect(): Record<string, number> {
    const { control } = this.#state;
    return { status: this.#show(), gate2: control & GATE_BIT, speaker: control & SPEAKER_BIT ? 1 : 0 };
  }

  #show(): number {
    const { control, toggle } = this.#state;
    const { time, timer } = this.#options;
    const refresh = time === undefined ? toggle : (time.now() / REFRESH_NS & 1n) === 1n;
    const output = timer === undefined ? toggle : timer.output2;
    return control | (refresh ? REFRESH_BIT : 0) | (output ? OUTPUT_BIT : 0);
  }
}
