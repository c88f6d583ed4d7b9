/**
 * An MF2 keyboard with 102 keys.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard, Commands from the System".
 */
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
import { keyName, keysFor, scanCode } from "./scancodes.ts";

const SET_LEDS = 0xed;
const ECHO = 0xee;
const SCAN_CODE_SET = 0xf0;
const IDENTIFY = 0xf2;
const TYPEMATIC = 0xf3;
const ENABLE = 0xf4;
const DEFAULT_DISABLE = 0xf5;
const DEFAULT = 0xf6;
/** 0xf7..0xfa set what all keys do in set 3, 0xfb..0xfd what one key does. */
const SET_3_FIRST = 0xf7;
const SET_3_ALL_LAST = 0xfa;
const SET_3_LAST = 0xfd;
const RESET = 0xff;
const IDENTITY = [0xab, 0x83];
const DEFAULT_TYPEMATIC = 0x2b;

/** A keyboard's state. */
export interface KeyboardState extends Ps2Queues {
  /** Bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
  leds: number;
  set: number;
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
  set: integer(1, 2),
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

  /** A copy of the state. */
  get state(): KeyboardState {
    return structuredClone(this.#state);
  }

  set state(state: KeyboardState) {
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
   * A key goes down or up. Says whether the guest will see it: not while scanning is off or the queue is full.
   *
   * @throws {InputError} If there is no such key.
   */
  key(name: string, down: boolean): boolean {
    return this.#send(scanCode(keyName(name), down, this.#set));
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
   * Presses keys together and keeps them down until `release`. All or nothing is sent.
   *
   * @throws {InputError} If a key is not there.
   */
  hold(chord: string): boolean {
    return this.#send(keysOf(chord).flatMap((key) => scanCode(key, true, this.#set)));
  }

  /**
   * Lets keys go, the one pressed last first. All or nothing is sent.
   *
   * @throws {InputError} If a key is not there.
   */
  release(chord: string): boolean {
    return this.#send(keysOf(chord).toReversed().flatMap((key) => scanCode(key, false, this.#set)));
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
        else if (value <= 2) state.set = value;
        else state.replies = [RESEND];
        return;
      case TYPEMATIC:
        if (value >= 0x80) break;
        state.typematic = value;
        return;
      case SET_3_FIRST:
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

  /** Power-on state, without the self-test's message. */
  reset(): void {
    this.#state = powerOn();
    this.onLeds(0);
  }

  get #set(): 1 | 2 {
    return this.#state.set === 1 ? 1 : 2;
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
          typematic: DEFAULT_TYPEMATIC,
          scanning: value === DEFAULT,
        });
        return;
      case RESET:
        this.reset();
        this.#state.scanning = true;
        this.#state.replies = [ACK, SELF_TEST_PASSED];
        return;
      default:
        if (value >= SET_3_FIRST && value <= SET_3_ALL_LAST) return;
        // Key types of set 3 take key codes; the first one ends it here.
        if (value > SET_3_ALL_LAST && value <= SET_3_LAST) state.command = SET_3_FIRST;
        else state.replies = [RESEND];
    }
  }

  #chord(keys: readonly string[]): boolean {
    const down = keys.flatMap((key) => scanCode(key, true, this.#set));
    return this.#send([...down, ...keys.toReversed().flatMap((key) => scanCode(key, false, this.#set))]);
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
    typematic: DEFAULT_TYPEMATIC,
    scanning: true,
    command: 0,
    lastSent: SELF_TEST_PASSED,
  };
}
