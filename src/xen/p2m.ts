import type { Mapping } from "../host/mapping.ts";
import { XEN } from "../abi/xen.ts";
import { MACHINE } from "../vm/address.ts";

/** What the tables are made from. */
export interface FrameSource {
  /** Xen's machine-to-physical table; the caller disposes of it. */
  machineToPhysical(): Mapping;
  /** The number of pseudo-physical frames to believe in at most. */
  limit(): number;
  /** Puts the type of each machine frame over its number: XTAB is none of the domain's. */
  frameTypes(frames: BigUint64Array<ArrayBuffer>): void;
  /** Whether a machine frame is the domain's. */
  owns(frame: number): boolean;
}

/** Frames asked for at once. */
const BATCH = 1024;
/** In the low word of a frame's type (XEN_DOMCTL_PFINFO_LTAB_MASK). */
const TYPE_MASK = 0xf000_0000;

/**
 * A PV guest's pseudo-physical frames. Machine to physical is Xen's own table; the other way round is its inversion,
 * made when it is first needed, and not the guest's list: it is there from the first instruction on, and a guest
 * can't lie in it about other domains' memory, for each frame is checked to be its own.
 */
export class PhysicalToMachine implements Disposable {
  readonly #source: FrameSource;
  readonly #machine = new Map<number, number>();
  #table: Mapping | undefined;
  /** Two words for each machine frame: the pseudo-physical one, 0xffffffff twice where there is none. */
  #words = new Uint32Array(0);

  constructor(source: FrameSource) {
    this.#source = source;
  }

  /** The machine frame behind a pseudo-physical one; undefined if there is none now. */
  machine(frame: number): number | undefined {
    const known = this.#machine.get(frame);
    if (known !== undefined && this.#claimed(known) === frame) return known;
    this.#invert();
    return this.#machine.get(frame);
  }

  /** The pseudo-physical frame of a machine frame; undefined if it is not the domain's. */
  physical(frame: number): number | undefined {
    const claimed = this.#claimed(frame);
    if (claimed === undefined) return undefined;
    if (this.#machine.get(claimed) === frame) return claimed;
    if (!this.#source.owns(frame)) return undefined;
    this.#machine.set(claimed, frame);
    return claimed;
  }

  /** A machine address as a guest-physical one: in the window at `MACHINE` if it is no memory of the guest's. */
  readonly physicalOf = (machine: bigint): bigint => {
    const frame = this.physical(Number(machine >> 12n));
    return frame === undefined ? MACHINE | machine : BigInt(frame) << 12n | machine & 0xfffn;
  };

  [Symbol.dispose](): void {
    this.#words = new Uint32Array(0);
    this.#table?.[Symbol.dispose]();
    this.#table = undefined;
  }

  /** What Xen's table says of a machine frame, whoever's it is. */
  #claimed(frame: number): number | undefined {
    this.#load();
    if (2 * frame + 1 >= this.#words.length || this.#words[2 * frame + 1] !== 0) return undefined;
    return this.#words[2 * frame];
  }

  #load(): void {
    if (this.#table !== undefined) return;
    this.#table = this.#source.machineToPhysical();
    this.#words = new Uint32Array(this.#table.buffer);
  }

  /** Asks for the owner of every machine frame that could be the domain's. */
  #invert(): void {
    this.#load();
    const limit = this.#source.limit();
    const words = this.#words;
    this.#machine.clear();
    const asked: number[] = [];
    for (let frame = 0; 2 * frame + 1 < words.length; frame++) {
      if (words[2 * frame + 1] !== 0 || words[2 * frame] >= limit) continue;
      asked.push(frame);
      if (asked.length === BATCH) this.#ask(asked.splice(0));
    }
    if (asked.length > 0) this.#ask(asked);
  }

  #ask(frames: readonly number[]): void {
    const types = BigUint64Array.from(frames, BigInt);
    this.#source.frameTypes(types);
    frames.forEach((frame, i) => {
      const type = Number(types[i] & 0xffff_ffffn) & TYPE_MASK;
      if (type >>> 0 !== XEN.XEN_DOMCTL_PFINFO_XTAB) this.#machine.set(this.#words[2 * frame], frame);
    });
  }
}
