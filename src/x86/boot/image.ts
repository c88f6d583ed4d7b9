/** What a boot protocol comes down to: bytes in guest memory, read-only memory, and the state of the first vCPU. */
import type { Rom } from "../../vm/backend.ts";
import { InputError } from "../../vm/errors.ts";
import type { RegisterValues } from "../../vm/registers.ts";

/** Bytes to be put into guest memory before the start. */
export interface BootWrite {
  /** Guest-physical address. */
  readonly at: bigint;
  /** What is written. */
  readonly bytes: Uint8Array;
  /** How many zero bytes follow `bytes` (.bss). A fresh guest has them already; a guest that is reset has not. */
  readonly zeros?: number;
  /** What it is, for messages and listings. */
  readonly name: string;
}

/** The way in which a guest is started. */
export type BootProtocol =
  | "firmware"
  | "boot-sector"
  | "flat"
  | "multiboot"
  | "pvh"
  | "elf32"
  | "elf64"
  | "linux"
  | "xen-pv";

/** A boot specification, resolved. */
export interface BootImage {
  /** Which protocol was taken. */
  readonly protocol: BootProtocol;
  /** Sorted by address; within RAM, and never overlapping. */
  readonly writes: readonly BootWrite[];
  /** Read-only memory, if there is any. */
  readonly roms?: readonly Rom[];
  /** What differs from the reset state in the first vCPU; empty to start at the reset vector. */
  readonly registers: RegisterValues;
  /** Guest-physical address at which the protocol hands over the ACPI root pointer's address (8 bytes), if it does. */
  readonly rootPointer?: bigint;
  /** An ELF file to take symbols from. */
  readonly symbols?: Uint8Array;
  /** What is odd but no error, one sentence each. */
  readonly notes: readonly string[];
}

/** Where conventional memory ends for a guest: 639 KiB, with the EBDA behind it, as with SeaBIOS in QEMU. */
export const LOW_END = 0x9fc00n;
/** Where RAM below 4 GiB ends at most (`BackendOptions.memory`). */
const LOW_RAM = 3n << 30n;
const HIGH_RAM = 4n << 30n;
/** What SeaBIOS keeps for itself at the end of the RAM below 4 GiB (its tables lie there): 128 KiB. */
const FIRMWARE_RAM = 0x2_0000n;
/** From here to 4 GiB are the task state segment that KVM wants room for, and the firmware's ROM. */
const FIRMWARE_ROM = 0xfffb_c000n;

/** A range of guest-physical addresses. */
export interface Span {
  /** Guest-physical address of the first byte. */
  readonly at: bigint;
  /** How many bytes. */
  readonly size: bigint;
}

/** The RAM that a guest of `memory` bytes has: from 0 up to 3 GiB, the rest from 4 GiB. */
export function ramSpans(memory: number): Span[] {
  const all = BigInt(memory);
  if (all <= LOW_RAM) return [{ at: 0n, size: all }];
  return [{ at: 0n, size: LOW_RAM }, { at: HIGH_RAM, size: all - LOW_RAM }];
}

/** Where the RAM below 4 GiB ends that a kernel is told to be its own; a guest with less than 2 MiB has it all. */
export function usableEnd(memory: number): bigint {
  const [{ size }] = ramSpans(memory);
  return size < 0x200000n ? size : size - FIRMWARE_RAM;
}

/** The range a write covers, its zeros included. */
export function spanOf(write: BootWrite): Span {
  return { at: write.at, size: BigInt(write.bytes.length + (write.zeros ?? 0)) };
}

function overlaps(a: Span, b: Span): boolean {
  return a.at < b.at + b.size && b.at < a.at + a.size;
}

/**
 * Sorts the writes and sees to it that they lie in RAM and apart from each other.
 *
 * @throws {InputError} If one does not.
 */
export function arrange(writes: readonly BootWrite[], memory: number): BootWrite[] {
  const ram = ramSpans(memory);
  const sorted = [...writes].sort((a, b) => a.at < b.at ? -1 : a.at > b.at ? 1 : 0);
  let before: BootWrite | undefined;
  for (const write of sorted) {
    const span = spanOf(write);
    const end = span.at + span.size;
    if (!ram.some((r) => span.at >= r.at && end <= r.at + r.size)) {
      throw new InputError(
        `${write.name} takes ${hex(span.at)} to ${hex(end)}, which is not all RAM: the guest has ` +
          ram.map((r) => `${hex(r.at)} to ${hex(r.at + r.size)}`).join(" and "),
        { remedy: "give the guest more memory (-m), or load at another address" },
      );
    }
    if (before !== undefined && spanOf(before).at + spanOf(before).size > span.at) {
      throw new InputError(
        `${write.name} at ${hex(span.at)} overlaps ${before.name} at ${hex(before.at)}, which has ` +
          `${spanOf(before).size} bytes`,
        { remedy: "load one of them at another address" },
      );
    }
    before = write;
  }
  return sorted;
}

/**
 * Finds room for `size` bytes that no taken range uses: at the first preferred address that is free, else as
 * high below 640 KiB as it fits, else behind the first taken range that leaves room. Below 4 GiB, never below 0x1000.
 *
 * @throws {InputError} If there is no room.
 */
export function findRoom(
  what: string,
  size: bigint,
  taken: readonly Span[],
  memory: number,
  options: { readonly preferred?: readonly bigint[]; readonly align?: bigint } = {},
): bigint {
  const align = options.align ?? 4096n;
  const low = usableEnd(memory);
  const free = (at: bigint) =>
    at >= 0x1000n && at + size <= low &&
    !overlaps({ at, size }, { at: LOW_END, size: 0x100000n - LOW_END }) &&
    !taken.some((t) => overlaps(t, { at, size }));
  const below = (end: bigint) => end < size ? -1n : (end - size) / align * align;
  const candidates = [
    ...options.preferred ?? [],
    below(low < LOW_END ? low : LOW_END),
    ...taken.map((t) => below(t.at)),
    ...taken.map((t) => (t.at + t.size + align - 1n) / align * align),
    0x100000n,
  ];
  const found = candidates.find(free);
  if (found === undefined) {
    throw new InputError(`There is no room for ${what} (${size} bytes) beside what is loaded`, {
      remedy: "give the guest more memory (-m)",
    });
  }
  return found;
}

/** RAM and reserved ranges as firmware reports them. */
export interface MapEntry extends Span {
  /** 1 RAM, 2 reserved (ACPI 6.2, section 15). */
  readonly type: 1 | 2;
}

/**
 * The memory map a kernel is told, as SeaBIOS gives it in QEMU: the EBDA, the BIOS area below 1 MiB, the end of the
 * RAM below 4 GiB and the ROM are reserved, the rest is RAM. Nothing of ours lies at the end of the RAM: kernels find
 * the sizes there that they find in QEMU.
 */
export function memoryMap(memory: number): MapEntry[] {
  const [low, high] = ramSpans(memory);
  const entries: MapEntry[] = [];
  const add = (at: bigint, end: bigint, type: 1 | 2) => {
    if (end > at) entries.push({ at, size: end - at, type });
  };
  add(0n, low.size < LOW_END ? low.size : LOW_END, 1);
  add(LOW_END, 0xa0000n, 2);
  add(0xf0000n, 0x100000n, 2);
  const top = usableEnd(memory);
  add(0x100000n, top, 1);
  if (top < low.size) add(top, low.size, 2);
  add(FIRMWARE_ROM, HIGH_RAM, 2);
  if (high !== undefined) add(high.at, high.at + high.size, 1);
  return entries;
}

/** A zero-terminated string in Latin-1 or UTF-8 bytes. @throws {InputError} If it has a zero or is longer than `limit`. */
export function cString(what: string, text: string, limit: number): Uint8Array {
  const bytes = new TextEncoder().encode(text + "\0");
  if (text.includes("\0")) {
    throw new InputError(`The ${what} has a zero character in it`, { remedy: "leave it out" });
  }
  if (bytes.length > limit) {
    throw new InputError(`The ${what} has ${bytes.length - 1} bytes; ${limit - 1} are the most`, {
      remedy: "shorten it",
    });
  }
  return bytes;
}

/** The address as messages show it. */
export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
