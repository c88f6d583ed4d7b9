/**
 * A VGA with the Bochs display interface: QEMU's "standard VGA", PCI device 1234:1111.
 *
 * Data sheets: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; Intel 965G PRM, volume 3; QEMU,
 * docs/specs/standard-vga.rst.
 */
import type { AccessPoint, DeviceRange } from "../../vm/device.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import type { Picture } from "../../vm/picture.ts";
import type { Timebase } from "../device_clock.ts";
import {
  BASE_ADDRESS,
  COMMAND,
  COMMAND_IO_BIT,
  COMMAND_MEMORY_BIT,
  CONFIG_FIELD,
} from "../pci/config_space.ts";
import { PCI_BITS } from "../pci/pci_bits.ts";
import { type BarRange, PciFunction } from "../pci/pci_function.ts";
import { list, restoreRecord, saveRecord, type Shape, text } from "../state.ts";
import { decode, readPlanes, WINDOW, WINDOW_BYTES, writePlanes } from "./data_path.ts";
import { Beam } from "./beam.ts";
import { bankBase, DISPI, dispiEnabled, dispiLinear, dispiPicture, readDispi, writeDispi } from "./dispi.ts";
import { DirectWindow } from "./direct_window.ts";
import { frame, startAddress } from "./crtc.ts";
import { textRows } from "./picture.ts";
import { isShown, isText, scanout } from "./scanout.ts";
import { powerOn, textMode, VGA_BITS, VGA_SHAPE, type VgaState } from "./vga_state.ts";
import { readPort, writePort } from "./vga_ports.ts";
import { VideoMemory } from "./video_memory.ts";

const DEFAULT_MEMORY = 16 << 20;
const FRAMEBUFFER_BAR = 0;
const REGISTERS_BAR = 2;
const REGISTERS_BYTES = 0x1000;
/** In the registers' range: ports from 0x3c0 on, and the dispi's registers, 16 bits each. */
const REGISTERS_PORTS = 0x400;
const REGISTERS_DISPI = 0x500;
/** The dispi's index is at 0x1ce; its data at 0x1cf, and at 0x1d0 for who wants words aligned. */
const DISPI_PORT = 0x1ce;
/** Where firmware would have put the framebuffer and the registers. */
const CONFIGURED_FRAMEBUFFER = 0xfd00_0000;
const CONFIGURED_REGISTERS = 0xfebf_0000;
const FONT_CHARACTERS = 256;
const FONT_SLOT = 32;
const PAGES_LIMIT = 1 << 14;

/** What a VGA is made of. */
export interface VgaOptions {
  /** Default "vga". */
  readonly name?: string;
  /** The clock that its beam follows. */
  readonly time: Timebase;
  /** Bytes of memory, a power of two from 256 KiB; 16 MiB if left out. */
  readonly memory?: number;
  /** Whether it starts as firmware leaves it: in mode 3, with the framebuffer at 0xfd000000. */
  readonly configured?: boolean;
  /** The font it then has: the lines of each of 256 characters. Without it characters are blank. */
  readonly font?: Uint8Array;
}

const SHAPE: Shape<VgaState & { memory: string[]; pci: number[] }> = {
  ...VGA_SHAPE,
  memory: list(text, 0, PAGES_LIMIT),
  pci: CONFIG_FIELD,
};

/** Fixed ranges: the window, the ports. */
const FIXED: { readonly io: readonly BarRange[]; readonly memory: readonly BarRange[] } = {
  io: [
    { bar: -1, start: 0x3b4, length: 2 },
    { bar: -1, start: 0x3ba, length: 1 },
    { bar: -1, start: 0x3c0, length: 16 },
    { bar: -1, start: 0x3d4, length: 2 },
    { bar: -1, start: 0x3da, length: 1 },
    { bar: -2, start: DISPI_PORT, length: 4 },
  ],
  memory: [{ bar: -1, start: WINDOW, length: WINDOW_BYTES }],
};

/** The VGA, as a PCI function and as the ISA card it is to old programs. */
export class Vga extends PciFunction {
  /** Names of the bits of what `inspect` shows. */
  override readonly bits: Readonly<Record<string, RegisterBits>> = { ...PCI_BITS, ...VGA_BITS };
  /** What is worth a stop: a mode's registers, colours, what is drawn. */
  readonly points: Readonly<Record<string, readonly AccessPoint[]>> = {
    crtc: [{ space: "port", start: 0x3d4, length: 2, direction: "write" }],
    palette: [{ space: "port", start: 0x3c7, length: 3, direction: "write" }],
    mode: [
      { space: "port", start: 0x3c2, length: 1, direction: "write" },
      { space: "port", start: DISPI_PORT, length: 4, direction: "write" },
    ],
    graphics: [{ space: "mmio", start: WINDOW, length: 0x1_0000, direction: "write" }],
    text: [{ space: "mmio", start: WINDOW + 0x1_8000, length: 0x8000, direction: "write" }],
  };
  readonly #memory: VideoMemory;
  readonly #beam: Beam;
  readonly #options: VgaOptions;
  readonly #direct: DirectWindow;
  #state: VgaState;

  /** @throws {InputError} If the size of the memory makes no sense. */
  constructor(options: VgaOptions) {
    const size = options.memory ?? DEFAULT_MEMORY;
    const memory = new VideoMemory(size);
    super(options.name ?? "vga", {
      vendor: 0x1234,
      device: 0x1111,
      revision: 2,
      classCode: 0x030000,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      bars: [
        { kind: "memory", size, prefetchable: true },
        undefined,
        { kind: "memory", size: REGISTERS_BYTES },
      ],
    });
    this.#memory = memory;
    this.#direct = new DirectWindow(memory);
    this.#beam = new Beam(options.time);
    this.#options = options;
    if (options.configured) {
      this.config.initial(COMMAND, COMMAND_IO_BIT | COMMAND_MEMORY_BIT, 2);
      this.config.initial(BASE_ADDRESS + 4 * FRAMEBUFFER_BAR, CONFIGURED_FRAMEBUFFER | 8, 4);
      this.config.initial(BASE_ADDRESS + 4 * REGISTERS_BAR, CONFIGURED_REGISTERS, 4);
    }
    this.#state = this.#start();
    this.remap();
  }

  /** What is on the screen now. Lines and dots that the chip only doubles come once. */
  picture(): Picture {
    this.#direct.sync();
    return dispiEnabled(this.#state)
      ? dispiPicture(this.#state, this.#memory)
      : scanout(this.#state, this.#memory);
  }

  /** The rows of a text mode, blanks at their ends left out; none in other modes. */
  rows(): string[] {
    if (dispiEnabled(this.#state) || !isText(this.#state) || !isShown(this.#state)) return [];
    this.#direct.sync();
    return textRows(this.#state, this.#memory);
  }

  /** Its fixed ranges are those of an ISA card: the command register has no say. */
  protected override extraRanges(): typeof FIXED {
    return FIXED;
  }

  /** The guest reads. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar, start } = range as BarRange;
    if (bar === FRAMEBUFFER_BAR) this.#memory.read(offset, data);
    else if (bar === REGISTERS_BAR) this.#readRegisters(offset, data);
    else if (bar === -2) this.#readDispi(offset, data);
    else if (start === WINDOW) {
      for (let i = 0; i < data.length; i++) data[i] = this.#readWindow(offset + i);
      this.#direct.touched(this.#state, this.host);
    } else {
      for (let i = 0; i < data.length; i++) {
        data[i] = readPort(this.#state, Number(start) + offset + i, this.#beam);
      }
    }
  }

  /** The guest writes. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar, start } = range as BarRange;
    if (bar === FRAMEBUFFER_BAR) this.#memory.write(offset, data);
    else if (bar === REGISTERS_BAR) this.#writeRegisters(offset, data);
    else if (bar === -2) this.#writeDispi(offset, data);
    else if (start === WINDOW) {
      for (let i = 0; i < data.length; i++) this.#writeWindow(offset + i, data[i]);
      this.#direct.touched(this.#state, this.host);
      return;
    } else {
      for (let i = 0; i < data.length; i++) writePort(this.#state, Number(start) + offset + i, data[i]);
    }
    if (bar !== FRAMEBUFFER_BAR) this.#direct.changed(this.#state);
  }

  /** The window and the framebuffer are like memory; looking leaves the latches alone. */
  readMemory(offset: number, into: Uint8Array, range: DeviceRange): boolean {
    const { bar, start } = range as BarRange;
    if (bar !== FRAMEBUFFER_BAR && start !== WINDOW) return false;
    const { latches } = this.#state;
    this.#state.latches = [...latches];
    this.read(offset, into, range);
    this.#state.latches = latches;
    return true;
  }

  /** The same for writing. */
  writeMemory(offset: number, bytes: Uint8Array, range: DeviceRange): boolean {
    const { bar, start } = range as BarRange;
    if (bar !== FRAMEBUFFER_BAR && start !== WINDOW) return false;
    this.write(offset, bytes, range);
    return true;
  }

  /** As after power-on; memory is zeros. */
  override reset(): void {
    this.#direct.reset();
    super.reset();
    this.#state = this.#start();
  }

  /** Configuration space, registers and memory. */
  override save(): unknown {
    this.#direct.sync();
    return saveRecord(`vga ${this.name}`, 1, {
      ...this.#state,
      memory: this.#memory.save(),
      pci: this.config.save(),
    });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged; nothing has changed then. */
  override restore(saved: unknown): void {
    const { memory, pci, ...state } = restoreRecord(`vga ${this.name}`, 1, SHAPE, saved);
    const pages = this.#memory.check(memory);
    this.#direct.end();
    this.config.restore(pci);
    this.#memory.restore(pages);
    this.#state = state;
    this.remap();
  }

  /** The mode, for lists. */
  summary(): string {
    return this.#mode();
  }

  /** The mode, what it shows, and the registers. */
  override inspect(): Record<string, number | bigint | string> {
    const s = this.#state;
    const { columns, lines } = frame(s);
    const group = (registers: readonly number[]) =>
      registers.map((value) => value.toString(16).padStart(2, "0")).join(" ");
    return {
      ...super.inspect(),
      mode: this.#mode(),
      columns,
      lines,
      start: startAddress(s),
      cursor: s.crtc[0x0e] << 8 | s.crtc[0x0f],
      misc: s.misc,
      SR01: s.sequencer[1],
      SR02: s.sequencer[2],
      SR04: s.sequencer[4],
      GR05: s.graphics[5],
      GR06: s.graphics[6],
      AR10: s.attribute[0x10],
      dispiEnable: s.dispi[DISPI.ENABLE],
      sequencer: group(s.sequencer),
      crtc: group(s.crtc),
      graphics: group(s.graphics),
      attribute: group(s.attribute),
      dispi: group(s.dispi),
      latches: group(s.latches),
    };
  }

  #mode(): string {
    const { dispi, graphics, sequencer } = this.#state;
    if (dispiEnabled(this.#state)) {
      return `${dispi[DISPI.XRES]}x${dispi[DISPI.YRES]}, ${dispi[DISPI.BPP]} bits`;
    }
    if (!isShown(this.#state)) return "off";
    if (isText(this.#state)) return "text";
    if ((graphics[5] & 0x40) === 0) return "16 colours";
    return sequencer[4] & 0x08 ? "256 colours, chained" : "256 colours, planar";
  }

  #start(): VgaState {
    this.#memory.clear();
    if (!this.#options.configured) return powerOn();
    const { font } = this.#options;
    for (let at = 0; at < 0x4000; at += 2) {
      this.#memory.set(at * 4, 0x20);
      this.#memory.set(at * 4 + 1, 0x07);
    }
    const height = font === undefined ? 0 : Math.floor(font.length / FONT_CHARACTERS);
    for (let i = 0; i < height * FONT_CHARACTERS; i++) {
      const slot = Math.floor(i / height) * FONT_SLOT + i % height;
      this.#memory.set(slot * 4 + 2, font![i]);
    }
    return textMode();
  }

  #readWindow(offset: number): number {
    const address = decode(this.#state, offset);
    if (address === undefined) return 0xff;
    const base = bankBase(this.#state);
    if (dispiLinear(this.#state)) return this.#memory.get(base + address);
    return readPlanes(this.#state, this.#memory, address, base);
  }

  #writeWindow(offset: number, value: number): void {
    const address = decode(this.#state, offset);
    if (address === undefined) return;
    const base = bankBase(this.#state);
    if (dispiLinear(this.#state)) this.#memory.set(base + address, value);
    else writePlanes(this.#state, this.#memory, address, base, value);
  }

  #readDispi(offset: number, data: Uint8Array): void {
    const value = offset === 0 ? this.#state.dispiIndex : readDispi(this.#state, this.#memory);
    for (let i = 0; i < data.length && i < 2; i++) data[i] = value >> (8 * i);
  }

  #writeDispi(offset: number, data: Uint8Array): void {
    const value = data[0] | (data[1] ?? 0) << 8;
    if (offset === 0) this.#state.dispiIndex = value;
    else writeDispi(this.#state, this.#memory, value);
  }

  #readRegisters(offset: number, data: Uint8Array): void {
    if (offset >= REGISTERS_PORTS && offset + data.length <= REGISTERS_PORTS + 0x20) {
      const port = 0x3c0 + offset - REGISTERS_PORTS;
      for (let i = 0; i < data.length; i++) data[i] = readPort(this.#state, port + i, this.#beam);
    } else if (this.#isDispi(offset, data)) {
      const value = readDispi({ ...this.#state, dispiIndex: (offset - REGISTERS_DISPI) >> 1 }, this.#memory);
      data[0] = value;
      data[1] = value >> 8;
    }
  }

  #writeRegisters(offset: number, data: Uint8Array): void {
    if (offset >= REGISTERS_PORTS && offset + data.length <= REGISTERS_PORTS + 0x20) {
      const port = 0x3c0 + offset - REGISTERS_PORTS;
      for (let i = 0; i < data.length; i++) writePort(this.#state, port + i, data[i]);
    } else if (this.#isDispi(offset, data)) {
      const index = this.#state.dispiIndex;
      this.#state.dispiIndex = (offset - REGISTERS_DISPI) >> 1;
      writeDispi(this.#state, this.#memory, data[0] | data[1] << 8);
      this.#state.dispiIndex = index;
    }
  }

  #isDispi(offset: number, data: Uint8Array): boolean {
    const at = offset - REGISTERS_DISPI;
    return at >= 0 && at < 0x16 && (at & 1) === 0 && data.length === 2;
  }
}
