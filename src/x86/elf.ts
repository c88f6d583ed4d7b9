/**
 * ELF files of x86, 32 and 64 bits, little-endian (System V gABI, chapter 4 and 5). Every number in them is
 * taken as hostile: what is handed out lies within the file.
 */
import { InputError } from "../vm/errors.ts";

/** Program header types. */
export const PT_LOAD = 1;
/** Segment of notes. */
export const PT_NOTE = 4;

/** Section header types. */
export const SHT_SYMTAB = 2;
/** String table. */
export const SHT_STRTAB = 3;
/** Notes. */
export const SHT_NOTE = 7;
/** Section without contents in the file, such as .bss. */
export const SHT_NOBITS = 8;

/** Section flag: the section is part of the memory image. */
export const SHF_ALLOC = 2n;

/** File types. */
const ET_EXEC = 2;
const ET_DYN = 3;

const EM_386 = 3;
const EM_X86_64 = 62;
/** e_phnum that means "see section 0": more segments than a kernel has. */
const PN_XNUM = 0xffff;

/** The most segments that are loaded; kernels have less than twenty. */
const SEGMENTS = 512;

/** A program header. */
export interface ElfSegment {
  /** Its type number. */
  readonly type: number;
  /** Bit 0 execute, bit 1 write, bit 2 read. */
  readonly flags: number;
  /** Where its bytes start in the file. */
  readonly offset: bigint;
  /** Linear address (p_vaddr). */
  readonly vaddr: bigint;
  /** Physical address (p_paddr). */
  readonly paddr: bigint;
  /** Bytes in the file. */
  readonly filesz: bigint;
  /** Bytes in memory. */
  readonly memsz: bigint;
}

/** A section header. `size` and `offset` are as the file has them: use `sectionBytes`. */
export interface ElfSection {
  /** Its number. */
  readonly index: number;
  /** Its name. */
  readonly name: string;
  /** Its type number. */
  readonly type: number;
  /** Flag bits (sh_flags). */
  readonly flags: bigint;
  /** Linear address (sh_addr). */
  readonly addr: bigint;
  /** Where its bytes start in the file. */
  readonly offset: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** Index of another section that belongs to it. */
  readonly link: number;
  /** Bytes of an entry, for tables. */
  readonly entsize: bigint;
}

/** A parsed file. */
export interface ElfFile {
  /** The whole file. */
  readonly bytes: Uint8Array;
  /** ELF class. */
  readonly bits: 32 | 64;
  /** e_type: 1 relocatable, 2 executable, 3 shared or position-independent, 4 core. */
  readonly type: number;
  /** Linear address of the entry point. */
  readonly entry: bigint;
  /** Program headers, in the file's order. */
  readonly segments: readonly ElfSegment[];
  /** None if the section header table is missing or does not lie in the file. */
  readonly sections: readonly ElfSection[];
  /** Whether there should be some: the header speaks of a table that does not lie in the file, as in one cut short. */
  readonly sectionsMissing: boolean;
  /** Where the section header table lies in the file, and its entries; count 0 if there is none. */
  readonly sectionTable: {
    readonly offset: number;
    readonly entry: number;
    readonly count: number;
    readonly names: number;
  };
}

/** A PT_LOAD segment that was checked. */
export interface LoadSegment {
  /** Guest-physical address (p_paddr). */
  readonly at: bigint;
  /** Linear address (p_vaddr). */
  readonly vaddr: bigint;
  /** What the file holds: a view. */
  readonly bytes: Uint8Array;
  /** Bytes in memory; those after `bytes` are zero. */
  readonly size: bigint;
}

/** Whether `bytes` start as an ELF file does. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c &&
    bytes[3] === 0x46;
}

function refuse(what: string, remedy: string): InputError {
  return new InputError(what, { remedy });
}

const REBUILD = "build or copy the file again; `readelf -hl FILE` shows what it says";

/** Fields read with the file's class: a word is 4 bytes in ELF32, 8 in ELF64. */
class Fields {
  readonly #view: DataView;
  readonly wide: boolean;
  constructor(bytes: Uint8Array, wide: boolean) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.wide = wide;
  }
  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }
  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }
  word(at: number): bigint {
    return this.wide ? this.#view.getBigUint64(at, true) : BigInt(this.#view.getUint32(at, true));
  }
}

/**
 * Parses the headers.
 *
 * @throws {InputError} If the file is no little-endian x86 ELF, or its program headers do not lie in it.
 */
export function parseElf(bytes: Uint8Array): ElfFile {
  if (!isElf(bytes)) {
    throw refuse("The file is no ELF file: it does not start with 7f 45 4c 46", "give an ELF file");
  }
  if (bytes.length < 52) {
    throw refuse(`The ELF file ends in its header, after ${bytes.length} bytes`, REBUILD);
  }
  if (bytes[4] !== 1 && bytes[4] !== 2) {
    throw refuse(`The ELF file's class is ${bytes[4]}; 1 and 2 exist`, REBUILD);
  }
  if (bytes[5] !== 1) throw refuse("The ELF file is not little-endian", "build it for x86");
  const wide = bytes[4] === 2;
  if (wide && bytes.length < 64) {
    throw refuse(`The ELF file ends in its header, after ${bytes.length} bytes`, REBUILD);
  }
  const fields = new Fields(bytes, wide);
  const machine = fields.u16(18);
  const expected = wide ? EM_X86_64 : EM_386;
  if (machine !== expected) {
    throw refuse(
      `The ELF${wide ? 64 : 32} file is for machine ${machine}, not ${expected} (${
        wide ? "x86-64" : "i386"
      })`,
      "build it for x86: ELF32 with i386 code, ELF64 with x86-64 code",
    );
  }
  const file = {
    bytes,
    bits: wide ? 64 as const : 32 as const,
    type: fields.u16(16),
    entry: fields.word(24),
    segments: readSegments(bytes, fields),
  };
  return { ...file, ...readSections(bytes, fields) };
}

function readSegments(bytes: Uint8Array, fields: Fields): ElfSegment[] {
  const { wide } = fields;
  const table = fields.word(wide ? 32 : 28);
  const entry = fields.u16(wide ? 54 : 42);
  const count = fields.u16(wide ? 56 : 44);
  if (count === 0) return [];
  const least = wide ? 56 : 32;
  if (entry < least) {
    throw refuse(`The ELF file's program headers have ${entry} bytes each; ${least} are needed`, REBUILD);
  }
  if (count === PN_XNUM || table + BigInt(count * entry) > BigInt(bytes.length)) {
    throw refuse(
      `The ELF file says it has ${count} program headers at offset ${table}; it has ${bytes.length} bytes in all`,
      REBUILD,
    );
  }
  return Array.from({ length: count }, (_, i) => {
    const at = Number(table) + i * entry;
    return {
      type: fields.u32(at),
      flags: fields.u32(at + (wide ? 4 : 24)),
      offset: fields.word(at + (wide ? 8 : 4)),
      vaddr: fields.word(at + (wide ? 16 : 8)),
      paddr: fields.word(at + (wide ? 24 : 12)),
      filesz: fields.word(at + (wide ? 32 : 16)),
      memsz: fields.word(at + (wide ? 40 : 20)),
    };
  });
}

type Sections = Pick<ElfFile, "sections" | "sectionsMissing" | "sectionTable">;

function readSections(bytes: Uint8Array, fields: Fields): Sections {
  const { wide } = fields;
  const table = fields.word(wide ? 40 : 32);
  const entry = fields.u16(wide ? 58 : 46);
  const count = fields.u16(wide ? 60 : 48);
  const names = fields.u16(wide ? 62 : 50);
  if (count === 0 || entry < (wide ? 64 : 40) || table + BigInt(count * entry) > BigInt(bytes.length)) {
    const sectionTable = { offset: 0, entry: 0, count: 0, names: 0 };
    return { sections: [], sectionsMissing: count > 0, sectionTable };
  }
  const offset = Number(table);
  const raw = Array.from({ length: count }, (_, index) => {
    const at = offset + index * entry;
    return {
      index,
      nameAt: fields.u32(at),
      type: fields.u32(at + 4),
      flags: fields.word(at + 8),
      addr: fields.word(at + (wide ? 16 : 12)),
      offset: fields.word(at + (wide ? 24 : 16)),
      size: fields.word(at + (wide ? 32 : 20)),
      link: fields.u32(at + (wide ? 40 : 24)),
      entsize: fields.word(at + (wide ? 56 : 36)),
    };
  });
  const strings = raw[names] === undefined ? undefined : rangeOf(bytes, raw[names].offset, raw[names].size);
  const sections = raw.map(({ nameAt, ...rest }) => ({ ...rest, name: stringAt(strings, nameAt) }));
  return { sections, sectionsMissing: false, sectionTable: { offset, entry, count, names } };
}

function rangeOf(bytes: Uint8Array, offset: bigint, size: bigint): Uint8Array | undefined {
  if (offset + size > BigInt(bytes.length)) return undefined;
  return bytes.subarray(Number(offset), Number(offset + size));
}

/** The contents of a section; undefined if it has none or they do not lie in the file. */
export function sectionBytes(file: ElfFile, section: ElfSection): Uint8Array | undefined {
  return section.type === SHT_NOBITS ? undefined : rangeOf(file.bytes, section.offset, section.size);
}

/** The zero-terminated string at `at`, cut at 256 bytes; empty where there is none. */
export function stringAt(strings: Uint8Array | undefined, at: number): string {
  if (strings === undefined || at >= strings.length) return "";
  const limit = strings.subarray(at, at + 256);
  const end = limit.indexOf(0);
  return new TextDecoder("latin1").decode(end < 0 ? limit : limit.subarray(0, end));
}

/** A note. */
export interface ElfNote {
  /** Its name. */
  readonly name: string;
  /** Its type number. */
  readonly type: number;
  /** The note's contents. */
  readonly description: Uint8Array;
}

/** The most notes that are looked at: areas may overlap, so the file's size is no bound. */
const NOTES = 4096;

/** Every note in PT_NOTE segments and SHT_NOTE sections, at most 4096; what is malformed ends its segment. */
export function* elfNotes(file: ElfFile): Generator<ElfNote, void, void> {
  const areas = [
    ...file.segments.filter((s) => s.type === PT_NOTE).map((s) => rangeOf(file.bytes, s.offset, s.filesz)),
    ...file.sections.filter((s) => s.type === SHT_NOTE).map((s) => sectionBytes(file, s)),
  ];
  let notes = 0;
  for (const area of areas) {
    if (area === undefined) continue;
    const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
    for (let at = 0; at + 12 <= area.length;) {
      const nameSize = view.getUint32(at, true);
      const descriptionSize = view.getUint32(at + 4, true);
      const type = view.getUint32(at + 8, true);
      const descriptionAt = at + 12 + align4(nameSize);
      const end = descriptionAt + descriptionSize;
      if (end > area.length) break;
      if (++notes > NOTES) return;
      yield {
        name: stringAt(area.subarray(at + 12, at + 12 + nameSize), 0),
        type,
        description: area.subarray(descriptionAt, end),
      };
      at = descriptionAt + align4(descriptionSize);
    }
  }
}

function align4(n: number): number {
  return Math.ceil(n / 4) * 4;
}

/**
 * The segments to load, by physical address.
 *
 * @throws {InputError} If the file is not executable, has nothing to load, or a segment reaches out of the
 * file, has more bytes in the file than in memory, wraps around or overlaps another.
 */
export function loadSegments(file: ElfFile): LoadSegment[] {
  if (file.type !== ET_EXEC && file.type !== ET_DYN) {
    throw refuse(
      `The ELF file is of type ${file.type}, not an executable`,
      "link it: `ld -Ttext=ADDRESS ...`",
    );
  }
  const count = file.segments.filter((s) => s.type === PT_LOAD).length;
  if (count > SEGMENTS) {
    throw refuse(`The ELF file has ${count} segments to load; ${SEGMENTS} are the most`, REBUILD);
  }
  const limit = 1n << BigInt(file.bits);
  const loaded: LoadSegment[] = [];
  for (const [index, s] of file.segments.entries()) {
    if (s.type !== PT_LOAD || s.memsz === 0n && s.filesz === 0n) continue;
    const name = `ELF segment ${index} (physical 0x${s.paddr.toString(16)})`;
    if (s.filesz > s.memsz) {
      throw refuse(
        `${name} has ${s.filesz} bytes in the file and ${s.memsz} in memory; it can't shrink`,
        REBUILD,
      );
    }
    const bytes = rangeOf(file.bytes, s.offset, s.filesz);
    if (bytes === undefined) {
      throw refuse(
        `${name} ends at offset ${s.offset + s.filesz}; the file has ${file.bytes.length} bytes`,
        "the file is truncated: copy it again",
      );
    }
    if (s.paddr + s.memsz > limit || s.vaddr + s.memsz > limit) {
      throw refuse(`${name} of ${s.memsz} bytes wraps around the end of the address space`, REBUILD);
    }
    loaded.push({ at: s.paddr, vaddr: s.vaddr, bytes, size: s.memsz });
  }
  if (loaded.length === 0) {
    throw refuse("The ELF file has no segment to load", "link it with a PT_LOAD segment");
  }
  loaded.sort((a, b) => a.at < b.at ? -1 : a.at > b.at ? 1 : 0);
  for (let i = 1; i < loaded.length; i++) {
    const before = loaded[i - 1];
    if (before.at + before.size > loaded[i].at) {
      throw refuse(
        `ELF segments overlap: physical 0x${before.at.toString(16)} with ${before.size} bytes reaches into ` +
          `0x${loaded[i].at.toString(16)}`,
        "give the segments distinct physical addresses (AT() in the linker script)",
      );
    }
  }
  return loaded;
}
