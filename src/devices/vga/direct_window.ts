/**
 * The window as plain memory. In text modes, in mode 13h and while fonts are loaded each address of it is one byte of
 * one plane, whatever the processor did before: then the machine can put RAM there, and drawing costs no exits. When
 * the registers say something else, or somebody looks, the bytes go to the planes.
 */
import type { DeviceHost, LentMemory } from "../../vm/device.ts";
import { WINDOW, windowMap } from "./data_path.ts";
import { dispiEnabled } from "./dispi.ts";
import type { VgaState } from "./vga_state.ts";
import type { VideoMemory } from "./video_memory.ts";

/** Accesses that make it worth while; twice as many each time it did not last. */
const FIRST_PATIENCE = 64;
const LAST_PATIENCE = 1 << 14;

/** A window that is plain memory. */
interface Plain {
  /** How many low bits of an address choose the plane: 1 in odd/even, 2 in chain-4; 0 where there is only `plane`. */
  readonly planeBits: 0 | 1 | 2;
  /** The plane of addresses whose low bits are 0. */
  readonly plane: number;
  /** Bytes from `WINDOW`. */
  readonly start: number;
  readonly length: number;
}

/** How the window is plain memory with these registers; undefined if it is not. */
export function plainWindow(state: VgaState): Plain | undefined {
  const { graphics, sequencer } = state;
  if (dispiEnabled(state) || (state.misc & 0x02) === 0 || (state.enable & 1) === 0) return undefined;
  // Write mode 0 without set/reset, rotation, function and mask; read mode 0.
  if ((graphics[1] | graphics[3] | graphics[5] & 0x0b) !== 0 || graphics[8] !== 0xff) return undefined;
  const map = sequencer[2] & 0x0f;
  const [start, length] = windowMap(state);
  if (length > 0x1_0000) return undefined;
  const chained = { plane: 0, start, length };
  if ((sequencer[4] & 0x08) !== 0) return map === 0x0f ? { planeBits: 2, ...chained } : undefined;
  const writesOddEven = (sequencer[4] & 0x04) === 0;
  const readsOddEven = (graphics[5] & 0x10) !== 0;
  if (writesOddEven !== readsOddEven) return undefined;
  const plane = graphics[4] & 3;
  if (writesOddEven) return map === 0x03 && (plane & 2) === 0 ? { planeBits: 1, ...chained } : undefined;
  // In graphics the latches matter, which RAM does not fill.
  const text = (graphics[6] & 1) === 0;
  return text && map === 1 << plane ? { planeBits: 0, plane, start, length } : undefined;
}

/** Lets the window be RAM while that is the same. */
export class DirectWindow {
  readonly #memory: VideoMemory;
  #loan: LentMemory | undefined;
  #plain: Plain | undefined;
  #accesses = 0;
  #patience = FIRST_PATIENCE;

  constructor(memory: VideoMemory) {
    this.#memory = memory;
  }

  /** The guest accessed the window where it is not RAM. */
  touched(state: VgaState, host: DeviceHost | undefined): void {
    // With a loan, this was an address that nobody decodes.
    if (this.#loan !== undefined || ++this.#accesses < this.#patience || host?.lend === undefined) return;
    this.#accesses = 0;
    const plain = plainWindow(state);
    if (plain === undefined) return;
    const at = BigInt(WINDOW + plain.start);
    this.#loan = host.lend(at, plain.length, () => this.#forget());
    if (this.#loan === undefined) return;
    this.#plain = plain;
    this.#move(this.#loan.bytes, plain, true);
  }

  /** The guest wrote a register: the window may be something else now. */
  changed(state: VgaState): void {
    if (this.#loan === undefined) return;
    const now = plainWindow(state);
    const { planeBits, plane, start, length } = this.#plain!;
    const same = now?.planeBits === planeBits && now.plane === plane && now.start === start;
    if (same && now.length === length) return;
    this.end();
    this.#patience = Math.min(LAST_PATIENCE, this.#patience * 2);
  }

  /** Brings what the guest drew to the planes. */
  sync(): void {
    const { bytes } = this.#loan ?? {};
    if (bytes !== undefined) this.#move(bytes, this.#plain!, false);
  }

  /** Accesses come to the device again. */
  end(): void {
    this.sync();
    this.#loan?.end();
    this.#loan = undefined;
    this.#accesses = 0;
  }

  /** As after power-on. */
  reset(): void {
    this.end();
    this.#patience = FIRST_PATIENCE;
  }

  /** The machine takes the RAM away. */
  #forget(): void {
    this.sync();
    this.#loan = undefined;
    this.#accesses = 0;
  }

  /** Planes to RAM, or back. One loop without calls: a mode that is set goes through it several times. */
  #move(ram: Uint8Array, { planeBits, plane, length }: Plain, lend: boolean): void {
    const planes = this.#memory.bytes;
    const low = (1 << planeBits) - 1;
    for (let i = 0; i < length; i++) {
      const at = (i & ~low) * 4 + (i & low) + plane;
      if (lend) ram[i] = planes[at];
      else planes[at] = ram[i];
    }
  }
}
