/**
 * The registers of a VGA as one record, and what they are after power-on and in mode 3.
 *
 * Data sheets: IBM Personal System/2 Hardware Interface Technical Reference, "Video Subsystem" (May 1988); Intel 965G
 * Programmer's Reference Manual, volume 3, chapter 2 "VGA and extended VGA registers".
 */
import type { RegisterBits } from "../../vm/register_bits.ts";
import { bits, flag, integer, list, type Shape } from "../state.ts";

/** How many registers each group has. */
export const SEQUENCER_REGISTERS = 5;
export const CRTC_REGISTERS = 25;
export const GRAPHICS_REGISTERS = 9;
export const ATTRIBUTE_REGISTERS = 21;
export const DISPI_REGISTERS = 11;
const PALETTE_BYTES = 768;

/** Names of the bits of the registers that say what mode it is. */
export const VGA_BITS: Readonly<Record<string, RegisterBits>> = {
  misc: { COLOUR: 0x01, RAM: 0x02, CLOCK: 0x0c, PAGE: 0x20, HSYNC: 0x40, VSYNC: 0x80 },
  SR01: { "8 dots": 0x01, "half clock": 0x08, "screen off": 0x20 },
  SR02: { MASK: 0x0f },
  SR04: { EXTENDED: 0x02, SEQUENTIAL: 0x04, CHAIN4: 0x08 },
  GR05: { WRITE: 0x03, READ: 0x08, ODDEVEN: 0x10, SHIFT: 0x60 },
  GR06: { GRAPHICS: 0x01, CHAIN: 0x02, MAP: 0x0c },
  AR10: {
    GRAPHICS: 0x01,
    MONO: 0x02,
    LINE: 0x04,
    BLINK: 0x08,
    "pan to split": 0x20,
    "8 bits": 0x40,
    P54S: 0x80,
  },
  dispiEnable: { ENABLED: 0x01, GETCAPS: 0x02, DAC8: 0x20, LINEAR: 0x40, NOCLEAR: 0x80 },
};

/** Every register and latch. */
export interface VgaState {
  /** Miscellaneous output. */
  misc: number;
  /** Video subsystem enable, port 0x3c3. */
  enable: number;
  featureControl: number;
  sequencerIndex: number;
  sequencer: number[];
  crtcIndex: number;
  crtc: number[];
  graphicsIndex: number;
  graphics: number[];
  /** With bit 5, which lets the palette drive the screen. */
  attributeIndex: number;
  /** Whether the next write of port 0x3c0 is data. */
  attributeData: boolean;
  attribute: number[];
  dacMask: number;
  dacReadIndex: number;
  dacWriteIndex: number;
  /** Red, green or blue is next: 0, 1, 2. */
  dacComponent: number;
  /** 3 after the read index was written, else 0. */
  dacMode: number;
  /** Red and green of the colour that is being written. */
  dacLatch: number[];
  /** Red, green, blue of 256 colours, 6 bits each, or 8 where the dispi asks for it. */
  palette: number[];
  /** What the last read left in the four planes' latches. */
  latches: number[];
  dispiIndex: number;
  dispi: number[];
}

const bytes = (count: number) => list(bits(8), count, count);

/** What a saved state must look like. */
export const VGA_SHAPE: Shape<VgaState> = {
  misc: bits(8),
  enable: bits(8),
  featureControl: bits(8),
  sequencerIndex: bits(8),
  sequencer: bytes(SEQUENCER_REGISTERS),
  crtcIndex: bits(8),
  crtc: bytes(CRTC_REGISTERS),
  graphicsIndex: bits(8),
  graphics: bytes(GRAPHICS_REGISTERS),
  attributeIndex: bits(6),
  attributeData: flag,
  attribute: bytes(ATTRIBUTE_REGISTERS),
  dacMask: bits(8),
  dacReadIndex: bits(8),
  dacWriteIndex: bits(8),
  dacComponent: integer(0, 2),
  dacMode: bits(2),
  dacLatch: bytes(2),
  palette: bytes(PALETTE_BYTES),
  latches: bytes(4),
  dispiIndex: bits(16),
  dispi: list(bits(16), DISPI_REGISTERS, DISPI_REGISTERS),
};

/** After power-on: nothing is shown, no memory is decoded. */
export function powerOn(): VgaState {
  const zeros = (count: number) => new Array<number>(count).fill(0);
  return {
    misc: 0,
    enable: 1,
    featureControl: 0,
    sequencerIndex: 0,
    sequencer: zeros(SEQUENCER_REGISTERS),
    crtcIndex: 0,
    crtc: zeros(CRTC_REGISTERS),
    graphicsIndex: 0,
    graphics: zeros(GRAPHICS_REGISTERS),
    attributeIndex: 0,
    attributeData: false,
    attribute: zeros(ATTRIBUTE_REGISTERS),
    dacMask: 0xff,
    dacReadIndex: 0,
    dacWriteIndex: 0,
    dacComponent: 0,
    dacMode: 0,
    dacLatch: zeros(2),
    palette: zeros(PALETTE_BYTES),
    latches: zeros(4),
    dispiIndex: 0,
    dispi: [0xb0c5, ...zeros(DISPI_REGISTERS - 1)],
  };
}

/** As a BIOS leaves it: mode 3, 80 columns and 25 rows of text in 9 by 16 dots, with the palette of an EGA. */
export function textMode(): VgaState {
  const palette = new Array<number>(PALETTE_BYTES).fill(0);
  for (let i = 0; i < 64; i++) {
    for (let c = 0; c < 3; c++) {
      palette[3 * i + c] = (i >> (2 - c) & 1) * 0x2a + (i >> (5 - c) & 1) * 0x15;
    }
  }
  return {
    ...powerOn(),
    misc: 0x67,
    sequencer: [0x03, 0x00, 0x03, 0x00, 0x02],
    crtc: [
      ...[0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00],
      ...[0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
    ],
    graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff],
    attributeIndex: 0x20,
    attribute: [
      ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f],
      ...[0x0c, 0x00, 0x0f, 0x08, 0x00],
    ],
    palette,
  };
}
