/**
 * The two DMA controllers of a PC/AT and their page registers. Devices of 8 bits may be on channels 0 to 3.
 *
 * Data sheet: Intel 8237A High Performance Programmable DMA Controller, 231466-005; page registers: IBM PC AT
 * Technical Reference, 1-10.
 */
import type { DeviceHost, DeviceRange } from "../vm/device.ts";
import { FaultError } from "../vm/errors.ts";
import { ByteDevice } from "./byte_device.ts";
import type { DmaChannel, DmaMoved } from "./dma_channel.ts";
import { bits, flag, list, record, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Offsets of the registers behind the address and count registers. */
const STATUS_COMMAND = 8;
const REQUEST = 9;
const SINGLE_MASK = 10;
const MODE = 11;
const CLEAR_FLIP_FLOP = 12;
const TEMPORARY_MASTER_CLEAR = 13;
const CLEAR_MASK = 14;
const ALL_MASK = 15;

const CHANNEL_MASK = 0x03;
const SET_BIT = 0x04;
const CHANNELS = 4;
const PAGES = 15;

/** In a channel's mode. */
const AUTO_INITIALIZE_BIT = 0x10;
const DECREMENT_BIT = 0x20;
const TRANSFER_MASK = 0x0c;
/** To memory, from memory; anything else moves nothing. */
const TO_MEMORY = 0x04;
const FROM_MEMORY = 0x08;
/** In the command register. */
const DISABLE_BIT = 0x04;
/** Where the page registers of channels 0 to 3 are, from 0x81. */
const PAGE_OF = [6, 2, 0, 1];

interface Channel {
  baseAddress: number;
  baseCount: number;
  address: number;
  count: number;
  mode: number;
}

interface Controller {
  channels: Channel[];
  command: number;
  request: number;
  mask: number;
  /** Terminal counts in bits 3:0, until read. */
  status: number;
  /** Whether the next access is to the high byte of an address or count. */
  flipFlop: boolean;
}

interface State {
  controllers: Controller[];
  pages: number[];
}

const SHAPE: Shape<State> = {
  controllers: list(
    record<Controller>({
      channels: list(
        record<Channel>({
          baseAddress: bits(16),
          baseCount: bits(16),
          address: bits(16),
          count: bits(16),
          mode: bits(8),
        }),
        CHANNELS,
        CHANNELS,
      ),
      command: bits(8),
      request: bits(4),
      mask: bits(4),
      status: bits(4),
      flipFlop: flag,
    }),
    2,
    2,
  ),
  pages: list(bits(8), PAGES, PAGES),
};

const FIRST: DeviceRange = { start: 0x00, length: 16 };
/** The second controller's registers are at even ports. */
const SECOND: DeviceRange = { start: 0xc0, length: 32 };
/** Port 0x80 is the diagnostic port, 0x92 system control port A. */
const PAGE_REGISTERS: DeviceRange = { start: 0x81, length: PAGES };

/** Both controllers and the page registers. */
export class Dma8237 extends ByteDevice {
  /** "dma" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: readonly DeviceRange[] = [FIRST, SECOND, PAGE_REGISTERS];
  #state: State = powerOn();
  #host: DeviceHost | undefined;
  readonly #ends: { onReady: () => void; wasReady: boolean }[];

  /** @param options `name`: default "dma". */
  constructor(options: { readonly name?: string } = {}) {
    super();
    this.name = options.name ?? "dma";
    this.#ends = Array.from({ length: CHANNELS }, () => ({ onReady: () => {}, wasReady: false }));
  }

  /** Finds memory. */
  attach(host: DeviceHost): void {
    this.#host = host;
  }

  /** The device's end of channel 0 to 3. */
  channel(number: 0 | 1 | 2 | 3): DmaChannel {
    const end = this.#ends[number];
    const ready = () => this.#ready(number);
    return {
      get ready() {
        return ready();
      },
      get onReady() {
        return end.onReady;
      },
      set onReady(call) {
        end.onReady = call;
      },
      put: (bytes) => this.#transfer(number, bytes, TO_MEMORY),
      get: (into) => this.#transfer(number, into, FROM_MEMORY),
    };
  }

  /** The guest reads a register. */
  protected readByte(offset: number, range: DeviceRange): number {
    if (range.start === PAGE_REGISTERS.start) return this.#state.pages[offset];
    const controller = this.#state.controllers[range.start === FIRST.start ? 0 : 1];
    const register = range.start === FIRST.start ? offset : offset >> 1;
    if (register < STATUS_COMMAND) {
      const channel = controller.channels[register >> 1];
      const value = register & 1 ? channel.count : channel.address;
      controller.flipFlop = !controller.flipFlop;
      return controller.flipFlop ? value & 0xff : value >> 8;
    }
    if (register !== STATUS_COMMAND) return 0;
    const status = controller.status | controller.request << 4;
    controller.status = 0;
    return status;
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number, range: DeviceRange): void {
    this.#write(offset, value, range);
    this.#ends.forEach((end, number) => {
      const before = end.wasReady;
      end.wasReady = this.#ready(number);
      if (end.wasReady && !before) end.onReady();
    });
  }

  #write(offset: number, value: number, range: DeviceRange): void {
    if (range.start === PAGE_REGISTERS.start) {
      this.#state.pages[offset] = value;
      return;
    }
    const index = range.start === FIRST.start ? 0 : 1;
    const controller = this.#state.controllers[index];
    const register = range.start === FIRST.start ? offset : offset >> 1;
    const bit = 1 << (value & CHANNEL_MASK);
    switch (register) {
      case STATUS_COMMAND:
        controller.command = value;
        return;
      case REQUEST:
        controller.request = value & SET_BIT ? controller.request | bit : controller.request & ~bit;
        return;
      case SINGLE_MASK:
        controller.mask = value & SET_BIT ? controller.mask | bit : controller.mask & ~bit;
        return;
      case MODE:
        controller.channels[value & CHANNEL_MASK].mode = value & ~CHANNEL_MASK;
        return;
      case CLEAR_FLIP_FLOP:
        controller.flipFlop = false;
        return;
      case TEMPORARY_MASTER_CLEAR:
        // Command, status, request and flip-flop are cleared, the mask is set (8237A, "Master Clear").
        Object.assign(controller, { command: 0, request: 0, status: 0, mask: 0x0f, flipFlop: false });
        return;
      case CLEAR_MASK:
        controller.mask = 0;
        return;
      case ALL_MASK:
        controller.mask = value & 0x0f;
        return;
      default:
        this.#load(controller, register, value);
    }
  }

  /** Master clear of both, pages zero. */
  reset(): void {
    this.#state = powerOn();
  }

  /** All registers. */
  save(): unknown {
    return saveRecord("dma8237", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    this.#state = restoreRecord("dma8237", 1, SHAPE, saved);
  }

  /** A line for each channel: address, count, page and mode. */
  inspect(): Record<string, number | string> {
    const shown: Record<string, number | string> = {};
    this.#state.controllers.forEach((controller, c) => {
      shown[`mask${c + 1}`] = controller.mask;
      controller.channels.forEach((channel, i) => {
        const { address, count, mode } = channel;
        const hex = [address, count, mode].map((n) => n.toString(16));
        shown[`channel${c * CHANNELS + i}`] = `address ${hex[0]} count ${hex[1]} mode ${hex[2]}`;
      });
    });
    shown.pages = this.#state.pages.map((p) => p.toString(16).padStart(2, "0")).join(" ");
    return shown;
  }

  #ready(number: number): boolean {
    const { mask, command } = this.#state.controllers[0];
    return (mask & 1 << number) === 0 && (command & DISABLE_BIT) === 0;
  }

  /** Moves bytes between a device and memory, at most as many as the channel's count says. */
  #transfer(number: number, bytes: Uint8Array, way: number): DmaMoved {
    if (!this.#ready(number)) return { moved: 0, terminal: false };
    const [controller] = this.#state.controllers;
    const channel = controller.channels[number];
    const page = this.#state.pages[PAGE_OF[number]] << 16;
    const moved = Math.min(bytes.length, channel.count + 1);
    const step = channel.mode & DECREMENT_BIT ? -1 : 1;
    const moves = (channel.mode & TRANSFER_MASK) === way;
    for (let done = 0; done < moved;) {
      // The address counter has 16 bits: at their end it goes on at their start.
      const run = step < 0 ? 1 : Math.min(moved - done, 0x10000 - channel.address);
      if (moves) this.#memory(page | channel.address, bytes.subarray(done, done + run), way);
      channel.address = (channel.address + step * run) & 0xffff;
      done += run;
    }
    const terminal = moved > channel.count;
    channel.count = (channel.count - moved) & 0xffff;
    if (terminal) this.#terminal(controller, number);
    return { moved, terminal };
  }

  /** Bytes where no memory is: reads give ones, writes are lost. */
  #memory(at: number, bytes: Uint8Array, way: number): void {
    try {
      if (way === TO_MEMORY) this.#host?.write(BigInt(at), bytes);
      else this.#host?.read(BigInt(at), bytes);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      if (way === FROM_MEMORY) bytes.fill(0xff);
    }
  }

  /** Terminal count: the channel begins again, or is masked. */
  #terminal(controller: Controller, number: number): void {
    const channel = controller.channels[number];
    const bit = 1 << number;
    controller.status |= bit;
    controller.request &= ~bit;
    if (channel.mode & AUTO_INITIALIZE_BIT) {
      channel.address = channel.baseAddress;
      channel.count = channel.baseCount;
    } else {
      controller.mask |= bit;
      this.#ends[number].wasReady = false;
    }
  }

  /** A byte of an address or count goes to the base and the current register alike. */
  #load(controller: Controller, register: number, value: number): void {
    const channel = controller.channels[register >> 1];
    const merge = (old: number) => controller.flipFlop ? (old & 0xff) | value << 8 : (old & 0xff00) | value;
    if (register & 1) channel.count = channel.baseCount = merge(channel.baseCount);
    else channel.address = channel.baseAddress = merge(channel.baseAddress);
    controller.flipFlop = !controller.flipFlop;
  }
}

function powerOn(): State {
  const channel = (): Channel => ({ baseAddress: 0, baseCount: 0, address: 0, count: 0, mode: 0 });
  const controller = (): Controller => ({
    channels: Array.from({ length: CHANNELS }, channel),
    command: 0,
    request: 0,
    mask: 0x0f,
    status: 0,
    flipFlop: false,
  });
  return { controllers: [controller(), controller()], pages: new Array(PAGES).fill(0) };
}
