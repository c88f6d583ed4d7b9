/**
 * The VGA's ports 0x3b0 to 0x3df: index and data registers, the attribute controller's toggle, the DAC.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; Intel 965G PRM, volume 3, chapter 2.
 */
import type { Beam } from "./beam.ts";
import { wideDac } from "./dispi.ts";
import {
  ATTRIBUTE_REGISTERS,
  CRTC_REGISTERS,
  GRAPHICS_REGISTERS,
  SEQUENCER_REGISTERS,
  type VgaState,
} from "./vga_state.ts";

/** Miscellaneous output bit 0: the CRT controller is at 0x3d4 and not at 0x3b4. */
const COLOUR_BIT = 0x01;
/** CR11 bit 7: CR00 to CR07 can't be written, but for bit 4 of CR07. */
const PROTECT_BIT = 0x80;
const LINE_COMPARE_BIT = 0x10;
/** Bits of the index registers (965G PRM, 2.3 and 2.4). */
const SEQUENCER_INDEX_MASK = 0x07;
const GRAPHICS_INDEX_MASK = 0x0f;
/** Which bits there are, by register. */
const SEQUENCER_MASKS = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_MASKS = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const ATTRIBUTE_MASKS = [...new Array<number>(16).fill(0x3f), 0xef, 0xff, 0x3f, 0x0f, 0x0f];
/** Input status 0: the monitor senses as a colour one. */
const STATUS_0 = 0x10;
const BLANK_BIT = 0x01;
const RETRACE_BIT = 0x08;

/** The guest reads a port. */
export function readPort(state: VgaState, port: number, beam: Beam): number {
  const { sequencer, crtc, graphics, attribute } = state;
  switch (port) {
    case 0x3c0:
      return state.attributeData ? 0 : state.attributeIndex;
    case 0x3c1:
      return attribute[state.attributeIndex & 0x1f] ?? 0;
    case 0x3c2:
      return STATUS_0;
    case 0x3c3:
      return state.enable;
    case 0x3c4:
      return state.sequencerIndex;
    case 0x3c5:
      return sequencer[state.sequencerIndex] ?? 0;
    case 0x3c6:
      return state.dacMask;
    case 0x3c7:
      return state.dacMode;
    case 0x3c8:
      return state.dacWriteIndex;
    case 0x3c9:
      return readColour(state);
    case 0x3ca:
      return state.featureControl;
    case 0x3cc:
      return state.misc;
    case 0x3ce:
      return state.graphicsIndex;
    case 0x3cf:
      return graphics[state.graphicsIndex] ?? 0;
  }
  switch (crtcPort(state, port)) {
    case 4:
      return state.crtcIndex;
    case 5:
      return crtc[state.crtcIndex] ?? 0;
    case 10: {
      state.attributeData = false;
      const { blank, retrace } = beam.poll(state);
      return (blank ? BLANK_BIT : 0) | (retrace ? RETRACE_BIT : 0);
    }
  }
  return 0xff;
}

/** The guest writes a port. */
export function writePort(state: VgaState, port: number, value: number): void {
  switch (port) {
    case 0x3c0:
      writeAttribute(state, value);
      return;
    case 0x3c2:
      state.misc = value & 0xef;
      return;
    case 0x3c3:
      state.enable = value & 1;
      return;
    case 0x3c4:
      state.sequencerIndex = value & SEQUENCER_INDEX_MASK;
      return;
    case 0x3c5:
      set(state.sequencer, state.sequencerIndex, value, SEQUENCER_MASKS, SEQUENCER_REGISTERS);
      return;
    case 0x3c6:
      state.dacMask = value;
      return;
    case 0x3c7:
      state.dacReadIndex = value;
      state.dacComponent = 0;
      state.dacMode = 3;
      return;
    case 0x3c8:
      state.dacWriteIndex = value;
      state.dacComponent = 0;
      state.dacMode = 0;
      return;
    case 0x3c9:
      writeColour(state, value);
      return;
    case 0x3ce:
      state.graphicsIndex = value & GRAPHICS_INDEX_MASK;
      return;
    case 0x3cf:
      set(state.graphics, state.graphicsIndex, value, GRAPHICS_MASKS, GRAPHICS_REGISTERS);
      return;
  }
  switch (crtcPort(state, port)) {
    case 4:
      state.crtcIndex = value;
      return;
    case 5:
      writeCrtc(state, value);
      return;
    case 10:
      state.featureControl = value & 0x0b;
  }
}

/** The low digit of a port of the CRT controller, if it answers there now. */
function crtcPort(state: VgaState, port: number): number | undefined {
  const base = state.misc & COLOUR_BIT ? 0x3d0 : 0x3b0;
  return port >= base && port < base + 16 ? port - base : undefined;
}

function writeCrtc(state: VgaState, value: number): void {
  const { crtc, crtcIndex } = state;
  if (crtcIndex >= CRTC_REGISTERS) return;
  if (crtcIndex <= 7 && (crtc[0x11] & PROTECT_BIT) !== 0) {
    if (crtcIndex === 7) crtc[7] = crtc[7] & ~LINE_COMPARE_BIT | value & LINE_COMPARE_BIT;
    return;
  }
  crtc[crtcIndex] = value;
}

function writeAttribute(state: VgaState, value: number): void {
  if (!state.attributeData) state.attributeIndex = value & 0x3f;
  else {
    // 965G PRM, 2.5 has AR[00:0F] locked while the palette drives the screen; QEMU has not, and programs count on it.
    set(state.attribute, state.attributeIndex & 0x1f, value, ATTRIBUTE_MASKS, ATTRIBUTE_REGISTERS);
  }
  state.attributeData = !state.attributeData;
}

function set(
  registers: number[],
  index: number,
  value: number,
  masks: readonly number[],
  count: number,
): void {
  if (index < count) registers[index] = value & masks[index];
}

function readColour(state: VgaState): number {
  const value = state.palette[state.dacReadIndex * 3 + state.dacComponent];
  state.dacComponent = (state.dacComponent + 1) % 3;
  if (state.dacComponent === 0) state.dacReadIndex = (state.dacReadIndex + 1) & 0xff;
  return value;
}

/** A colour is taken when its blue arrives. */
function writeColour(state: VgaState, value: number): void {
  const part = wideDac(state) ? value : value & 0x3f;
  if (state.dacComponent < 2) {
    state.dacLatch[state.dacComponent++] = part;
    return;
  }
  const at = state.dacWriteIndex * 3;
  state.palette[at] = state.dacLatch[0];
  state.palette[at + 1] = state.dacLatch[1];
  state.palette[at + 2] = part;
  state.dacComponent = 0;
  state.dacWriteIndex = (state.dacWriteIndex + 1) & 0xff;
}
