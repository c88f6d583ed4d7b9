/**
 * The speaker of a PC: what timer 2 sounds like through port 0x61, written down as tones with their times.
 *
 * Data sheet: IBM PC AT Technical Reference, "Speaker": an AND of port 0x61's data bit and timer 2's output.
 */
import type { Device, DeviceRange } from "../vm/device.ts";
import type { Timebase } from "./device_clock.ts";
import { flag, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Tones that are remembered: the last ones. */
const TONES_LIMIT = 4096;
/** Of `wav()`: samples a second, one byte each, and how much of the end it has at most. */
const SAMPLE_HZ = 22_050;
const WAV_LIMIT_S = 600;
const WAV_HEADER_BYTES = 44;
/** Samples of 8 bits are unsigned. */
const SILENCE = 0x80;
const LOUD = 0x40;
const SECOND = 1_000_000_000n;

/** A change of what is heard. */
export interface Tone {
  /** Nanoseconds of the machine's device time. */
  readonly at: bigint;
  /** The tone from then on, in Hz; 0 for silence. */
  readonly hz: number;
}

/** What is heard of a machine. */
export interface Sound {
  /** What was heard, oldest first: the last 4,096 changes. */
  readonly tones: readonly Tone[];
  /** What is heard now, in Hz; 0 for silence. */
  readonly hz: number;
  /**
   * What was heard, from the first tone that is remembered until now, ten minutes at most: a WAV file, mono, 22,050
   * samples of 8 bits a second. Tones above half of that are silent.
   */
  wav(): Uint8Array<ArrayBuffer>;
}

/** What the speaker hangs on. */
export interface SpeakerOptions {
  /** The clock of the tones' times. */
  readonly time: Timebase;
  /** Timer 2: the tone it makes, in Hz, and undefined while it makes none. */
  readonly timer: { readonly tone: number | undefined };
}

interface State {
  on: boolean;
}

const SHAPE: Shape<State> = { on: flag };

/** The speaker. It answers at no port: timer and port 0x61 tell it what changed. */
export class Speaker implements Device, Sound {
  /** Always "speaker". */
  readonly name = "speaker";
  /** None. */
  readonly ports: readonly DeviceRange[] = [];
  readonly #options: SpeakerOptions;
  readonly #tones: Tone[] = [];
  #state: State = { on: false };

  /** @param options What it hangs on. */
  constructor(options: SpeakerOptions) {
    this.#options = options;
  }

  /** What was heard, oldest first: the last 4,096 changes. */
  get tones(): readonly Tone[] {
    return this.#tones;
  }

  /** What is heard now, in Hz; 0 for silence. */
  get hz(): number {
    return this.#tones.at(-1)?.hz ?? 0;
  }

  /** Port 0x61's data bit changed. */
  connect(on: boolean): void {
    this.#state.on = on;
    this.update();
  }

  /** Timer 2 changed. */
  update(): void {
    const hz = this.#state.on ? this.#options.timer.tone ?? 0 : 0;
    if (hz === this.hz) return;
    this.#tones.push({ at: this.#options.time.now(), hz });
    if (this.#tones.length > TONES_LIMIT) this.#tones.shift();
  }

  /** The same as a WAV file. */
  wav(): Uint8Array<ArrayBuffer> {
    const now = this.#options.time.now();
    const longest = BigInt(WAV_LIMIT_S) * SECOND;
    const first = this.#tones[0]?.at ?? now;
    const start = now - first > longest ? now - longest : first;
    const place = (at: bigint) => at < start ? 0 : Number((at - start) * BigInt(SAMPLE_HZ) / SECOND);
    const samples = new Uint8Array(place(now)).fill(SILENCE);
    this.#tones.forEach(({ at, hz }, i) => {
      if (hz === 0 || hz > SAMPLE_HZ / 2) return;
      const from = place(at);
      const to = place(this.#tones[i + 1]?.at ?? now);
      const period = SAMPLE_HZ / hz;
      for (let s = from; s < to; s++) samples[s] += (s - from) % period < period / 2 ? LOUD : -LOUD;
    });
    return wavFile(samples);
  }

  /** Disconnected, and nothing remembered. */
  reset(): void {
    this.#state = { on: false };
    this.#tones.length = 0;
  }

  /** Whether it is connected; what was heard is no state. */
  save(): unknown {
    return saveRecord("speaker", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    this.#state = restoreRecord("speaker", 1, SHAPE, saved);
    this.update();
  }

  /** What is heard. */
  summary(): string {
    return this.hz === 0 ? "silent" : `${this.hz.toFixed(0)} Hz`;
  }

  /** What is heard now, and the last tones with their times in milliseconds. */
  inspect(): Record<string, number | string> {
    const last = this.#tones.slice(-8).map(({ at, hz }) => `${at / 1_000_000n}:${hz.toFixed(0)}`);
    return { hz: this.hz.toFixed(2), changes: this.#tones.length, last: last.join(" ") };
  }
}

/** A RIFF file of one format and one data chunk. */
function wavFile(samples: Uint8Array): Uint8Array<ArrayBuffer> {
  const PCM = 1;
  const file = new Uint8Array(WAV_HEADER_BYTES + samples.length);
  const view = new DataView(file.buffer);
  const ascii = (at: number, text: string) => file.set(new TextEncoder().encode(text), at);
  ascii(0, "RIFF");
  view.setUint32(4, file.length - 8, true);
  ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, PCM, true);
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, SAMPLE_HZ, true);
  view.setUint32(28, SAMPLE_HZ, true); // bytes a second
  view.setUint16(32, 1, true); // bytes a sample of all channels
  view.setUint16(34, 8, true); // bits a sample
  ascii(36, "data");
  view.setUint32(40, samples.length, true);
  file.set(samples, WAV_HEADER_BYTES);
  return file;
}
