/** What a driver writes about one queue before it enables it (virtio 1.2, 4.1.5.1.3, 4.2.3.2). */
import { bits, flag, integer, type Shape } from "../state.ts";
import type { QueuePlace } from "./queue.ts";
import { QUEUE_SIZE_LIMIT } from "./spec.ts";

/** A queue's registers, as saved: addresses as halves, so that they survive JSON. */
export interface SetupState {
  size: number;
  ready: boolean;
  desc: number[];
  driver: number[];
  device: number[];
}

const HALVES = (value: unknown, path: string): number[] => {
  const half = bits(32);
  const given = Array.isArray(value) && value.length === 2 ? value as unknown[] : [undefined, undefined];
  return given.map((v, i) => half(v, `${path}[${i}]`));
};

/** What a saved setup must look like. */
export const SETUP_SHAPE: Shape<SetupState> = {
  size: integer(0, 0xffff),
  ready: flag,
  desc: HALVES,
  driver: HALVES,
  device: HALVES,
};

/** The three addresses of a queue. */
export type QueueArea = "desc" | "driver" | "device";

/** One queue's registers. */
export class QueueSetup {
  /** The largest size. */
  readonly most: number;
  /** Where the driver put it. */
  readonly place: QueuePlace;
  /** Whether the driver has enabled it. */
  ready = false;

  /** @param most Its largest size, a power of 2. */
  constructor(most: number) {
    this.most = Math.min(most, QUEUE_SIZE_LIMIT);
    this.place = { size: this.most, desc: 0n, driver: 0n, device: 0n };
  }

  /** The driver writes a half of an address; ignored while the queue is enabled. */
  setHalf(area: QueueArea, high: boolean, value: number): void {
    if (this.ready) return;
    const half = BigInt(value >>> 0);
    const old = this.place[area];
    this.place[area] = high ? old & 0xffff_ffffn | half << 32n : old & ~0xffff_ffffn | half;
  }

  /** A half of an address. */
  half(area: QueueArea, high: boolean): number {
    return Number(this.place[area] >> (high ? 32n : 0n) & 0xffff_ffffn);
  }

  /** The driver writes the size; ignored while the queue is enabled. */
  setSize(size: number): void {
    if (!this.ready) this.place.size = size & 0xffff;
  }

  /** As after power-on. */
  reset(): void {
    this.ready = false;
    Object.assign(this.place, { size: this.most, desc: 0n, driver: 0n, device: 0n });
  }

  /** The registers as a record. */
  save(): SetupState {
    const halves = (area: QueueArea) => [this.half(area, false), this.half(area, true)];
    return {
      size: this.place.size,
      ready: this.ready,
      desc: halves("desc"),
      driver: halves("driver"),
      device: halves("device"),
    };
  }

  /** Takes a checked record. */
  restore(state: SetupState): void {
    this.ready = false;
    this.place.size = state.size;
    for (const area of ["desc", "driver", "device"] as const) {
      this.setHalf(area, false, state[area][0]);
      this.setHalf(area, true, state[area][1]);
    }
    this.ready = state.ready;
  }
}
