/**
 * How the processor's bytes get to the planes and back: the graphics controller, and the sequencer's map mask.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Graphics controller" and "Sequencer"; Intel 965G PRM,
 * volume 3, 2.4 and 2.3.
 */
import type { VgaState } from "./vga_state.ts";
import type { VideoMemory } from "./video_memory.ts";

/** Graphics controller registers. */
const SET_RESET = 0;
const ENABLE_SET_RESET = 1;
const COLOUR_COMPARE = 2;
const DATA_ROTATE = 3;
const READ_MAP_SELECT = 4;
const MODE = 5;
const MISCELLANEOUS = 6;
const COLOUR_DONT_CARE = 7;
const BIT_MASK = 8;
const READ_MODE_BIT = 0x08;
const READ_ODD_EVEN_BIT = 0x10;
/** Sequencer registers. */
const MAP_MASK = 2;
const MEMORY_MODE = 4;
const SEQUENTIAL_BIT = 0x04;
const CHAIN_4_BIT = 0x08;
/** Miscellaneous output: the processor may reach the memory. */
const MISC_MEMORY_BIT = 0x02;

/** First address of the window, and how much of it there is at most. */
export const WINDOW = 0xa0000;
export const WINDOW_BYTES = 0x20000;

/** Start and length, from `WINDOW` on, by bits 3:2 of the miscellaneous graphics register. */
const MAPS = [[0, 0x20000], [0, 0x10000], [0x10000, 0x8000], [0x18000, 0x8000]] as const;

/** What of the window the registers choose: bytes from `WINDOW`, and how many. */
export function windowMap({ graphics }: VgaState): readonly [start: number, length: number] {
  return MAPS[graphics[MISCELLANEOUS] >> 2 & 3];
}

/**
 * Where an address in the window is in the memory that the registers show there.
 *
 * @param offset Bytes from `WINDOW`.
 * @returns undefined if nothing is decoded there.
 */
export function decode(state: VgaState, offset: number): number | undefined {
  if ((state.misc & MISC_MEMORY_BIT) === 0 || (state.enable & 1) === 0) return undefined;
  const [start, length] = windowMap(state);
  return offset >= start && offset < start + length ? offset - start : undefined;
}

/** Which plane and offset an address is, for reads. @param base What a bank adds to the offset in a plane. */
function place(state: VgaState, address: number, oddEven: boolean): number {
  // Chain-4 leaves the low two bits to the planes, and odd/even the lowest (965G PRM, 2.3, SR04).
  if ((state.sequencer[MEMORY_MODE] & CHAIN_4_BIT) !== 0) return address & 0xfffc;
  return address & (oddEven ? 0xfffe : 0xffff);
}

/** The processor reads a byte: it fills the latches, and gets one plane or a comparison of colours. */
export function readPlanes(state: VgaState, memory: VideoMemory, address: number, base: number): number {
  const { graphics, latches } = state;
  const oddEven = (graphics[MODE] & READ_ODD_EVEN_BIT) !== 0;
  const at = (base + place(state, address, oddEven)) * 4;
  for (let plane = 0; plane < 4; plane++) latches[plane] = memory.get(at + plane);
  if ((graphics[MODE] & READ_MODE_BIT) !== 0) {
    let differs = 0;
    for (let plane = 0; plane < 4; plane++) {
      if ((graphics[COLOUR_DONT_CARE] >> plane & 1) === 0) continue;
      differs |= latches[plane] ^ (graphics[COLOUR_COMPARE] >> plane & 1 ? 0xff : 0);
    }
    return ~differs & 0xff;
  }
  if ((state.sequencer[MEMORY_MODE] & CHAIN_4_BIT) !== 0) return latches[address & 3];
  const select = graphics[READ_MAP_SELECT] & 3;
  return latches[oddEven ? select & 2 | address & 1 : select];
}

/** The processor writes a byte: write modes 0 to 3. */
export function writePlanes(
  state: VgaState,
  memory: VideoMemory,
  address: number,
  base: number,
  value: number,
): void {
  const { graphics, latches, sequencer } = state;
  let planes = sequencer[MAP_MASK] & 0x0f;
  const oddEven = (sequencer[MEMORY_MODE] & SEQUENTIAL_BIT) === 0;
  if ((sequencer[MEMORY_MODE] & CHAIN_4_BIT) !== 0) planes &= 1 << (address & 3);
  else if (oddEven) planes &= address & 1 ? 0b1010 : 0b0101;
  const at = (base + place(state, address, oddEven)) * 4;
  const mode = graphics[MODE] & 3;
  const rotated = rotate(value, graphics[DATA_ROTATE] & 7);
  const mask = mode === 3 ? graphics[BIT_MASK] & rotated : graphics[BIT_MASK];
  for (let plane = 0; plane < 4; plane++) {
    if ((planes >> plane & 1) === 0) continue;
    const latch = latches[plane];
    if (mode === 1) {
      memory.set(at + plane, latch);
      continue;
    }
    const bit = 1 << plane;
    const reset = graphics[SET_RESET] & bit ? 0xff : 0;
    const source = mode === 0
      ? graphics[ENABLE_SET_RESET] & bit ? reset : rotated
      : mode === 2
      ? value & bit ? 0xff : 0
      : reset;
    const result = combine(graphics[DATA_ROTATE] >> 3 & 3, source, latch);
    memory.set(at + plane, result & mask | latch & ~mask);
  }
}

function rotate(value: number, by: number): number {
  return (value >> by | value << (8 - by)) & 0xff;
}

/** Function select: the data as they are, and, or, exclusive or with the latch. */
function combine(select: number, source: number, latch: number): number {
  if (select === 1) return source & latch;
  if (select === 2) return source | latch;
  return select === 3 ? source ^ latch : source;
}
