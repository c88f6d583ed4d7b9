/** What the loaders of kernels have in common. */
import { InputError } from "../../vm/errors.ts";
import type { ElfFile, LoadSegment } from "../elf.ts";
import type { BootWrite } from "./image.ts";

/** A file the kernel is given beside itself. */
export interface BootModule {
  /** Its contents. */
  readonly bytes: Uint8Array;
  /** What the kernel is told about it: by QEMU's convention "file arguments". */
  readonly cmdline?: string;
}

/** The protocols an ELF file can be started by. */
export type ElfProtocol = "multiboot" | "pvh" | "elf32" | "elf64";

/** How a kernel is started. */
export interface ElfOptions {
  /** Bytes of RAM. */
  readonly memory: number;
  /** Arguments for the kernel. */
  readonly cmdline?: string;
  /** The file's name: multiboot kernels get it in front of their arguments, as QEMU does. */
  readonly name?: string;
  /** Files beside the kernel. */
  readonly modules?: readonly BootModule[];
  /** Left out: multiboot if there is its header, else PVH if there is its note, else plain. */
  readonly protocol?: ElfProtocol;
}

/** Segments as writes. */
export function segmentWrites(segments: readonly LoadSegment[]): BootWrite[] {
  return segments.map((s, i) => ({
    at: s.at,
    bytes: s.bytes,
    zeros: Number(s.size) - s.bytes.length,
    name: `ELF segment ${i}`,
  }));
}

/**
 * The entry's physical address: e_entry is linear when it lies in a segment whose addresses differ.
 *
 * @throws {InputError} If it lies in no segment: what runs there is not the kernel.
 */
export function physicalEntry({ entry }: ElfFile, segments: readonly LoadSegment[]): bigint {
  const home = segments.find((s) => entry >= s.vaddr && entry < s.vaddr + s.size);
  if (home !== undefined) return entry - home.vaddr + home.at;
  return checkEntry(entry, segments);
}

/** A physical entry as it is. @throws {InputError} If it lies in no segment. */
export function checkEntry(entry: bigint, segments: readonly LoadSegment[]): bigint {
  if (segments.some((s) => entry >= s.at && entry < s.at + s.size)) return entry;
  throw new InputError(`The ELF file's entry 0x${entry.toString(16)} lies in no segment`, {
    remedy: "set the entry with ENTRY() in the linker script",
  });
}

/** All bytes of a view's buffer. */
export function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Hands out addresses one behind the other, and remembers what goes there. */
export class Block {
  /** What was added so far. */
  readonly writes: BootWrite[] = [];
  #next: bigint;
  /** Starts at guest-physical address `at`. */
  constructor(at: bigint) {
    this.#next = at;
  }
  /** Puts `bytes` at the next multiple of `align`, and gives that address. */
  add(name: string, bytes: Uint8Array, align = 8n): bigint {
    const at = (this.#next + align - 1n) / align * align;
    if (bytes.length > 0) this.writes.push({ at, bytes, name });
    this.#next = at + BigInt(bytes.length);
    return at;
  }
}
