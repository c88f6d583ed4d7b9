/**
 * An MF2 keyboard with 102 keys.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard, Commands from the System".
 */
import type { Timebase } from "./device_clock.ts";
import { bits, flag, integer, list, type Shape } from "./state.ts";
import {
  ACK,
  EVENTS_LIMIT,
  type Ps2Device,
  type Ps2Queues,
  REPLIES_LIMIT,
  RESEND,
  SELF_TEST_PASSED,
} from "./ps2_device.ts";
import { keyName, keysFor, scanCode, type ScanCodeSet } from "./scancodes.ts";
import { ALL_SET_3_CODES } from "./scancodes_set3.ts";
import { DEFAULT_TYPEMATIC, Typematic } from "./typematic.ts";

const SET_LEDS = 0xed;
const ECHO = 0xee;
const SCAN_CODE_SET = 0xf0;
const IDENTIFY = 0xf2;
const TYPEMATIC = 0xf3;
const ENABLE = 0xf4;
const DEFAULT_DISABLE = 0xf5;
const DEFAULT = 0xf6;
/** What all keys send in set 3: makes that repeat, makes and breaks, makes, or all of them. */
const ALL_TYPEMATIC = 0xf7;
const ALL_MAKE_BREAK = 0xf8;
const ALL_MAKE = 0xf9;
const ALL_TYPEMATIC_MAKE_BREAK = 0xfa;
/** What those keys send whose codes follow. */
const KEY_TYPEMATIC = 0xfb;
const KEY_MAKE_BREAK = 0xfc;
const KEY_MAKE = 0xfd;
/** Commands begin here; key codes are below. */
const FIRST_COMMAND = 0xed;
const RESET = 0xff;
/** The codes of Pause begin so: it does not repeat. */
const PAUSE = 0xe1;
const IDENTITY = [0xab, 0x83];

/** A keyboard's state. */
export interface KeyboardState extends Ps2Queues {
  /** Bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
  leds: number;
  set: number;
  /** Codes of the keys that send no breaks in set 3. */
  breakless: number[];
  typematic: number;
  scanning: boolean;
  /** The command whose parameter comes next, or 0. */
  command: number;
  /** For the resend command. */
  lastSent: number;
}

/** What a saved keyboard must look like. */
export const KEYBOARD_SHAPE: Shape<KeyboardState> = {
  replies: list(bits(8), 0, REPLIES_LIMIT),
  events: list(bits(8), 0, EVENTS_LIMIT),
  leds: bits(3),
  set: integer(1, 3),
  breakless: list(bits(8), 0, ALL_SET_3_CODES.length),
  typematic: bits(7),
  scanning: flag,
  command: bits(8),
  lastSent: bits(8),
};

/** A keyboard; what its keys send is queued until the guest has read what came before. */
export class Ps2Keyboard implements Ps2Device {
  /** Called when there is something to take; the 8042 sets it. */
  onEvent: () => void = () => {};
  /** Called when the guest switches the lights: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
  onLeds: (leds: number) => void = () => {};
  #state: KeyboardState = powerOn();
  readonly #typematic: Typematic;

  /** @param time The clock by which held keys repeat; without it they do not. */
  constructor(time?: Timebase) {
    this.#typematic = new Typematic(time, (key) => this.#repeat(key));
  }

  /** A copy of the state. */
  get state(): KeyboardState {
    return structuredClone(this.#state);
  }

  set state(state: KeyboardState) {
    this.#typematic.stop();
    this.#state = state;
  }

  /** The lights: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
  get leds(): number {
    return this.#state.leds;
  }

  /** Whether the guest listens: keys go nowhere until it has enabled scanning. */
  get scanning(): boolean {
    return this.#state.scanning;
  }

  /**
   * A key goes down or up; while it is down it repeats. Says whether the guest will see it: not while scanning is off or the queue is full.
   *
   * @throws {InputError} If there is no such key.
   */
  key(name: string, down: boolean): boolean {
    const key = keyName(name);
    const sent = this.#send(this.#codes(key, down));
    if (sent) this.#moved(key, down);
    return sent;
  }

  /**
   * Presses keys together and lets them go: "a", "ctrl-alt-del", "shift-f1". All or nothing is sent.
   *
   * @throws {InputError} If a key is not there.
   */
  press(chord: string): boolean {
    return this.#chord(keysOf(chord));
  }

  /**
   * Presses keys together and keeps them down until `release`: the last one repeats. All or nothing is sent.
   *
   * @throws {InputError} If a key is not there.
   */
  hold(chord: string): boolean {
    const keys = keysOf(chord);
    const sent = this.#send(keys.flatMap((key) => this.#codes(key, true)));
    if (sent) { for (const key of keys) this.#moved(key, true); }
    return sent;
  }

  /**
   * Lets keys go, the one pressed last first. All or nothing is sent.
   *
   * @throws {InputError} If a key is not there.
   */
  release(chord: string): boolean {
    const keys = keysOf(chord).toReversed();
    const sent = this.#send(keys.flatMap((key) => this.#codes(key, false)));
    if (sent) { for (const key of keys) this.#moved(key, false); }
    return sent;
  }

  /**
   * Types on a US keyboard.
   *
   * @returns How many characters were taken; offer the others again when the guest has read some.
   * @throws {InputError} If a character has no key; nothing is typed then.
   */
  type(text: string): number {
    const chords = [...text].map((character) => keysFor(character));
    const refused = chords.findIndex((chord) => !this.#chord(chord));
    return refused < 0 ? chords.length : refused;
  }

  /** The host sends a byte. */
  write(value: number): void {
    const state = this.#state;
    if (value === RESEND) {
      state.replies = [state.lastSent];
      return;
    }
    state.replies = [ACK];
    const command = state.command;
    state.command = 0;
    switch (command) {
      case SET_LEDS:
        if (value >= 0x80) break;
        state.leds = value & 0x07;
        this.onLeds(state.leds);
        return;
      case SCAN_CODE_SET:
        if (value === 0) state.replies.push(state.set);
        else if (value <= 3) state.set = value;
        else state.replies = [RESEND];
        return;
      case TYPEMATIC:
        if (value >= 0x80) break;
        state.typematic = value;
        return;
      case KEY_TYPEMATIC:
      case KEY_MAKE_BREAK:
      case KEY_MAKE:
        if (value >= FIRST_COMMAND) break;
        // More codes may follow, up to the next command.
        state.command = command;
        this.#breaks([value], command === KEY_MAKE_BREAK);
        return;
    }
    this.#command(value);
  }

  /** The next byte towards the host. */
  take(kind: "reply" | "event"): number | undefined {
    const byte = (kind === "reply" ? this.#state.replies : this.#state.events).shift();
    if (byte !== undefined) this.#state.lastSent = byte;
    return byte;
  }

  /** Whether there is something to take. */
  has(kind: "reply" | "event"): boolean {
    return (kind === "reply" ? this.#state.replies : this.#state.events).length > 0;
  }

  /** No key repeats any more, whichever are held: the machine goes away. */
  stop(): void {
    this.#typematic.stop();
  }

  /** Power-on state, without the self-test's message. */
  reset(): void {
    this.#typematic.stop();
    this.#state = powerOn();
    this.onLeds(0);
  }

  #moved(key: string, down: boolean): void {
    if (!down) this.#typematic.release(key);
    else if (this.#codes(key, true)[0] !== PAUSE) this.#typematic.press(key, () => this.#state.typematic);
  }

  /** A key is still held. Its repeats wait for nobody: while the guest has something to read there is none. */
  #repeat(key: string): void {
    if (!this.#state.scanning) this.#typematic.stop();
    else if (this.#state.events.length === 0) this.#send(this.#codes(key, true));
  }

  /** What the keyboard sends for a key, by its set and what was said of that key. */
  #codes(key: string, down: boolean): number[] {
    const { set, breakless } = this.#state;
    const codes = scanCode(key, down, set as ScanCodeSet);
    const silent = !down && set === 3 && breakless.includes(codes[codes.length - 1]);
    return silent ? [] : codes;
  }

  /** Says of keys of set 3 whether they send breaks. */
  #breaks(codes: readonly number[], wanted: boolean): void {
    const breakless = new Set(this.#state.breakless);
    for (const code of codes) {
      if (wanted) breakless.delete(code);
      else if (ALL_SET_3_CODES.includes(code)) breakless.add(code);
    }
    this.#state.breakless = [...breakless];
  }

  /** A command that is not a parameter of another. */
  #command(value: number): void {
    const state = this.#state;
    switch (value) {
      case SET_LEDS:
      case SCAN_CODE_SET:
      case TYPEMATIC:
        state.command = value;
        return;
      case ECHO:
        state.replies = [ECHO];
        return;
      case IDENTIFY:
        state.replies.push(...IDENTITY);
        return;
      case ENABLE:
        state.events = [];
        state.scanning = true;
        return;
      case DEFAULT_DISABLE:
      case DEFAULT:
        Object.assign(state, {
          events: [],
          set: 2,
          breakless: [],
          typematic: DEFAULT_TYPEMATIC,
          scanning: value === DEFAULT,
        });
        return;
      case RESET:
        this.reset();
        this.#state.scanning = true;
        this.#state.replies = [ACK, SELF_TEST_PASSED];
        return;
      case ALL_TYPEMATIC:
      case ALL_MAKE:
        return this.#breaks(ALL_SET_3_CODES, false);
      case ALL_MAKE_BREAK:
      case ALL_TYPEMATIC_MAKE_BREAK:
        return this.#breaks(ALL_SET_3_CODES, true);
      case KEY_TYPEMATIC:
      case KEY_MAKE_BREAK:
      case KEY_MAKE:
        state.command = value;
        return;
      default:
        state.replies = [RESEND];
    }
  }

  #chord(keys: readonly string[]): boolean {
    const down = keys.flatMap((key) => this.#codes(key, true));
    return this.#send([...down, ...keys.toReversed().flatMap((key) => this.#codes(key, false))]);
  }

  #send(bytes: readonly number[]): boolean {
    const { scanning, events } = this.#state;
    if (!scanning || events.length + bytes.length > EVENTS_LIMIT) return false;
    events.push(...bytes);
    this.onEvent();
    return true;
  }
}

/** The keys of "ctrl-alt-del". */
function keysOf(chord: string): string[] {
  return chord.split("-").map((name) => keyName(name));
}

function powerOn(): KeyboardState {
  return {
    replies: [],
    events: [],
    leds: 0,
    set: 2,
    breakless: [],
    typematic: DEFAULT_TYPEMATIC,
    scanning: true,
    command: 0,
    lastSent: SELF_TEST_PASSED,
  };
}
