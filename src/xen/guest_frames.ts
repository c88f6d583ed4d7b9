import type { MemoryRegion } from "../vm/backend.ts";
import type { FrameCache } from "./frames.ts";
import type { FrameMap } from "./memory.ts";
import type { PhysicalToMachine } from "./p2m.ts";

const PAGE = 4096n;
/** Frames of a superpage, 2 MiB: memory is handed out in these, so that one frame in each tells of the rest. */
const STRIDE = 512;
const BATCH = 1024;
/** The first MiB has holes of its own (VGA, option ROMs) and is looked at frame by frame. */
const LOW_FRAMES = 256;

/** Frames of an HVM or PVH domain: guest frames are what is mapped. */
export class GuestFrames implements FrameMap {
  readonly #frames: FrameCache;
  readonly #highest: () => number;

  /** @param highest Gives the highest frame that was ever there. */
  constructor(frames: FrameCache, highest: () => number) {
    this.#frames = frames;
    this.#highest = highest;
  }

  frame(guest: number): number {
    return guest;
  }

  regions(): readonly MemoryRegion[] {
    const end = this.#highest() + 1;
    const samples: number[] = [];
    for (let frame = 0; frame < Math.min(LOW_FRAMES, end); frame++) samples.push(frame);
    for (let frame = LOW_FRAMES; frame < end; frame = frame - frame % STRIDE + STRIDE) samples.push(frame);
    const there: boolean[] = [];
    for (let i = 0; i < samples.length; i += BATCH) {
      there.push(...this.#frames.present(samples.slice(i, i + BATCH)));
    }
    const regions: MemoryRegion[] = [];
    let start: number | undefined;
    for (let i = 0; i < samples.length; i++) {
      if (there[i] === (start !== undefined)) continue;
      const edge = i === 0 ? 0 : this.#edge(samples[i - 1], samples[i], there[i]);
      if (there[i]) start = edge;
      else if (start !== undefined) {
        regions.push(region(regions.length, start, edge));
        start = undefined;
      }
    }
    if (start !== undefined) {
      const last = samples[samples.length - 1];
      regions.push(region(regions.length, start, this.#edge(last, Math.min(last + STRIDE, end), false)));
    }
    return regions;
  }

  /** The first frame in (low, high] that is as `wanted`, when the one at `low` is not, by halves. */
  #edge(low: number, high: number, wanted: boolean): number {
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#frames.present([middle])[0] === wanted) high = middle;
      else low = middle;
    }
    return high;
  }
}

/** Frames of a PV domain: pseudo-physical ones, behind which machine frames stand. */
export class PseudoFrames implements FrameMap {
  readonly #p2m: PhysicalToMachine;
  readonly #count: () => number;

  /** @param count How many frames the domain has, in all. */
  constructor(p2m: PhysicalToMachine, count: () => number) {
    this.#p2m = p2m;
    this.#count = count;
  }

  frame(guest: number): number | undefined {
    return this.#p2m.machine(guest);
  }

  regions(): readonly MemoryRegion[] {
    return [region(0, 0, this.#count())];
  }
}

function region(index: number, start: number, end: number): MemoryRegion {
  const name = index === 0 ? "ram" : `ram-${index + 1}`;
  return { name, start: BigInt(start) * PAGE, size: BigInt(end - start) * PAGE, readOnly: false };
}
