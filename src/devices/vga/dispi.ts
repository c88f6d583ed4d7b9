/**
 * The Bochs display interface: modes of any size and depth in linear memory, beside the VGA's own.
 *
 * Specification: Bochs, "VBE Display Interface"; QEMU, docs/specs/standard-vga.rst.
 */
import type { Picture } from "../../vm/picture.ts";
import { rgbTable } from "./scanout.ts";
import type { VgaState } from "./vga_state.ts";
import type { VideoMemory } from "./video_memory.ts";

/** Registers by index. */
export const DISPI = {
  ID: 0,
  XRES: 1,
  YRES: 2,
  BPP: 3,
  ENABLE: 4,
  BANK: 5,
  VIRT_WIDTH: 6,
  VIRT_HEIGHT: 7,
  X_OFFSET: 8,
  Y_OFFSET: 9,
  MEMORY_64K: 10,
} as const;
const ENABLED_BIT = 0x01;
const GETCAPS_BIT = 0x02;
const DAC_8_BITS_BIT = 0x20;
const LINEAR_BIT = 0x40;
const NO_CLEAR_BIT = 0x80;
const ENABLE_MASK = ENABLED_BIT | GETCAPS_BIT | DAC_8_BITS_BIT | LINEAR_BIT | NO_CLEAR_BIT;
const FIRST_ID = 0xb0c0;
const LAST_ID = 0xb0c5;
const BANK_BYTES = 0x1_0000;
/** The largest picture, as GETCAPS tells it. */
const MOST: Readonly<Record<number, number>> = { [DISPI.XRES]: 2560, [DISPI.YRES]: 1600, [DISPI.BPP]: 32 };
const DEPTHS: readonly number[] = [4, 8, 15, 16, 24, 32];

/** Whether a mode of the interface is on. */
export function dispiEnabled({ dispi }: VgaState): boolean {
  return (dispi[DISPI.ENABLE] & ENABLED_BIT) !== 0;
}

/** Whether a mode is on whose window at 0xa0000 is linear memory. */
export function dispiLinear(state: VgaState): boolean {
  return dispiEnabled(state) && state.dispi[DISPI.BPP] !== 4;
}

/** What the bank adds to an offset in the window, in bytes of linear memory or of a plane. */
export function bankBase(state: VgaState): number {
  return dispiEnabled(state) ? state.dispi[DISPI.BANK] * BANK_BYTES : 0;
}

/** Whether the DAC takes 8 bits for a colour. */
export function wideDac({ dispi }: VgaState): boolean {
  return (dispi[DISPI.ENABLE] & DAC_8_BITS_BIT) !== 0;
}

/** The guest reads the register that is selected. */
export function readDispi({ dispi, dispiIndex: index }: VgaState, memory: VideoMemory): number {
  if (index === DISPI.MEMORY_64K) return memory.size / BANK_BYTES;
  if (index in MOST && (dispi[DISPI.ENABLE] & GETCAPS_BIT) !== 0) return MOST[index];
  return dispi[index] ?? 0;
}

/** The guest writes it. What makes no sense is ignored, and a mode that does not fit the memory stays off. */
export function writeDispi(state: VgaState, memory: VideoMemory, value: number): void {
  const { dispi, dispiIndex: index } = state;
  const enabled = dispiEnabled(state);
  switch (index) {
    case DISPI.ID:
      if (value >= FIRST_ID && value <= LAST_ID) dispi[index] = value;
      break;
    case DISPI.XRES:
    case DISPI.YRES:
      if (!enabled && value <= MOST[index]) dispi[index] = value;
      break;
    case DISPI.BPP:
      // Bochs takes 0 for 8, for programs of its first version.
      if (!enabled && DEPTHS.includes(value || 8)) dispi[index] = value || 8;
      break;
    case DISPI.ENABLE:
      enable(state, memory, value & ENABLE_MASK);
      break;
    case DISPI.BANK:
      if (value < memory.size / BANK_BYTES) dispi[index] = value;
      break;
    case DISPI.VIRT_WIDTH:
      if (enabled && value >= dispi[DISPI.XRES]) setVirtual(state, memory, value);
      break;
    case DISPI.X_OFFSET:
      if (value + dispi[DISPI.XRES] <= dispi[DISPI.VIRT_WIDTH]) dispi[index] = value;
      break;
    case DISPI.Y_OFFSET:
      if (value + dispi[DISPI.YRES] <= dispi[DISPI.VIRT_HEIGHT]) dispi[index] = value;
      break;
  }
}

function enable(state: VgaState, memory: VideoMemory, value: number): void {
  const { dispi } = state;
  const before = dispiEnabled(state);
  dispi[DISPI.ENABLE] = value;
  if ((value & ENABLED_BIT) === 0) {
    dispi[DISPI.BANK] = 0;
    return;
  }
  if (before) return;
  dispi[DISPI.X_OFFSET] = dispi[DISPI.Y_OFFSET] = dispi[DISPI.BANK] = 0;
  if (!setVirtual(state, memory, dispi[DISPI.XRES])) {
    dispi[DISPI.ENABLE] = value & ~ENABLED_BIT;
    return;
  }
  if ((value & NO_CLEAR_BIT) === 0) memory.clear();
}

/** Sets the width of a line in memory, if the picture fits then. */
function setVirtual(state: VgaState, memory: VideoMemory, width: number): boolean {
  const { dispi } = state;
  const pitch = lineBytes(width, dispi[DISPI.BPP]);
  const size = dispi[DISPI.BPP] === 4 ? memory.size / 4 : memory.size;
  const height = pitch === 0 ? 0 : Math.min(0xffff, Math.floor(size / pitch));
  if (dispi[DISPI.YRES] === 0 || height < dispi[DISPI.YRES]) return false;
  dispi[DISPI.VIRT_WIDTH] = width;
  dispi[DISPI.VIRT_HEIGHT] = height;
  const { X_OFFSET, Y_OFFSET, XRES, YRES } = DISPI;
  dispi[X_OFFSET] = Math.min(dispi[X_OFFSET], width - dispi[XRES]);
  dispi[Y_OFFSET] = Math.min(dispi[Y_OFFSET], height - dispi[YRES]);
  return true;
}

/** Bytes of a line; in the planes of 4 bits a dot, those of one plane. */
function lineBytes(width: number, bpp: number): number {
  return bpp === 4 ? width >> 3 : width * ((bpp + 7) >> 3);
}

/** The picture of the mode that is on. */
export function dispiPicture(state: VgaState, memory: VideoMemory): Picture {
  const { dispi } = state;
  const width = dispi[DISPI.XRES];
  const height = dispi[DISPI.YRES];
  const bpp = dispi[DISPI.BPP];
  const pitch = lineBytes(dispi[DISPI.VIRT_WIDTH], bpp);
  const rgb = new Uint8Array(width * height * 3);
  const colours = rgbTable(state, wideDac(state));
  let at = 0;
  for (let y = 0; y < height; y++) {
    const line = (y + dispi[DISPI.Y_OFFSET]) * pitch;
    for (let x = 0; x < width; x++, at += 3) {
      dot(state, memory, colours, line, x + dispi[DISPI.X_OFFSET], bpp, rgb, at);
    }
  }
  return { width, height, rgb };
}

function dot(
  state: VgaState,
  memory: VideoMemory,
  colours: Uint8Array,
  line: number,
  x: number,
  bpp: number,
  rgb: Uint8Array,
  to: number,
): void {
  if (bpp <= 8) {
    let colour = 0;
    if (bpp === 8) colour = memory.get(line + x);
    else {
      const byte = (line + (x >> 3)) * 4;
      for (let plane = 0; plane < 4; plane++) {
        colour |= (memory.get(byte + plane) >> (7 - (x & 7)) & 1) << plane;
      }
      colour = state.attribute[colour] & 0x3f;
    }
    for (let c = 0; c < 3; c++) rgb[to + c] = colours[colour * 3 + c];
    return;
  }
  const at = line + x * ((bpp + 7) >> 3);
  if (bpp >= 24) {
    for (let c = 0; c < 3; c++) rgb[to + c] = memory.get(at + 2 - c);
    return;
  }
  const value = memory.get(at) | memory.get(at + 1) << 8;
  const green = bpp === 15 ? 5 : 6;
  rgb[to] = spread(value >> (5 + green) & 0x1f, 5);
  rgb[to + 1] = spread(value >> 5 & (1 << green) - 1, green);
  rgb[to + 2] = spread(value & 0x1f, 5);
}

/** Makes 8 bits of fewer, so that all ones stay all ones. */
function spread(value: number, bits: number): number {
  return value << (8 - bits) | value >> (2 * bits - 8);
}
