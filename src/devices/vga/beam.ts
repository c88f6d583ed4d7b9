/** The beam, as input status register 1 shows it: blanking and vertical retrace follow the clock. */
import type { Timebase } from "../device_clock.ts";
import { frame } from "./crtc.ts";
import type { VgaState } from "./vga_state.ts";

/** Reads that follow each other within this part of a frame are a program's that waits. */
const POLLING_PART = 4;

/** Where the beam is, for those who poll. */
export class Beam {
  readonly #time: Timebase;
  #polled = 0n;

  /** @param time What the beam follows. */
  constructor(time: Timebase) {
    this.#time = time;
  }

  /**
   * Whether the beam shows nothing, and whether it flies back to the top.
   *
   * The flight takes 64 us of a frame's 14 ms in mode 3. A guest whose reads take longer than that, since each leaves
   * it, would miss most of them; one that came and went between two reads of a program that waits is shown to the
   * second one.
   */
  poll(state: VgaState): { readonly blank: boolean; readonly retrace: boolean } {
    const now = this.#time.now();
    const elapsedNs = Number(now - this.#polled);
    this.#polled = now;
    const { columns, totalColumns, lines, totalLines, retraceStart, retraceEnd, lineNs } = frame(state);
    const frameNs = BigInt(Math.max(1, Math.round(lineNs * totalLines)));
    const position = Number(now % frameNs) / lineNs;
    const line = Math.floor(position);
    const column = (position - line) * totalColumns;
    const sinceStart = position - retraceStart + (position < retraceStart ? totalLines : 0);
    const elapsed = elapsedNs / lineNs;
    const missed = elapsed < totalLines / POLLING_PART && retraceStart < totalLines && elapsed > sinceStart;
    const retrace = missed || (line >= retraceStart && line < retraceEnd);
    return { blank: retrace || line >= lines || column >= columns, retrace };
  }
}
