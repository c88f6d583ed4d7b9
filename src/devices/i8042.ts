/**
 * The keyboard controller of a PC: Intel 8042 with the PS/2's program, with a keyboard and a mouse on it.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 */
import { type DeviceHost, type DeviceRange, type InterruptLine, NO_LINE } from "../vm/device.ts";
import { A20Gate } from "./a20_gate.ts";
import { ByteDevice } from "./byte_device.ts";
import type { Cancel, Timebase } from "./device_clock.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import * as r from "./i8042_registers.ts";
import type { Ps2Device } from "./ps2_device.ts";
import { KEYBOARD_SHAPE, type KeyboardState, Ps2Keyboard } from "./ps2_keyboard.ts";
import { MOUSE_SHAPE, type MouseState, Ps2Mouse } from "./ps2_mouse.ts";
import { translateToSet1 } from "./scancodes.ts";
import {
  bits,
  flag,
  list,
  oneOf,
  record,
  restoreRecord,
  saveRecord,
  type Shape,
  type Upgrades,
} from "./state.ts";

const DATA: DeviceRange = { start: 0x60, length: 1 };
const STATUS_COMMAND: DeviceRange = { start: 0x64, length: 1 };

const BREAK = 0xf0;
/** A byte of eleven bits at about 12 kHz. */
const BYTE_NS = 900_000n;

/** Where the byte in the output buffer came from. */
type Source = "none" | "controller" | "keyboard" | "aux";

interface State {
  /** RAM byte 0 is the mode ("command byte"). */
  ram: number[];
  outputPort: number;
  /** The byte at port 0x60; it stays readable after it was read. */
  data: number;
  source: Source;
  /** The controller's own answers that wait for the output buffer: for the keyboard or the auxiliary side. */
  answers: number[];
  /** The command that waits for its parameter at port 0x60, or 0. */
  command: number;
  /** The last write went to port 0x64. */
  lastWasCommand: boolean;
  /** A 0xf0 was swallowed: the next scan code is a break. */
  translatingBreak: boolean;
  keyboard: KeyboardState;
  mouse: MouseState;
}

const VERSION = 2;
/** Keyboards of version 1 did not know scan code set 3. */
const UPGRADES: Upgrades = {
  1: (old) => ({ ...old, keyboard: { ...(old.keyboard as object), breakless: [] } }),
};

const SHAPE: Shape<State> = {
  ram: list(bits(8), 32, 32),
  outputPort: bits(8),
  data: bits(8),
  source: oneOf<Source>("none", "controller", "keyboard", "aux"),
  answers: list(bits(8), 0, 1),
  command: bits(8),
  lastWasCommand: flag,
  translatingBreak: flag,
  keyboard: record(KEYBOARD_SHAPE),
  mouse: record(MOUSE_SHAPE),
};

/** What the controller is wired to. */
export interface I8042Options {
  /** Default "i8042". */
  readonly name?: string;
  /**
   * Whether mode and translation are as a BIOS leaves them (keyboard interrupt on, scan codes translated to set
   * 1, mouse off), for a guest that is started without one. Default: no.
   */
  readonly configured?: boolean;
  /** Lets scan codes take their time on the wire, so that a handler and the one it chains to read the same. */
  readonly time?: Timebase;
  /** Keyboard interrupt. Default: ISA interrupt 1. */
  readonly irq?: number | InterruptLine;
  /** Mouse interrupt. Default: ISA interrupt 12. */
  readonly auxIrq?: number | InterruptLine;
  /** The guest pulsed the reset line. */
  readonly onReset: () => void;
  /** The gate that bit 1 of the output port opens. */
  readonly a20?: A20Gate;
}

/** The controller at ports 0x60 and 0x64. */
export class I8042 extends ByteDevice {
  /** "i8042" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: readonly DeviceRange[] = [DATA, STATUS_COMMAND];
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = r.BITS;
  /** The keyboard: `type`, `press`, `key`. */
  readonly keyboard: Ps2Keyboard;
  /** The mouse: `move`, `setButtons`. */
  readonly mouse = new Ps2Mouse();
  readonly #options: I8042Options;
  readonly #lines: Record<"keyboard" | "aux", { line: InterruptLine; raised: boolean }>;
  readonly #a20: A20Gate;
  #state: Omit<State, "keyboard" | "mouse">;
  /** Until when the wire is busy with the last scan code. */
  #busyUntil = 0n;
  #timer: Cancel | undefined;

  /** @param options What it is made of. */
  constructor(options: I8042Options) {
    super();
    this.#options = options;
    this.name = options.name ?? "i8042";
    this.keyboard = new Ps2Keyboard(options.time);
    this.#state = powerOn(options.configured);
    this.#a20 = options.a20 ?? new A20Gate();
    this.#a20.register((open) => {
      const { outputPort } = this.#state;
      this.#state.outputPort = outputPort & ~r.PORT_A20_BIT | (open ? r.PORT_A20_BIT : 0);
    });
    const line = (given: number | InterruptLine | undefined) => typeof given === "object" ? given : NO_LINE;
    this.#lines = {
      keyboard: { line: line(options.irq), raised: false },
      aux: { line: line(options.auxIrq), raised: false },
    };
    this.keyboard.onEvent = this.mouse.onEvent = () => this.#load();
  }

  /** Finds the interrupt inputs. */
  attach(host: DeviceHost): void {
    const { irq = 1, auxIrq = 12 } = this.#options;
    if (typeof irq === "number") this.#lines.keyboard.line = host.line(irq);
    if (typeof auxIrq === "number") this.#lines.aux.line = host.line(auxIrq);
    this.#update();
  }

  /** Lets go of the interrupt inputs and of timers. */
  detach(): void {
    this.#timer?.();
    this.#timer = undefined;
    this.keyboard.stop();
    for (const side of Object.values(this.#lines)) {
      if (side.raised) side.line.lower();
      side.raised = false;
    }
  }

  /** The guest reads a register. */
  protected readByte(_offset: number, range: DeviceRange): number {
    const state = this.#state;
    this.#load();
    if (range.start === STATUS_COMMAND.start) return this.#status();
    const { data, source } = state;
    if (source === "none") return data;
    state.source = "none";
    this.#update();
    this.#load();
    return data;
  }

  /** The guest writes a register. */
  protected writeByte(_offset: number, value: number, range: DeviceRange): void {
    const state = this.#state;
    state.lastWasCommand = range.start === STATUS_COMMAND.start;
    if (state.lastWasCommand) this.#command(value);
    else {
      const command = state.command;
      state.command = 0;
      this.#parameter(command, value);
    }
    this.#load();
  }

  /** Power-on state of the controller, the keyboard and the mouse. */
  reset(): void {
    this.#timer?.();
    this.#timer = undefined;
    this.#busyUntil = 0n;
    this.#state = powerOn(this.#options.configured);
    this.#a20.set(true);
    this.keyboard.reset();
    this.mouse.reset();
    this.#update();
  }

  /** Controller, keyboard and mouse. */
  save(): unknown {
    return saveRecord<State>("i8042", VERSION, {
      ...this.#state,
      keyboard: this.keyboard.state,
      mouse: this.mouse.state,
    });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    const { keyboard, mouse, ...state } = restoreRecord("i8042", VERSION, SHAPE, saved, UPGRADES);
    this.#state = state;
    this.#a20.set((state.outputPort & r.PORT_A20_BIT) !== 0);
    this.keyboard.state = keyboard;
    this.mouse.state = mouse;
    this.#busyUntil = (this.#options.time?.now() ?? 0n) + BYTE_NS;
    this.#update();
    this.#load();
  }

  /** Registers, lights and what waits. */
  inspect(): Record<string, number | string> {
    const { ram, outputPort, data, source, command } = this.#state;
    const { leds, set, scanning, events } = this.keyboard.state;
    return {
      status: this.#status(),
      mode: ram[0],
      data,
      source,
      command,
      outputPort: this.#outputPort(outputPort),
      leds,
      scanCodeSet: set,
      scanning: scanning ? 1 : 0,
      keyboardQueue: events.length,
      mouseReporting: this.mouse.reporting ? 1 : 0,
    };
  }

  #status(): number {
    const { source, ram, lastWasCommand } = this.#state;
    return r.STATUS_UNLOCKED_BIT | (source === "none" ? 0 : r.STATUS_OUTPUT_FULL_BIT) |
      (source === "aux" ? r.STATUS_AUX_BIT : 0) | (ram[0] & r.MODE_SYSTEM_BIT ? r.STATUS_SYSTEM_BIT : 0) |
      (lastWasCommand ? r.STATUS_COMMAND_BIT : 0);
  }

  #outputPort(base: number): number {
    const { source } = this.#state;
    if (source === "none") return base;
    return base | (source === "aux" ? r.PORT_AUX_FULL_BIT : r.PORT_KEYBOARD_FULL_BIT);
  }

  #command(value: number): void {
    const state = this.#state;
    state.command = 0;
    if (value >= r.READ_RAM && value < r.READ_RAM + 0x20) return this.#answer(state.ram[value & r.RAM_MASK]);
    if (value >= r.WRITE_RAM && value < r.WRITE_RAM + 0x20) {
      state.command = value;
      return;
    }
    if (value >= r.PULSE) {
      // Each zero pulses a line of the output port low for 6 us; line 0 is the CPU's reset.
      if ((value & r.PORT_RESET_BIT) === 0) this.#options.onReset();
      return;
    }
    switch (value) {
      case r.TEST_PASSWORD:
        return this.#answer(0xf1); // none is set
      case r.AUX_OFF:
        return this.#mode(state.ram[0] | r.MODE_AUX_OFF_BIT);
      case r.AUX_ON:
        return this.#mode(state.ram[0] & ~r.MODE_AUX_OFF_BIT);
      case r.AUX_TEST:
      case r.KEYBOARD_TEST:
        return this.#answer(0x00);
      case r.SELF_TEST:
        this.#mode(state.ram[0] | r.MODE_SYSTEM_BIT);
        return this.#answer(0x55);
      case r.KEYBOARD_OFF:
        return this.#mode(state.ram[0] | r.MODE_KEYBOARD_OFF_BIT);
      case r.KEYBOARD_ON:
        return this.#mode(state.ram[0] & ~r.MODE_KEYBOARD_OFF_BIT);
      case r.READ_INPUT_PORT:
        return this.#answer(0x80); // not locked
      case r.READ_OUTPUT_PORT:
        return this.#answer(this.#outputPort(state.outputPort));
      case r.WRITE_OUTPUT_PORT:
      case r.WRITE_KEYBOARD_BUFFER:
      case r.WRITE_AUX_BUFFER:
      case r.WRITE_AUX:
        state.command = value;
        return;
      case r.A20_OFF:
        return this.#writeOutputPort(state.outputPort & ~r.PORT_A20_BIT);
      case r.A20_ON:
        return this.#writeOutputPort(state.outputPort | r.PORT_A20_BIT);
      case r.READ_TEST_INPUTS:
        return this.#answer(0x00);
    }
  }

  #parameter(command: number, value: number): void {
    const state = this.#state;
    switch (command) {
      case r.WRITE_OUTPUT_PORT:
        return this.#writeOutputPort(value);
      case r.WRITE_KEYBOARD_BUFFER:
        return this.#put(value, "keyboard");
      case r.WRITE_AUX_BUFFER:
        return this.#put(value, "aux");
      case r.WRITE_AUX:
        // As with the keyboard, talking to the mouse switches its interface on.
        this.#mode(state.ram[0] & ~r.MODE_AUX_OFF_BIT);
        return this.mouse.write(value);
      case r.WRITE_RAM:
        return this.#mode(value & r.MODE_MASK);
      case 0:
        // Talking to the keyboard switches its interface on.
        this.#mode(state.ram[0] & ~r.MODE_KEYBOARD_OFF_BIT);
        return this.keyboard.write(value);
      default:
        state.ram[command & r.RAM_MASK] = value;
    }
  }

  #mode(value: number): void {
    this.#state.ram[0] = value;
    this.#update();
  }

  #writeOutputPort(value: number): void {
    this.#state.outputPort = (value & r.PORT_IDLE) | r.PORT_RESET_BIT;
    this.#a20.set((value & r.PORT_A20_BIT) !== 0);
    if ((value & r.PORT_RESET_BIT) === 0) this.#options.onReset();
  }

  /** The controller's answer goes before what the devices have; an older one is gone. */
  #answer(value: number): void {
    this.#state.answers = [value];
  }

  /** Puts a byte into the output buffer as if it came from a device, over what is there. */
  #put(value: number, source: Source): void {
    this.#state.data = value;
    this.#state.source = "none";
    this.#update();
    this.#state.source = source;
    this.#update();
  }

  /** Fills the output buffer, if it is empty, with what comes next. */
  #load(): void {
    const state = this.#state;
    if (state.source !== "none") return;
    const answer = state.answers.shift();
    if (answer !== undefined) return this.#put(answer, "controller");
    this.#fetch("reply") || this.#fetch("event");
  }

  #fetch(kind: "reply" | "event"): boolean {
    const state = this.#state;
    const sides: [Ps2Device, "keyboard" | "aux", number][] = [
      [this.keyboard, "keyboard", r.MODE_KEYBOARD_OFF_BIT],
      [this.mouse, "aux", r.MODE_AUX_OFF_BIT],
    ];
    for (const [device, source, off] of sides) {
      if (state.ram[0] & off || !device.has(kind)) continue;
      if (kind === "event" && this.#busy()) return false;
      const byte = source === "keyboard" ? this.#translated(kind) : device.take(kind);
      if (byte === undefined) continue;
      if (kind === "event") this.#busyUntil = (this.#options.time?.now() ?? 0n) + BYTE_NS;
      this.#put(byte, source);
      return true;
    }
    return false;
  }

  /** Whether the wire is busy; looks again when it no longer is. */
  #busy(): boolean {
    const time = this.#options.time;
    if (time === undefined) return false;
    const left = this.#busyUntil - time.now();
    if (left <= 0n) return false;
    this.#timer ??= time.schedule(left, () => {
      this.#timer = undefined;
      this.#load();
    });
    return true;
  }

  /** The keyboard's next byte as the guest shall read it; a 0xf0 becomes bit 7 of the next. */
  #translated(kind: "reply" | "event"): number | undefined {
    const state = this.#state;
    for (let i = 0; i < 2; i++) {
      const byte = this.keyboard.take(kind);
      if (byte === undefined || (state.ram[0] & r.MODE_TRANSLATE_BIT) === 0) return byte;
      if (byte !== BREAK) {
        const code = translateToSet1(byte) | (state.translatingBreak ? 0x80 : 0);
        state.translatingBreak = false;
        return code;
      }
      state.translatingBreak = true;
    }
    return undefined;
  }

  /** Each side's interrupt is high while its byte is in the buffer and the mode lets it through. */
  #update(): void {
    const { source, ram } = this.#state;
    const drive = (side: "keyboard" | "aux", level: boolean) => {
      const wire = this.#lines[side];
      if (wire.raised === level) return;
      wire.raised = level;
      if (level) wire.line.raise();
      else wire.line.lower();
    };
    drive(
      "keyboard",
      (source === "keyboard" || source === "controller") && (ram[0] & r.MODE_KEYBOARD_INTERRUPT_BIT) !== 0,
    );
    drive("aux", source === "aux" && (ram[0] & r.MODE_AUX_INTERRUPT_BIT) !== 0);
  }
}

function powerOn(configured = false): Omit<State, "keyboard" | "mouse"> {
  const ram = new Array(32).fill(0);
  ram[0] = configured
    ? r.MODE_KEYBOARD_INTERRUPT_BIT | r.MODE_SYSTEM_BIT | r.MODE_AUX_OFF_BIT | r.MODE_TRANSLATE_BIT
    : r.MODE_KEYBOARD_INTERRUPT_BIT | r.MODE_AUX_INTERRUPT_BIT;
  return {
    ram,
    outputPort: r.PORT_IDLE,
    data: 0,
    source: "none",
    answers: [],
    command: 0,
    lastWasCommand: false,
    translatingBreak: false,
  };
}
