/**
 * A PS/2 mouse with wheel and five buttons.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft, "IntelliMouse ... data format"
 * (identities 3 and 4, entered by setting sample rates 200, 100, 80 and 200, 200, 80).
 */
import {
  ACK,
  EVENTS_LIMIT,
  type Ps2Device,
  type Ps2Queues,
  REPLIES_LIMIT,
  RESEND,
  SELF_TEST_PASSED,
} from "./ps2_device.ts";
import { bits, flag, integer, list, type Shape } from "./state.ts";

const SCALING_1_1 = 0xe6;
const SCALING_2_1 = 0xe7;
const SET_RESOLUTION = 0xe8;
const STATUS_REQUEST = 0xe9;
const SET_STREAM = 0xea;
const READ_DATA = 0xeb;
const RESET_WRAP = 0xec;
const SET_WRAP = 0xee;
const SET_REMOTE = 0xf0;
const IDENTIFY = 0xf2;
const SET_RATE = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const DEFAULT = 0xf6;
const RESET = 0xff;

const WHEEL = 3;
const WHEEL_AND_BUTTONS = 4;
const RATES: readonly number[] = [10, 20, 40, 60, 80, 100, 200];
/** What moves more than this between two packets has been lost on the way. */
const MOVE_LIMIT = 0xffff;

/** A mouse's state. */
export interface MouseState extends Ps2Queues {
  rate: number;
  resolution: number;
  doubled: boolean;
  reporting: boolean;
  remote: boolean;
  wrap: boolean;
  identity: number;
  /** The last two sample rates, for the identities. */
  knock: number[];
  command: number;
  lastSent: number;
  /** Bit 0 left, 1 right, 2 middle, 3 and 4 the side buttons. */
  buttons: number;
  /** Whether `buttons` changed since the last packet. */
  changed: boolean;
  /** Counts since the last packet; y grows upwards, z is the wheel's, towards the user. */
  x: number;
  y: number;
  z: number;
}

const count = integer(-MOVE_LIMIT, MOVE_LIMIT);

/** What a saved mouse must look like. */
export const MOUSE_SHAPE: Shape<MouseState> = {
  replies: list(bits(8), 0, REPLIES_LIMIT),
  events: list(bits(8), 0, EVENTS_LIMIT),
  rate: bits(8),
  resolution: bits(2),
  doubled: flag,
  reporting: flag,
  remote: flag,
  wrap: flag,
  identity: integer(0, WHEEL_AND_BUTTONS),
  knock: list(bits(8), 2, 2),
  command: bits(8),
  lastSent: bits(8),
  buttons: bits(5),
  changed: flag,
  x: count,
  y: count,
  z: count,
};

/** A mouse; what moves while the guest does not read is added up, not queued. */
export class Ps2Mouse implements Ps2Device {
  /** Called when there is something to take; the 8042 sets it. */
  onEvent: () => void = () => {};
  #state: MouseState = powerOn();

  /** A copy of the state. */
  get state(): MouseState {
    return structuredClone(this.#state);
  }

  set state(state: MouseState) {
    this.#state = state;
  }

  /** Whether the guest listens. */
  get reporting(): boolean {
    return this.#state.reporting;
  }

  /** Moves by counts: `x` to the right, `y` upwards, `wheel` towards the user. */
  move(x: number, y: number, wheel = 0): void {
    const state = this.#state;
    const add = (sum: number, n: number) =>
      Math.max(-MOVE_LIMIT, Math.min(MOVE_LIMIT, sum + (Math.trunc(n) || 0)));
    state.x = add(state.x, x);
    state.y = add(state.y, y);
    state.z = add(state.z, wheel);
    this.#report();
  }

  /** Holds the buttons of `pressed`: bit 0 left, 1 right, 2 middle, 3 and 4 the side buttons. */
  setButtons(pressed: number): void {
    const state = this.#state;
    if ((pressed & 0x1f) === state.buttons) return;
    state.buttons = pressed & 0x1f;
    state.changed = true;
    this.#report();
  }

  /** The host sends a byte. */
  write(value: number): void {
    const state = this.#state;
    if (state.wrap && value !== RESET && value !== RESET_WRAP) {
      state.replies = [value];
      return;
    }
    if (value === RESEND) {
      state.replies = [state.lastSent];
      return;
    }
    state.replies = [ACK];
    const command = state.command;
    state.command = 0;
    if (command === SET_RATE && RATES.includes(value)) {
      this.#setRate(value);
    } else if (command === SET_RESOLUTION && value < 4) {
      state.resolution = value;
    } else {
      this.#command(value);
    }
  }

  /** The next byte towards the host. */
  take(kind: "reply" | "event"): number | undefined {
    const byte = (kind === "reply" ? this.#state.replies : this.#state.events).shift();
    if (byte === undefined) return undefined;
    this.#state.lastSent = byte;
    if (kind === "event") this.#queue();
    return byte;
  }

  /** Whether there is something to take. */
  has(kind: "reply" | "event"): boolean {
    return (kind === "reply" ? this.#state.replies : this.#state.events).length > 0;
  }

  /** Power-on state, without the self-test's message. Buttons that are held stay held. */
  reset(): void {
    this.#state = { ...powerOn(), buttons: this.#state.buttons };
  }

  #command(value: number): void {
    const state = this.#state;
    switch (value) {
      case SCALING_1_1:
      case SCALING_2_1:
        state.doubled = value === SCALING_2_1;
        return;
      case SET_RESOLUTION:
      case SET_RATE:
        state.command = value;
        return;
      case STATUS_REQUEST:
        state.replies.push(this.#status(), state.resolution, state.rate);
        return;
      case SET_STREAM:
      case SET_REMOTE:
        state.remote = value === SET_REMOTE;
        state.events = [];
        return;
      case READ_DATA:
        state.replies.push(...this.#packet());
        return;
      case RESET_WRAP:
      case SET_WRAP:
        state.wrap = value === SET_WRAP;
        return;
      case IDENTIFY:
        state.replies.push(state.identity);
        return;
      case ENABLE:
      case DISABLE:
        Object.assign(state, { reporting: value === ENABLE, events: [], x: 0, y: 0, z: 0, changed: false });
        return;
      case DEFAULT: {
        const { identity, lastSent, buttons } = state;
        this.#state = { ...powerOn(), identity, lastSent, buttons, replies: [ACK] };
        return;
      }
      case RESET:
        this.reset();
        this.#state.replies = [ACK, SELF_TEST_PASSED, 0];
        return;
      default:
        state.replies = [RESEND];
    }
  }

  #setRate(rate: number): void {
    const state = this.#state;
    const [first, second] = state.knock;
    if (first === 200 && second === 100 && rate === 80) state.identity = WHEEL;
    if (first === 200 && second === 200 && rate === 80 && state.identity === WHEEL) {
      state.identity = WHEEL_AND_BUTTONS;
    }
    state.knock = [second, rate];
    state.rate = rate;
  }

  /** First byte of the status report: mode, enabled, scaling, and the buttons left, middle, right in bits 2:0. */
  #status(): number {
    const { remote, reporting, doubled, buttons } = this.#state;
    return (remote ? 0x40 : 0) | (reporting ? 0x20 : 0) | (doubled ? 0x10 : 0) |
      (buttons & 1 ? 4 : 0) | (buttons & 4 ? 2 : 0) | (buttons & 2 ? 1 : 0);
  }

  #report(): void {
    if (this.#queue()) this.onEvent();
  }

  /** Makes a packet when the last one was read and there is something to tell. */
  #queue(): boolean {
    const state = this.#state;
    if (!state.reporting || state.remote || state.wrap || state.events.length > 0) return false;
    const wheel = state.identity >= WHEEL && state.z !== 0;
    if (!state.changed && state.x === 0 && state.y === 0 && !wheel) return false;
    state.events.push(...this.#packet());
    return true;
  }

  /** One packet; what does not fit its nine bits (wheel: four) stays for the next. */
  #packet(): number[] {
    const state = this.#state;
    const x = Math.max(-255, Math.min(255, state.x));
    const y = Math.max(-255, Math.min(255, state.y));
    const z = Math.max(-8, Math.min(7, state.z));
    state.x -= x;
    state.y -= y;
    state.changed = false;
    const packet = [(state.buttons & 7) | 0x08 | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0), x & 0xff, y & 0xff];
    if (state.identity < WHEEL) {
      state.z = 0;
      return packet;
    }
    state.z -= z;
    const side = state.identity === WHEEL_AND_BUTTONS ? (z & 0x0f) | (state.buttons & 0x18) << 1 : z & 0xff;
    return [...packet, side];
  }
}

function powerOn(): MouseState {
  return {
    replies: [],
    events: [],
    rate: 100,
    resolution: 2,
    doubled: false,
    reporting: false,
    remote: false,
    wrap: false,
    identity: 0,
    knock: [0, 0],
    command: 0,
    lastSent: 0,
    buttons: 0,
    changed: false,
    x: 0,
    y: 0,
    z: 0,
  };
}
