import type { BackendMemory, BackendOptions, MemoryRegion, Rom, Shadow } from "../backend.ts";
import { FaultError, InputError, StateError } from "../errors.ts";
import { ShadowMap, type Span } from "../shadow.ts";

const PAGE = 0x1000;
const LOW_LIMIT = 3 * 1024 ** 3;
const HIGH_START = 4 * 1024 ** 3;

/** A stretch of memory: page-aligned, never overlapping another. Addresses are numbers: they fit 52 bits. */
interface Area {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly readOnly: boolean;
}

/** Guest-physical memory as arrays of the JavaScript heap. */
export class PhysicalMemory implements BackendMemory {
  /** RAM and ROMs as they were given. */
  readonly #given: Area[];
  /** ROMs that lie over RAM. */
  readonly #over: Area[] = [];
  readonly #shadows = new ShadowMap();
  /** What the guest has of them, by address. */
  #areas: readonly Area[] = [];
  #regions: readonly MemoryRegion[] = [];
  #last: Area;
  /** Page numbers that the guest can't write. */
  readonly #protected = new Set<number>();

  /** @throws {InputError} If sizes or places make no sense, or the host has not that much memory. */
  constructor(options: BackendOptions) {
    const { memory } = options;
    if (!Number.isSafeInteger(memory) || memory <= 0 || memory % PAGE !== 0) {
      throw new InputError(`A guest's memory is a positive multiple of 4096 bytes; got ${memory}`, {
        remedy: "give memory: MiB(n)",
      });
    }
    try {
      this.#given = [area("ram", 0, new Uint8Array(Math.min(memory, LOW_LIMIT)), false)];
      if (memory > LOW_LIMIT) {
        this.#given.push(area("ram-high", HIGH_START, new Uint8Array(memory - LOW_LIMIT), false));
      }
    } catch (cause) {
      throw new InputError(`This host can't hold ${memory} bytes of guest memory`, {
        cause,
        remedy: "open the guest with less memory",
      });
    }
    for (const rom of options.roms ?? []) this.#place(rom);
    this.#last = this.#lay();
  }

  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  read(at: bigint, into: Uint8Array): void {
    this.#each(at, into.length, (a, from, done, n) => into.set(a.bytes.subarray(from, from + n), done));
  }

  write(at: bigint, bytes: Uint8Array): void {
    this.#each(at, bytes.length, (a, from, done, n) => a.bytes.set(bytes.subarray(done, done + n), from));
  }

  view(at: bigint, length: number): Uint8Array {
    const found = this.#find(Number(at));
    const from = found === undefined ? 0 : Number(at) - found.from;
    if (found === undefined || from + length > found.bytes.length) {
      const first = found === undefined ? at : BigInt(found.to);
      throw fault(first, "a view needs all its bytes in one region");
    }
    return found.bytes.subarray(from, from + length);
  }

  protect(at: bigint, length: number, readOnly: boolean): void {
    if (length <= 0) return;
    // Memory that is there no more can be let go.
    if (readOnly) this.#each(at, length, () => {});
    const last = Math.floor((Number(at) + length - 1) / PAGE);
    for (let page = Math.floor(Number(at) / PAGE); page <= last; page++) {
      if (readOnly) this.#protected.add(page);
      else this.#protected.delete(page);
    }
  }

  deposit(at: bigint, bytes: Uint8Array): void {
    this.#each(at, bytes.length, (a, from, done, n) => {
      if (!a.readOnly) a.bytes.set(bytes.subarray(done, done + n), from);
    });
  }

  shadow(at: bigint, length: number, how: Shadow): void {
    const from = Math.floor(Number(at) / PAGE) * PAGE;
    const to = Math.ceil((Number(at) + length) / PAGE) * PAGE;
    if (from >= to) return;
    this.#shadows.set({ from, to }, how);
    this.#last = this.#lay();
  }

  hidden(at: bigint, bytes: Uint8Array): void {
    const from = Number(at);
    const ram = this.#given.find((a) => !a.readOnly && from >= a.from && from + bytes.length <= a.to);
    if (ram === undefined) throw fault(at, "no RAM is there");
    ram.bytes.set(bytes, from - ram.from);
  }

  /** The guest reads `size` bytes that lie in one page; undefined if no memory is there. */
  load(at: number, size: number): bigint | undefined {
    const a = this.#find(at);
    if (a === undefined) return undefined;
    const offset = at - a.from;
    switch (size) {
      case 1:
        return BigInt(a.bytes[offset]);
      case 2:
        return BigInt(a.view.getUint16(offset, true));
      case 4:
        return BigInt(a.view.getUint32(offset, true));
      default:
        return a.view.getBigUint64(offset, true);
    }
  }

  /** The guest writes `size` bytes in one page; false if no memory is there, or none that it may write. */
  store(at: number, size: number, value: bigint): boolean {
    const a = this.#find(at);
    if (a === undefined || a.readOnly) return false;
    if (this.#protected.size > 0 && this.#protected.has(Math.floor(at / PAGE))) return false;
    const offset = at - a.from;
    if (size === 1) a.bytes[offset] = Number(value);
    else if (size === 2) a.view.setUint16(offset, Number(value), true);
    else if (size === 4) a.view.setUint32(offset, Number(value), true);
    else a.view.setBigUint64(offset, value, true);
    return true;
  }

  /**
   * Finds the memory that code at `at` is fetched from: it and the rest of its page lie in `bytes` of what is given,
   * from `at - from` on. Undefined if no memory is there.
   */
  area(at: number): Readonly<Pick<Area, "from" | "bytes">> | undefined {
    return this.#find(at);
  }

  /** Drops the memory: every later access says so. */
  close(): void {
    this.#areas = [];
    this.#last = NOWHERE;
    this.#closed = true;
  }

  #closed = false;

  #find(at: number): Area | undefined {
    const last = this.#last;
    if (at >= last.from && at < last.to) return last;
    for (const a of this.#areas) if (at >= a.from && at < a.to) return this.#last = a;
    return undefined;
  }

  /** Calls `what` for every area that the range touches, after making sure that all of it is memory. */
  #each(at: bigint, length: number, what: (a: Area, from: number, done: number, n: number) => void): void {
    if (this.#closed) throw new StateError("The guest is closed", "closed", { remedy: "open another one" });
    const pieces: [Area, number, number, number][] = [];
    for (let done = 0; done < length;) {
      const place = at + BigInt(done);
      const a = this.#find(Number(place));
      if (a === undefined || place >= 1n << 52n) throw fault(place, "no memory is there");
      const from = Number(place) - a.from;
      const n = Math.min(length - done, a.bytes.length - from);
      pieces.push([a, from, done, n]);
      done += n;
    }
    for (const piece of pieces) what(...piece);
  }

  /** Puts a ROM in; over RAM it hides it. */
  #place({ name, at: start, bytes, lent = false }: Rom): void {
    const at = Number(start);
    if (!Number.isSafeInteger(at) || at < 0 || at % PAGE !== 0 || bytes.length === 0) {
      throw new InputError(`ROM ${name} must start at a multiple of 4096 and hold something`, {
        remedy: "pad the image, or load it as ordinary memory",
      });
    }
    const padded = new Uint8Array(Math.ceil(bytes.length / PAGE) * PAGE);
    padded.set(bytes);
    const rom = area(name, at, padded, !lent);
    const other = [...this.#given.filter((a) => a.readOnly), ...this.#over].find((a) =>
      a.from < rom.to && rom.from < a.to
    );
    if (other !== undefined) {
      throw new InputError(`ROM ${name} overlaps ROM ${other.name}`, {
        remedy: "place one of them elsewhere",
      });
    }
    const hides = this.#given.some((a) => a.from < rom.to && rom.from < a.to);
    if (lent) this.#shadows.set(rom, "rom");
    (hides ? this.#over : this.#given).push(rom);
  }

  /** Works out what the guest has; gives the first of it. */
  #lay(): Area {
    const part = (a: Area, { from, to }: Span, readOnly: boolean) =>
      area(a.name, from, a.bytes.subarray(from - a.from, to - a.from), readOnly);
    this.#areas = this.#given.flatMap((a) => {
      const over = this.#over.filter((rom) => rom.from < a.to && a.from < rom.to);
      return a.readOnly ? [a] : this.#shadows.lay(a, over, part, moved);
    }).sort((a, b) => a.from - b.from);
    this.#regions = this.#areas.map(({ name, from, to, readOnly }) => {
      return { name, start: BigInt(from), size: BigInt(to - from), readOnly };
    });
    return this.#areas[0] ?? NOWHERE;
  }
}

const NOWHERE = area("nowhere", 0, new Uint8Array(0), true);

function area(name: string, from: number, bytes: Uint8Array, readOnly: boolean): Area {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { name, from, to: from + bytes.length, bytes, view, readOnly };
}

/** The same bytes `by` bytes further up. */
function moved(a: Area, by: number): Area {
  return { ...a, from: a.from + by, to: a.to + by };
}

function fault(address: bigint, why: string): FaultError {
  return new FaultError(
    `Guest-physical address 0x${address.toString(16)} can't be accessed: ${why}`,
    { address, space: "gpa" },
    { remedy: "vm.memory.regions lists what is memory" },
  );
}
