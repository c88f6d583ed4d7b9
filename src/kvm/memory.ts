import { hostMemory } from "../host/memory_info.ts";
import { Mapping, PAGE_SIZE } from "../host/mapping.ts";
import type { BackendMemory, MemoryRegion, Rom, Shadow } from "../vm/backend.ts";
import { FaultError, InputError } from "../vm/errors.ts";
import { ShadowMap } from "../vm/shadow.ts";
import { machineClosed } from "./closed.ts";
import { cut, difference, type Slot } from "./slots.ts";

/** Where RAM stops below 4 GiB and where it goes on: the hole between is for PCI and ROM, as on QEMU's `pc`. */
export const HOLE_START = 0xc000_0000;
/** First byte behind the hole. */
export const HOLE_END = 0x1_0000_0000;

/** Sets one memory slot of a VM: KVM_SET_USER_MEMORY_REGION. Size 0 deletes it. */
export type SetSlot = (slot: number, region: Slot) => void;

/** A region together with the bytes behind it. */
interface Backed extends MemoryRegion {
  readonly from: number;
  readonly to: number;
  readonly mapping: Mapping;
  /** Offset of the region's first byte in the mapping. */
  readonly offset: number;
}

/**
 * Checks a guest's memory size against what makes sense on this host.
 *
 * @throws {InputError} If it is zero, no multiple of 4096, or more than the host has.
 */
export function checkMemorySize(size: number, host: number = hostMemory()): void {
  if (!Number.isSafeInteger(size) || size <= 0) {
    throw new InputError(`A guest can't have ${size} bytes of memory.`, {
      remedy: "Give a positive size, such as MiB(64).",
    });
  }
  if (size % PAGE_SIZE !== 0) {
    throw new InputError(`A guest's memory must be a multiple of ${PAGE_SIZE} bytes, and ${size} is not.`, {
      remedy: `Give ${Math.ceil(size / PAGE_SIZE) * PAGE_SIZE}.`,
    });
  }
  if (size > host) {
    const mib = (bytes: number) => `${Math.floor(bytes / 1024 / 1024)} MiB`;
    throw new InputError(
      `A guest of ${mib(size)} does not fit this host, which has ${mib(host)} of RAM and swap.`,
      {
        remedy: `Give the guest less than ${mib(host)}.`,
      },
    );
  }
}

/** Guest-physical memory of one VM: RAM around the hole below 4 GiB, and read-only images. */
export class KvmMemory implements BackendMemory, Disposable {
  readonly #setSlot: SetSlot;
  /** RAM and ROMs as they were given; what is lent counts as RAM. */
  readonly #given: Backed[] = [];
  /** ROMs that lie over RAM. */
  readonly #over: Backed[] = [];
  readonly #shadows = new ShadowMap();
  /** What the guest has of them, by address. */
  #regions: readonly Backed[] = [];
  readonly #readOnlyPages = new Set<number>();
  readonly #numbers = new Map<Slot, number>();
  readonly #freeNumbers: number[] = [];
  #slots: Slot[] = [];
  #closed = false;

  /**
   * Maps the memory and gives it to the VM.
   *
   * @throws {InputError} If the size makes no sense or a ROM overlaps something.
   * @throws {HostError} If the host refuses.
   */
  constructor(size: number, roms: readonly Rom[], setSlot: SetSlot) {
    checkMemorySize(size);
    this.#setSlot = setSlot;
    using cleanup = new DisposableStack();
    const ram = cleanup.use(Mapping.anonymous(size));
    const low = Math.min(size, HOLE_START);
    this.#place("ram", 0, low, false, ram, 0);
    if (size > low) this.#place("ram-high", HOLE_END, size - low, false, ram, low);
    for (const rom of roms) {
      const length = Math.ceil(rom.bytes.length / PAGE_SIZE) * PAGE_SIZE;
      if (length === 0 || rom.at < 0n || rom.at % BigInt(PAGE_SIZE) !== 0n || rom.at >= 1n << 52n) {
        throw new InputError(
          `The image ${rom.name} (${rom.bytes.length} bytes at 0x${rom.at.toString(16)}) can't be placed.`,
          { remedy: `Give it at least one byte, and an address that is a multiple of ${PAGE_SIZE}.` },
        );
      }
      const mapping = cleanup.use(Mapping.anonymous(length));
      mapping.bytes.set(rom.bytes);
      const from = Number(rom.at);
      this.#place(rom.name, from, length, !rom.lent, mapping, 0, rom.shadow);
      if (rom.lent) this.#shadows.set({ from, to: from + length }, "rom");
    }
    this.#lay();
    this.#apply();
    cleanup.move();
  }

  #place(
    name: string,
    from: number,
    size: number,
    readOnly: boolean,
    mapping: Mapping,
    offset: number,
    over = false,
  ): void {
    const to = from + size;
    const region = { name, start: BigInt(from), size: BigInt(size), readOnly, from, to, mapping, offset };
    if (over && this.#given.some((ram) => ram.from <= from && to <= ram.to && !ram.readOnly)) {
      this.#over.push(region);
      return;
    }
    const other = this.#given.find((region) => region.from < to && from < region.to);
    if (other !== undefined) {
      throw new InputError(`${name} at 0x${from.toString(16)} overlaps ${other.name}.`, {
        remedy: "Place it elsewhere, for example so that it ends at 4 GiB.",
      });
    }
    this.#given.push(region);
    this.#given.sort((a, b) => a.from - b.from);
  }

  /** Works out what the guest has. */
  #lay(): void {
    this.#regions = this.#given.flatMap((given) => {
      if (given.readOnly) return [given];
      const over = this.#over.filter((rom) => rom.from >= given.from && rom.to <= given.to);
      return this.#shadows.lay(given, over, (area, { from, to }, readOnly) => ({
        ...area,
        start: BigInt(from),
        size: BigInt(to - from),
        readOnly,
        from,
        to,
        offset: area.offset + from - area.from,
      }), (area, by) => ({
        ...area,
        start: area.start + BigInt(by),
        from: area.from + by,
        to: area.to + by,
      }));
    });
  }

  /** Makes KVM's slots what the regions and the read-only pages ask for. */
  #apply(): void {
    const pages = [...this.#readOnlyPages].sort((a, b) => a - b);
    const want = this.#regions.flatMap((region) =>
      cut({
        start: region.from,
        size: region.to - region.from,
        hostAddress: region.mapping.address + BigInt(region.offset),
        readOnly: region.readOnly,
      }, pages)
    );
    const { remove, add } = difference(this.#slots, want);
    for (const slot of remove) {
      const number = this.#numbers.get(slot)!;
      this.#setSlot(number, { ...slot, size: 0 });
      this.#numbers.delete(slot);
      this.#freeNumbers.push(number);
    }
    this.#slots = this.#slots.filter((slot) => !remove.includes(slot));
    for (const slot of add) {
      const number = this.#freeNumbers.pop() ?? this.#numbers.size;
      this.#setSlot(number, slot);
      this.#numbers.set(slot, number);
      this.#slots.push(slot);
    }
  }

  /** What memory there is, by address. */
  get regions(): readonly MemoryRegion[] {
    return this.#regions.map(({ name, start, size, readOnly }) => ({ name, start, size, readOnly }));
  }

  /** The region that holds `at`. @throws {FaultError} If none does. @throws {StateError} If the machine is closed. */
  #find(at: number, first: bigint, length: number): Backed {
    if (this.#closed) throw machineClosed();
    for (const region of this.#regions) if (at >= region.from && at < region.to) return region;
    const address = Number.isSafeInteger(at) ? BigInt(at) : first + 0n;
    throw new FaultError(
      `Nothing answers at guest-physical 0x${address.toString(16)}` +
        (length > 1 ? ` (of ${length} bytes from 0x${first.toString(16)}).` : "."),
      { address, space: "gpa" },
      { remedy: `Memory lies at ${this.#describe()}.` },
    );
  }

  #describe(): string {
    return this.#regions.map((r) => `0x${r.from.toString(16)}..0x${(r.to - 1).toString(16)} (${r.name})`)
      .join(", ");
  }

  /** The stretch from `at` that one region holds, and where it lies in the mapping. */
  #each(at: bigint, length: number, use: (bytes: Uint8Array, done: number) => void): void {
    let from = Number(at);
    let done = 0;
    // Everything is looked up before anything is used, so that a range with a hole changes nothing.
    const parts: [Uint8Array, number][] = [];
    while (done < length || parts.length === 0) {
      const region = this.#find(from, at, length);
      const part = Math.min(length - done, region.to - from);
      const start = region.offset + from - region.from;
      parts.push([region.mapping.bytes.subarray(start, start + part), done]);
      from += part;
      done += part;
      if (part === 0) break;
    }
    for (const [bytes, where] of parts) use(bytes, where);
  }

  read(at: bigint, into: Uint8Array): void {
    const from = Number(at);
    // Almost every read lies in one region: no closure, no list.
    const region = this.#find(from, at, into.length);
    if (from + into.length <= region.to) {
      return take(region.mapping, region.offset + from - region.from, into);
    }
    this.#each(at, into.length, (bytes, done) => into.set(bytes, done));
  }

  write(at: bigint, bytes: Uint8Array): void {
    const from = Number(at);
    const region = this.#find(from, at, bytes.length);
    if (from + bytes.length <= region.to) {
      return put(region.mapping, region.offset + from - region.from, bytes);
    }
    this.#each(at, bytes.length, (part, done) => part.set(bytes.subarray(done, done + part.length)));
  }

  view(at: bigint, length: number): Uint8Array {
    const from = Number(at);
    const region = this.#find(from, at, length);
    if (from + length > region.to) this.#find(region.to, at, length);
    if (from + length > region.to) {
      throw new FaultError(
        `A view of ${length} bytes from 0x${
          at.toString(16)
        } would span ${region.name} and what lies behind it.`,
        { address: BigInt(region.to), space: "gpa" },
        { remedy: "Ask for one view for each region, or read a copy." },
      );
    }
    const start = region.offset + from - region.from;
    return region.mapping.bytes.subarray(start, start + length);
  }

  window(at: bigint, length: number): Uint8Array | undefined {
    const from = Number(at);
    if (this.#closed) return undefined;
    for (const region of this.#regions) {
      if (from < region.from || from >= region.to) continue;
      if (region.readOnly || from + length > region.to) return undefined;
      const start = region.offset + from - region.from;
      return region.mapping.bytes.subarray(start, start + length);
    }
    return undefined;
  }

  search(pattern: Uint8Array, from: bigint, to: bigint): bigint | undefined {
    if (this.#closed) throw machineClosed();
    if (pattern.length === 0) throw new InputError("There is nothing to search for: the pattern is empty.");
    const needle = new Uint8Array(pattern);
    for (const region of this.#regions) {
      const start = Math.max(Number(from), region.from);
      const end = Math.min(Number(to), region.to);
      if (start >= end) continue;
      const shift = region.from - region.offset;
      const found = region.mapping.indexOf(needle, start - shift, end - shift);
      if (found >= 0) return BigInt(found + shift);
    }
    return undefined;
  }

  protect(at: bigint, length: number, readOnly: boolean): void {
    const from = Number(at);
    const first = Math.floor(from / PAGE_SIZE);
    const last = Math.floor((from + Math.max(1, length) - 1) / PAGE_SIZE);
    const changed: number[] = [];
    for (let page = first; page <= last; page++) {
      // Memory that is there no more can be let go.
      if (readOnly) this.#find(page * PAGE_SIZE, at, length);
      if (this.#readOnlyPages.has(page) !== readOnly) changed.push(page);
    }
    const toggle = (page: number, on: boolean) =>
      on ? this.#readOnlyPages.add(page) : this.#readOnlyPages.delete(page);
    for (const page of changed) toggle(page, readOnly);
    try {
      if (changed.length > 0) this.#apply();
    } catch (error) {
      for (const page of changed) toggle(page, !readOnly);
      this.#apply();
      throw error;
    }
  }

  deposit(at: bigint, bytes: Uint8Array): void {
    let from = Number(at);
    const first = this.#find(from, at, bytes.length);
    if (from + bytes.length <= first.to) {
      if (!first.readOnly) put(first.mapping, first.offset + from - first.from, bytes);
      return;
    }
    const parts: [Backed, number, number][] = [];
    for (let done = 0; done < bytes.length;) {
      const region = this.#find(from, at, bytes.length);
      const part = Math.min(bytes.length - done, region.to - from);
      parts.push([region, from, done]);
      from += part;
      done += part;
    }
    for (const [region, start, done] of parts) {
      if (region.readOnly) continue;
      const part = bytes.subarray(done, done + region.to - start);
      region.mapping.bytes.set(part, region.offset + start - region.from);
    }
  }

  discard(at: bigint, length: number): void {
    const to = Number(at) + length;
    const parts: [Backed, number, number][] = [];
    for (let from = Number(at); from < to;) {
      const region = this.#find(from, at, length);
      const end = Math.min(to, region.to);
      if (!region.readOnly) parts.push([region, region.offset + from - region.from, end - from]);
      from = end;
    }
    for (const [{ mapping }, offset, part] of parts) mapping.discard(offset, part);
  }

  hidden(at: bigint, bytes: Uint8Array): void {
    if (this.#closed) throw machineClosed();
    const from = Number(at);
    const ram = this.#given.find((a) => !a.readOnly && from >= a.from && from + bytes.length <= a.to);
    if (ram === undefined) {
      throw new FaultError(`There is no RAM at guest-physical 0x${at.toString(16)}.`, {
        address: at,
        space: "gpa",
      }, { remedy: `Memory lies at ${this.#describe()}.` });
    }
    put(ram.mapping, ram.offset + from - ram.from, bytes);
  }

  shadow(at: bigint, length: number, how: Shadow): void {
    if (this.#closed) throw machineClosed();
    const from = Math.floor(Number(at) / PAGE_SIZE) * PAGE_SIZE;
    const to = Math.ceil((Number(at) + length) / PAGE_SIZE) * PAGE_SIZE;
    if (from >= to) return;
    this.#shadows.set({ from, to }, how);
    this.#lay();
    this.#apply();
  }

  /** Detaches every view and gives the memory back; the VM must be closed before. Doing it twice is harmless. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const region of [...this.#given, ...this.#over]) region.mapping[Symbol.dispose]();
  }
}

/** Up to so many bytes are moved one by one: a view of the mapping would cost more, and be garbage. */
const FEW = 16;

/** Fills `into` from the mapping. Two bytes at an even place come by one load: a ring's index may be changing. */
function take(mapping: Mapping, at: number, into: Uint8Array): void {
  const { length } = into;
  if (length > FEW) into.set(mapping.bytes.subarray(at, at + length));
  else if (length === 2 && at % 2 === 0) {
    const word = mapping.words16[at / 2];
    into[0] = word;
    into[1] = word >> 8;
  } else {
    const { bytes } = mapping;
    for (let i = 0; i < length; i++) into[i] = bytes[at + i];
  }
}

/** Stores `from` in the mapping; two bytes at an even place by one store. */
function put(mapping: Mapping, at: number, from: Uint8Array): void {
  const { length } = from;
  if (length > FEW) mapping.bytes.set(from, at);
  else if (length === 2 && at % 2 === 0) mapping.words16[at / 2] = from[0] | from[1] << 8;
  else {
    const { bytes } = mapping;
    for (let i = 0; i < length; i++) bytes[at + i] = from[i];
  }
}
