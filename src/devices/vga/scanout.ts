/**
 * The picture a monitor would show of the VGA's own modes: text, 16 colours, 4 colours, 256 colours.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Attribute controller"; Intel 965G PRM, volume 3, 2.5.
 */
import type { Picture } from "../../vm/picture.ts";
import { type Frame, frame, planeOffset, rowPitch, startAddress } from "./crtc.ts";
import { TextCursor } from "./picture.ts";
import type { VgaState } from "./vga_state.ts";
import { PLANES_BYTES, type VideoMemory } from "./video_memory.ts";

const GRAPHICS_BIT = 0x01;
const SHIFT_256_BIT = 0x40;
const SHIFT_INTERLEAVE_BIT = 0x20;
const LINE_GRAPHICS_BIT = 0x04;
const BLINK_BIT = 0x08;
const PAN_COMPATIBLE_BIT = 0x20;
const PALETTE_BITS_BIT = 0x80;
const SCREEN_OFF_BIT = 0x20;
const PALETTE_DRIVES_BIT = 0x20;

/** Whether the registers ask for text. */
export function isText(state: VgaState): boolean {
  return (state.graphics[6] & GRAPHICS_BIT) === 0;
}

/** Whether anything is shown at all. */
export function isShown(state: VgaState): boolean {
  return (state.sequencer[1] & SCREEN_OFF_BIT) === 0 && (state.attributeIndex & PALETTE_DRIVES_BIT) !== 0;
}

/** Draws a line of dots as palette indices; gives how many it drew. */
type DrawLine = (counter: number, rowLine: number, into: Uint8Array) => number;

/**
 * The picture. Lines and dots that the chip only doubles come once: mode 13h has 320 by 200. Characters that blink
 * are shown, and so is the cursor.
 */
export function scanout(state: VgaState, memory: VideoMemory): Picture {
  const f = frame(state);
  const text = isText(state);
  const cga = (state.crtc[0x17] & 3) !== 3;
  const skipped = (f.doubled ? 2 : 1) * (state.crtc[8] & 0x1f);
  const same = sameLines((f.doubled ? 2 : 1) * (text || cga ? 1 : f.rowLines), skipped, f);
  const panning = state.attribute[0x13] & 0x0f;
  const draw: DrawLine = text ? textLine(state, memory, f) : graphicsLine(state, memory, f);
  const shown = text ? f.dots : (state.graphics[5] & SHIFT_256_BIT) !== 0 ? 4 : 8;
  const width = f.columns * shown;
  const height = Math.max(1, Math.floor(f.lines / same));
  const rgb = new Uint8Array(width * height * 3);
  if (!isShown(state)) return { width, height, rgb };
  const colours = rgbTable(state);
  const line = new Uint8Array((f.columns + 1) * shown);
  const rowBytes = rowPitch(state);
  const first = startAddress(state) + (state.crtc[8] >> 5 & 3);
  for (let y = 0; y < height; y++) {
    const scan = y * same;
    const split = scan > f.lineCompare;
    const counted = split ? scan - f.lineCompare - 1 : scan + skipped;
    const rowScan = f.doubled ? counted >> 1 : counted;
    const row = Math.floor(rowScan / f.rowLines);
    const pan = split && state.attribute[0x10] & PAN_COMPATIBLE_BIT ? 0 : dotsOf(panning, shown, f.dots);
    draw((split ? 0 : first) + row * rowBytes, rowScan % f.rowLines, line);
    for (let x = 0, at = y * width * 3; x < width; x++, at += 3) {
      const colour = line[x + pan] * 3;
      rgb[at] = colours[colour];
      rgb[at + 1] = colours[colour + 1];
      rgb[at + 2] = colours[colour + 2];
    }
  }
  return { width, height, rgb };
}

/**
 * How many scan lines come once in the picture: `alike`, unless rows start in between because the preset row scan skips
 * a part of the first or line compare cuts one; then each line counts.
 */
function sameLines(alike: number, skipped: number, { lineCompare, lines }: Frame): number {
  const split = lineCompare + 1;
  return skipped % alike === 0 && (split >= lines || split % alike === 0) ? alike : 1;
}

/**
 * Dots that pixel panning leaves out at the left. 8 and above mean none: BIOSes set 8 where characters have nine dots,
 * and programs that make them eight leave it there.
 */
function dotsOf(panning: number, shown: number, dots: number): number {
  if (panning >= 8) return 0;
  if (shown === 4) return panning >> 1;
  return dots === 9 ? panning + 1 : panning;
}

function textLine(state: VgaState, memory: VideoMemory, f: Frame): DrawLine {
  const { attribute, crtc } = state;
  const planes = memory.bytes.subarray(0, PLANES_BYTES);
  const mode = attribute[0x10];
  const lookUp = paletteIndices(state);
  const select = state.sequencer[3];
  const fonts = [fontAt(select & 3 | select >> 2 & 4), fontAt(select >> 2 & 3 | select >> 3 & 4)];
  const cursor = new TextCursor(crtc);
  const underline = crtc[0x14] & 0x1f;
  return (counter, rowLine, into) => {
    let x = 0;
    for (let column = 0; column <= f.columns; column++) {
      const at = planeOffset(state, counter + column, rowLine) * 4;
      const character = planes[at];
      const colour = planes[at + 1];
      const font = fonts[colour >> 3 & 1];
      let bits = planes[((font + character * 32 + rowLine) & 0xffff) * 4 + 2] << 1;
      // Line drawing characters go on into the ninth dot.
      if (mode & LINE_GRAPHICS_BIT && character >= 0xc0 && character <= 0xdf) bits |= bits >> 1 & 1;
      if (rowLine === underline && (colour & 0x77) === 0x01) bits = 0x1ff;
      if (cursor.covers(counter + column, rowLine)) bits = 0x1ff;
      const front = lookUp[colour & 0x0f];
      const back = lookUp[mode & BLINK_BIT ? colour >> 4 & 7 : colour >> 4];
      for (let dot = 0; dot < f.dots; dot++) into[x++] = bits >> (8 - dot) & 1 ? front : back;
    }
    return x;
  };
}

/** Fonts are 8 KiB each: 0, 16, 32, 48 KiB, then those between (965G PRM, 2.3, SR03). */
function fontAt(number: number): number {
  return (number & 3) << 14 | (number & 4) << 11;
}

function graphicsLine(state: VgaState, memory: VideoMemory, f: Frame): DrawLine {
  const planes = memory.bytes.subarray(0, PLANES_BYTES);
  const lookUp = paletteIndices(state);
  const enabled = state.attribute[0x12] & 0x0f;
  const mode = state.graphics[5];
  return (counter, rowLine, into) => {
    let x = 0;
    for (let column = 0; column <= f.columns; column++) {
      const at = planeOffset(state, counter + column, rowLine) * 4;
      if (mode & SHIFT_256_BIT) {
        for (let plane = 0; plane < 4; plane++) into[x++] = planes[at + plane];
        continue;
      }
      for (let dot = 0; dot < 8; dot++) {
        let pixel = 0;
        if (mode & SHIFT_INTERLEAVE_BIT) {
          const plane = dot >> 2;
          const shift = 6 - 2 * (dot & 3);
          pixel = planes[at + plane] >> shift & 3 | (planes[at + plane + 2] >> shift & 3) << 2;
        } else {
          for (let plane = 0; plane < 4; plane++) pixel |= (planes[at + plane] >> (7 - dot) & 1) << plane;
        }
        into[x++] = lookUp[pixel & enabled];
      }
    }
    return x;
  };
}

/** What the attribute controller makes of 4 bits: an index of the palette. */
function paletteIndices({ attribute }: VgaState): Uint8Array {
  const high = (attribute[0x14] & 0x0c) << 4;
  const middle = (attribute[0x14] & 0x03) << 4;
  return Uint8Array.from(
    { length: 16 },
    (_, i) =>
      attribute[0x10] & PALETTE_BITS_BIT ? high | middle | attribute[i] & 0x0f : high | attribute[i] & 0x3f,
  );
}

/** Colours of the DAC as 8 bits each, after the mask. @param wide Whether it has 8 bits and not 6. */
export function rgbTable(state: VgaState, wide = false): Uint8Array {
  const table = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    for (let c = 0; c < 3; c++) {
      const value = state.palette[(i & state.dacMask) * 3 + c];
      table[3 * i + c] = wide ? value : (value & 0x3f) << 2 | (value & 0x3f) >> 4;
    }
  }
  return table;
}
