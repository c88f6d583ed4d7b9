import type { Device, DeviceRange, PlacedRange } from "./device.ts";
import { InputError } from "./errors.ts";

const PORTS = 0x1_0000;
/** Ports are mapped in pages of this many, made when a device is there: most of the 64 Ki are never used. */
const PAGE = 0x100;
const MMIO_END = 1n << 52n;

/** A hypervisor that has to be told which accesses shall come to devices of ours; first and last address of a range. */
export interface BusClaims {
  /** @throws {Error} If it refuses: nothing is claimed then. */
  claim(space: "port" | "mmio", first: bigint, last: bigint): void;
  release(space: "port" | "mmio", first: bigint, last: bigint): void;
}

/**
 * Address ranges and the devices behind them, for one space. Unclaimed addresses read as ones and swallow
 * writes, as an ISA or PCI bus does when nobody answers.
 */
export class Bus {
  readonly #space: "port" | "mmio";
  readonly #claims: BusClaims | undefined;
  /** Sorted by start; ranges never overlap. */
  #ranges: PlacedRange[] = [];
  /** Port number to range, page by page, so that the hot path is a look-up. */
  readonly #ports: ((PlacedRange | undefined)[] | undefined)[] = [];
  #last: PlacedRange | undefined;

  /** @param claims Told of every range; left out where all that nobody else answers comes anyway. */
  constructor(space: "port" | "mmio", claims?: BusClaims) {
    this.#space = space;
    this.#claims = claims;
    if (space === "port") this.#ports = new Array(PORTS / PAGE).fill(undefined);
  }

  /** The ranges in use, by address. */
  get ranges(): readonly PlacedRange[] {
    return this.#ranges;
  }

  /**
   * Places `device` at all its ranges of this space, or at none.
   *
   * @throws {InputError} If a range is empty, out of bounds, or taken.
   * @throws {Error} If the hypervisor refuses one.
   */
  add(device: Device): void {
    const placed = rangesOf(device, this.#space);
    const all = [...this.#ranges];
    for (const range of placed) {
      const other = all.find((r) => r.start < range.end && range.start < r.end);
      if (other) {
        throw new InputError(
          `${device.name} at ${show(range)} overlaps ${other.device.name} at ${show(other)} (${this.#space})`,
          { remedy: `remove ${other.device.name} first, or choose another range` },
        );
      }
      all.push(range);
    }
    this.#claim(placed);
    this.#replace(all);
    for (const range of placed) this.#mapPorts(range, range);
  }

  /** Takes every range of `device` off the bus. */
  remove(device: Device): void {
    const gone = this.#ranges.filter((r) => r.device === device);
    this.#replace(this.#ranges.filter((r) => r.device !== device));
    for (const range of gone) this.#mapPorts(range, undefined);
    for (const { start, end } of gone) this.#claims?.release(this.#space, start, end - 1n);
  }

  /** All of them, or none. */
  #claim(ranges: readonly PlacedRange[]): void {
    if (this.#claims === undefined) return;
    const done: PlacedRange[] = [];
    try {
      for (const range of ranges) {
        this.#claims.claim(this.#space, range.start, range.end - 1n);
        done.push(range);
      }
    } catch (error) {
      for (const { start, end } of done) this.#claims.release(this.#space, start, end - 1n);
      throw error;
    }
  }

  /** Whether every address of [start, end) is a device's. */
  serves(start: bigint, end: bigint): boolean {
    let at = start;
    for (const range of this.#ranges) if (range.start <= at && at < range.end) at = range.end;
    return at >= end;
  }

  /** The range that holds `address`, if any. */
  find(address: number | bigint): PlacedRange | undefined {
    if (this.#space === "port") {
      const port = Number(address);
      return this.#ports[port >> 8]?.[port & (PAGE - 1)];
    }
    const at = BigInt(address);
    const last = this.#last;
    if (last !== undefined && at >= last.start && at < last.end) return last;
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.#ranges[middle];
      if (at < range.start) high = middle - 1;
      else if (at >= range.end) low = middle + 1;
      else return this.#last = range;
    }
    return undefined;
  }

  /** The guest reads `data.length` bytes at `address`. Returns the device that answered. */
  read(address: number | bigint, data: Uint8Array): Device | undefined {
    if (data.length === 1) data[0] = 0xff;
    else data.fill(0xff);
    const found = this.find(address);
    if (found?.device.read === undefined) return found?.device;
    found.device.read(offsetIn(found, address), cut(found, address, data), found.range);
    return found.device;
  }

  /** The guest writes `data` at `address`. Returns the device that took it. */
  write(address: number | bigint, data: Uint8Array): Device | undefined {
    const found = this.find(address);
    if (found?.device.write === undefined) return found?.device;
    found.device.write(offsetIn(found, address), cut(found, address, data), found.range);
    return found.device;
  }

  #replace(ranges: PlacedRange[]): void {
    this.#ranges = ranges.sort((a, b) => (a.start < b.start ? -1 : 1));
    this.#last = undefined;
  }

  /** Only what changed: a PC has a dozen devices, plugged in one by one. */
  #mapPorts({ start, end }: PlacedRange, to: PlacedRange | undefined): void {
    if (this.#space !== "port") return;
    for (let port = Number(start); port < Number(end); port++) {
      const page = this.#ports[port >> 8] ??= new Array<PlacedRange | undefined>(PAGE).fill(undefined);
      page[port & (PAGE - 1)] = to;
    }
  }
}

/** The ranges of `device` in `space`, checked. @throws {InputError} If one makes no sense. */
export function rangesOf(device: Device, space: "port" | "mmio"): PlacedRange[] {
  const given = space === "port" ? device.ports : device.mmio;
  if (given === undefined) return [];
  const limit = space === "port" ? BigInt(PORTS) : MMIO_END;
  return (Array.isArray(given) ? given as readonly DeviceRange[] : [given as DeviceRange]).map((range) => {
    let start: bigint, length: bigint;
    try {
      start = BigInt(range.start);
      length = BigInt(range.length);
    } catch (cause) {
      throw new InputError(`${device.name}: a ${space} range needs a whole start and length`, { cause });
    }
    if (start < 0n || length < 1n || start + length > limit) {
      throw new InputError(
        `${device.name}: ${space} range 0x${start.toString(16)}+${length} does not fit 0..0x${
          limit.toString(16)
        }`,
        { remedy: "give a start inside and a length of at least 1" },
      );
    }
    return { device, space, start, first: Number(start), end: start + length, range };
  });
}

/** Bytes from the range's start. */
function offsetIn(range: PlacedRange, address: number | bigint): number {
  return typeof address === "number" ? address - range.first : Number(address - range.start);
}

function cut(range: PlacedRange, address: number | bigint, data: Uint8Array): Uint8Array {
  if (data.length === 1) return data;
  const room = range.end - BigInt(address);
  return room >= BigInt(data.length) ? data : data.subarray(0, Number(room));
}

function show(range: PlacedRange): string {
  return `0x${range.start.toString(16)}..0x${(range.end - 1n).toString(16)}`;
}
