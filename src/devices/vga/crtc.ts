/**
 * What the CRT controller's registers say about a frame: its size, its timing, and the order of its addresses.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "CRT controller"; Intel 965G PRM, volume 3, 2.6.
 */
import type { VgaState } from "./vga_state.ts";

/** Clocks by bits 3:2 of the miscellaneous output register, in Hz; the others go to a plug that is not there. */
const CLOCKS = [25_175_000, 28_322_000, 25_175_000, 25_175_000] as const;
const NINE_DOTS_OFF_BIT = 0x01;
const HALF_CLOCK_BIT = 0x08;

/** A frame, in character clocks and scan lines. */
export interface Frame {
  /** Dots of a character clock: 8 or 9. */
  readonly dots: number;
  /** Character clocks that are shown, and of a whole line. */
  readonly columns: number;
  readonly totalColumns: number;
  /** Scan lines that are shown, and of a whole frame. */
  readonly lines: number;
  readonly totalLines: number;
  readonly retraceStart: number;
  readonly retraceEnd: number;
  /** The scan line after which the address starts again at 0. */
  readonly lineCompare: number;
  /** Scan lines of a row. */
  readonly rowLines: number;
  /** Whether every scan line is shown twice. */
  readonly doubled: boolean;
  /** Nanoseconds of a whole line. */
  readonly lineNs: number;
}

/** The frame that the registers describe. */
export function frame(state: VgaState): Frame {
  const { crtc, sequencer } = state;
  const overflow = crtc[0x07];
  const dots = sequencer[1] & NINE_DOTS_OFF_BIT ? 8 : 9;
  const totalColumns = crtc[0x00] + 5;
  const retraceStart = crtc[0x10] | (overflow & 0x04) << 6 | (overflow & 0x80) << 2;
  const clock = CLOCKS[state.misc >> 2 & 3] / (sequencer[1] & HALF_CLOCK_BIT ? 2 : 1);
  return {
    dots,
    columns: crtc[0x01] + 1,
    totalColumns,
    lines: (crtc[0x12] | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1,
    totalLines: (crtc[0x06] | (overflow & 0x01) << 8 | (overflow & 0x20) << 4) + 2,
    retraceStart,
    // Four bits are compared: it ends within 16 lines.
    retraceEnd: retraceStart + (((crtc[0x11] - retraceStart) & 0x0f) || 16),
    lineCompare: crtc[0x18] | (overflow & 0x10) << 4 | (crtc[0x09] & 0x40) << 3,
    rowLines: (crtc[0x09] & 0x1f) + 1,
    doubled: (crtc[0x09] & 0x80) !== 0,
    lineNs: totalColumns * dots * 1e9 / clock,
  };
}

/** Where the picture starts in the planes. */
export function startAddress({ crtc }: VgaState): number {
  return crtc[0x0c] << 8 | crtc[0x0d];
}

/** How far a row is from the next one, in counts of the address counter. */
export function rowPitch({ crtc }: VgaState): number {
  return crtc[0x13] * 2;
}

/**
 * The offset in a plane that the address counter reads: by bytes, words or double words, with the row's low bits put
 * into bits 13 and 14 as a CGA and a Hercules card want them (CR14 bit 6, CR17 bits 0, 1, 5, 6).
 */
export function planeOffset({ crtc }: VgaState, counter: number, rowLine: number): number {
  const mode = crtc[0x17];
  let address = counter & 0xffff;
  if ((crtc[0x14] & 0x40) !== 0) address = address << 2 | address >> 14;
  else if ((mode & 0x40) === 0) address = address << 1 | address >> (mode & 0x20 ? 15 : 13) & 1;
  if ((mode & 0x01) === 0) address = address & ~0x2000 | (rowLine & 1) << 13;
  if ((mode & 0x02) === 0) address = address & ~0x4000 | (rowLine & 2) << 13;
  return address & 0xffff;
}
