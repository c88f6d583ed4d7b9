/**
 * Multiboot 1 (Multiboot Specification 0.6.96), with QEMU's conventions where the specification leaves it open:
 * selectors 8 and 0x10, modules on pages behind the kernel, boot device 0x8000ffff.
 */
import { InputError } from "../../vm/errors.ts";
import { type ElfFile, loadSegments, sectionBytes, SHF_ALLOC, SHT_STRTAB, SHT_SYMTAB } from "../elf.ts";
import { withBiosData } from "./bios_data.ts";
import {
  arrange,
  type BootImage,
  type BootWrite,
  cString,
  findRoom,
  hex,
  memoryMap,
  type Span,
  spanOf,
} from "./image.ts";
import { Block, bytesOf, type ElfOptions, physicalEntry, segmentWrites } from "./kernel.ts";
import { gdt, protectedMode } from "./state.ts";

const HEADER_MAGIC = 0x1badb002;
/** What EAX holds at entry. */
const BOOT_MAGIC = 0x2badb002n;
/** The header lies in the first 8192 bytes. */
const SEARCH = 8192;

// Header flags (section 3.1.2). Bits 0..15 are demands.
const PAGE_ALIGN_BIT = 1 << 0;
const MEMORY_INFO_BIT = 1 << 1;
const VIDEO_BIT = 1 << 2;
const ADDRESSES_BIT = 1 << 16;
const DEMANDS = 0xffff;
const KNOWN_DEMANDS = PAGE_ALIGN_BIT | MEMORY_INFO_BIT | VIDEO_BIT;

// Information flags (section 3.3).
const INFO_MEMORY = 1 << 0;
const INFO_BOOT_DEVICE = 1 << 1;
const INFO_CMDLINE = 1 << 2;
const INFO_MODS = 1 << 3;
const INFO_ELF_SECTIONS = 1 << 5;
const INFO_MMAP = 1 << 6;
const INFO_CONFIG = 1 << 8;
const INFO_LOADER_NAME = 1 << 9;

/** RAM in the memory map. */
const RAM = 1;

const INFO_SIZE = 88;
const MODULE_SIZE = 16;
const MMAP_ENTRY_SIZE = 24;
/** Where the block of stack and information goes if nothing is loaded there: the information is then at 0x9000, as QEMU has it. */
const BLOCK_AT = 0x8000n;
const STACK_SIZE = 0x1000;
const STRING_LIMIT = 0x10000;
const MODULES = 128;
/** The first hard disk, no partition (section 3.3). */
const BOOT_DEVICE = 0x8000ffff;

/** A multiboot header. */
export interface MultibootHeader {
  /** Where it lies in the file. */
  readonly offset: number;
  /** Bits 0..15 demands, 16 and up what is valid. */
  readonly flags: number;
  /** header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; valid if bit 16 of the flags is set. */
  readonly addresses: readonly number[];
}

/** Finds the header: 4-aligned, in the first 8192 bytes, with a checksum that is right. */
export function multibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, SEARCH);
  for (let offset = 0; offset + 12 <= end; offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    if ((HEADER_MAGIC + flags + view.getUint32(offset + 8, true)) % 2 ** 32 !== 0) continue;
    const whole = offset + 32 <= end;
    const addresses = whole ? [12, 16, 20, 24, 28].map((at) => view.getUint32(offset + at, true)) : [];
    return { offset, flags, addresses };
  }
  return undefined;
}

/** Magic of multiboot 2, whose header lies in the first 32 KiB, at a multiple of 8 (Multiboot 2, 3.1.1). */
const HEADER_2 = { magic: 0xe85250d6, within: 32768 } as const;

/** Why a file that looks like a multiboot kernel is not started as one, if it does. */
export function nearlyMultiboot(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset + 16 <= Math.min(bytes.length, HEADER_2.within); offset += 4) {
    const magic = view.getUint32(offset, true);
    if (magic === HEADER_2.magic && offset % 8 === 0) {
      return "its header is that of multiboot 2; 1 is what is spoken here";
    }
    if (magic === HEADER_MAGIC) {
      return offset + 12 > SEARCH
        ? `its multiboot header is at offset ${offset}, behind the first ${SEARCH} bytes`
        : `the checksum of its multiboot header (at offset ${offset}) is wrong`;
    }
  }
  return undefined;
}

/** Load addresses from the header (section 3.1.3): for files in another format than ELF. */
function kludge(bytes: Uint8Array, header: MultibootHeader): { writes: BootWrite[]; entry: bigint } {
  const refuse = (what: string) =>
    new InputError(`The multiboot header's addresses make no sense: ${what}`, {
      remedy: "link the kernel again, or clear bit 16 of the header's flags to use the ELF headers",
    });
  if (header.addresses.length === 0) throw refuse("the header is cut off at 8192 bytes");
  const [headerAt, loadAt, loadEnd, bssEnd, entry] = header.addresses;
  const start = header.offset - (headerAt - loadAt);
  if (headerAt < loadAt || start < 0) {
    throw refuse(`load_addr 0x${loadAt.toString(16)} does not fit header_addr 0x${headerAt.toString(16)}`);
  }
  const size = loadEnd === 0 ? bytes.length - start : loadEnd - loadAt;
  if (size <= 0 || start + size > bytes.length) {
    throw refuse(
      `load_end_addr 0x${
        loadEnd.toString(16)
      } asks for ${size} bytes from offset ${start} of ${bytes.length}`,
    );
  }
  const end = bssEnd === 0 ? loadAt + size : bssEnd;
  if (end < loadAt + size) {
    throw refuse(`bss_end_addr 0x${bssEnd.toString(16)} is below the end of what is loaded`);
  }
  const write: BootWrite = {
    at: BigInt(loadAt),
    bytes: bytes.subarray(start, start + size),
    zeros: end - loadAt - size,
    name: "multiboot kernel",
  };
  return { writes: [write], entry: BigInt(entry) };
}

/** Little-endian 32-bit fields of the information structure. */
class Info {
  readonly bytes = new Uint8Array(INFO_SIZE);
  readonly #view = new DataView(this.bytes.buffer);
  flag(bit: number): void {
    this.put(0, (this.#view.getUint32(0, true) | bit) >>> 0);
  }
  put(at: number, value: bigint | number): void {
    this.#view.setUint32(at, Number(value), true);
  }
}

/** Where a block of `size` bytes goes: behind everything that is loaded, from 1 MiB on. */
function behind(what: string, size: number, writes: readonly BootWrite[], memory: number): bigint {
  const spans: Span[] = writes.map(spanOf);
  let end = 0x100000n;
  for (const s of spans) if (s.at + s.size > end) end = s.at + s.size;
  return findRoom(what, BigInt(size), spans, memory, { preferred: [(end + 4095n) / 4096n * 4096n] });
}

/**
 * A multiboot kernel: 32-bit protected mode, flat segments, EAX the magic, EBX the information structure.
 *
 * @param file The parsed file if it is ELF; ELF64 is taken as GRUB does, and entered in 32 bit.
 * @throws {InputError} If the header asks for what is not known, or anything does not fit.
 */
export function multibootImage(
  bytes: Uint8Array,
  header: MultibootHeader,
  file: ElfFile | undefined,
  options: ElfOptions,
): BootImage {
  const notes: string[] = [];
  const unknown = header.flags & DEMANDS & ~KNOWN_DEMANDS;
  if (unknown !== 0) {
    throw new InputError(
      `The multiboot header asks for features nobody defined: flags 0x${unknown.toString(16)}`,
      {
        remedy: "clear these bits in the header",
      },
    );
  }
  if (header.flags & VIDEO_BIT) notes.push("the kernel asks for a video mode; it gets VGA text mode");
  let kernel: { writes: BootWrite[]; entry: bigint };
  if (header.flags & ADDRESSES_BIT) kernel = kludge(bytes, header);
  else if (file === undefined) {
    throw new InputError("The multiboot kernel is no ELF file and its header has no load addresses", {
      remedy: "set bit 16 of the header's flags and its address fields, or link it as ELF",
    });
  } else {
    const segments = loadSegments(file);
    kernel = { writes: segmentWrites(segments), entry: physicalEntry(file, segments) };
    if (file.bits === 64) notes.push("the multiboot kernel is ELF64; it is entered in 32-bit protected mode");
  }
  if (kernel.entry >> 32n !== 0n) {
    throw new InputError(`The multiboot kernel's entry ${hex(kernel.entry)} lies above 4 GiB`, {
      remedy: "link its entry below 4 GiB",
    });
  }
  const { memory } = options;
  const info = new Info();
  const writes = arrange(kernel.writes, memory);

  // Section headers and symbols, then modules, behind the kernel.
  if (file !== undefined && (header.flags & ADDRESSES_BIT) === 0) {
    writes.push(...sections(file, info, writes, memory));
  }
  const modules = options.modules ?? [];
  if (modules.length > MODULES) {
    throw new InputError(`${modules.length} modules are too many; ${MODULES} are the most`, {
      remedy: "give fewer",
    });
  }
  const placed = modules.map((module, i) => {
    const at = behind(`module ${i}`, Math.max(module.bytes.length, 1), writes, memory);
    writes.push({ at, bytes: module.bytes, name: `module ${i}` });
    return { at, module };
  });

  // The information structure and what it points to, low as a real boot loader has it.
  const map = memoryMap(memory);
  const command = cString("command line", commandLine(options), STRING_LIMIT);
  const names = placed.map(({ module }) =>
    cString("module's command line", module.cmdline ?? "", STRING_LIMIT)
  );
  const total = names.reduce((sum, n) => sum + n.length + 4, 0) + command.length + STACK_SIZE + 1024 +
    placed.length * MODULE_SIZE;
  const taken = writes.map(spanOf);
  const base = findRoom("multiboot information", BigInt(total), taken, memory, { preferred: [BLOCK_AT] });
  const block = new Block(base + BigInt(STACK_SIZE));
  const infoAt = block.add("multiboot information", info.bytes);
  info.put(48, block.add("memory map", mmap(map)));
  info.put(44, map.length * MMAP_ENTRY_SIZE);
  info.put(16, block.add("command line", command));
  info.put(64, block.add("boot loader name", cString("name", "hvsh", 64)));
  info.put(60, block.add("configuration table", CONFIGURATION));
  const gdtAt = block.add("GDT", gdt(), 8n);
  const table = new DataView(new ArrayBuffer(placed.length * MODULE_SIZE));
  placed.forEach(({ at, module }, i) => {
    table.setUint32(MODULE_SIZE * i, Number(at), true);
    table.setUint32(MODULE_SIZE * i + 4, Number(at) + module.bytes.length, true);
    table.setUint32(MODULE_SIZE * i + 8, Number(block.add("module's command line", names[i])), true);
  });
  info.put(20, placed.length);
  info.put(24, block.add("module list", bytesOf(table)));

  const upper = map.find(({ at, type }) => at === 0x100000n && type === RAM);
  info.put(4, map[0].size / 1024n); // KiB from 0
  info.put(8, (upper?.size ?? 0n) / 1024n); // KiB from 1 MiB to the first hole
  info.put(12, BOOT_DEVICE);
  info.flag(
    INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_CONFIG | INFO_LOADER_NAME,
  );
  return {
    protocol: "multiboot",
    writes: arrange(withBiosData([...writes, ...block.writes], memory), memory),
    registers: {
      ...protectedMode(kernel.entry, base + BigInt(STACK_SIZE), gdtAt),
      rax: BOOT_MAGIC,
      rbx: infoAt,
    },
    ...(file === undefined ? {} : { symbols: file.bytes }),
    notes,
  };
}

/** As QEMU gives it: the file's name, a blank, the arguments. */
function commandLine({ name, cmdline = "" }: ElfOptions): string {
  return name === undefined ? cmdline : `${name} ${cmdline}`;
}

/** Entries with their size in front, which does not count itself (section 3.3). */
function mmap(map: ReturnType<typeof memoryMap>): Uint8Array {
  const view = new DataView(new ArrayBuffer(map.length * MMAP_ENTRY_SIZE));
  map.forEach(({ at, size, type }, i) => {
    const base = i * MMAP_ENTRY_SIZE;
    view.setUint32(base, MMAP_ENTRY_SIZE - 4, true);
    view.setBigUint64(base + 4, at, true);
    view.setBigUint64(base + 12, size, true);
    view.setUint32(base + 20, type, true);
  });
  return bytesOf(view);
}

/** INT 15H AH=C0H's table: 8 bytes follow, AT model (0xfc), second 8259 and RTC there. */
const CONFIGURATION = Uint8Array.of(8, 0, 0xfc, 0, 1, 0x60, 0, 0, 0, 0);

/** The section headers with symbol and string tables loaded, as flag 5 promises them. */
function sections(file: ElfFile, info: Info, writes: readonly BootWrite[], memory: number): BootWrite[] {
  const { sectionTable } = file;
  if (sectionTable.count === 0) return [];
  const loose = file.sections.flatMap((s) => {
    const loaded = (s.flags & SHF_ALLOC) !== 0n || s.type !== SHT_SYMTAB && s.type !== SHT_STRTAB;
    const contents = loaded ? undefined : sectionBytes(file, s);
    return contents === undefined || contents.length === 0 ? [] : [{ section: s, contents }];
  });
  const headers = file.bytes.slice(
    sectionTable.offset,
    sectionTable.offset + sectionTable.count * sectionTable.entry,
  );
  const total = loose.reduce((sum, { contents }) => sum + contents.length + 16, headers.length);
  // Sections of a hostile file may all cover the whole of it.
  if (total > 2 * file.bytes.length + 4096) return [];
  let at: bigint;
  try {
    at = behind("ELF symbols", total, writes, memory);
  } catch (error) {
    if (error instanceof InputError) return []; // symbols are a courtesy; the kernel runs without
    throw error;
  }
  const block = new Block(at);
  const view = new DataView(headers.buffer);
  const headersAt = block.add("ELF section headers", headers);
  for (const { section, contents } of loose) {
    const place = block.add(`ELF section ${section.name}`, contents, 16n);
    const field = section.index * sectionTable.entry + (file.bits === 64 ? 16 : 12);
    if (file.bits === 64) view.setBigUint64(field, place, true);
    else view.setUint32(field, Number(place), true);
  }
  info.put(28, sectionTable.count);
  info.put(32, sectionTable.entry);
  info.put(36, headersAt);
  info.put(40, sectionTable.names);
  info.flag(INFO_ELF_SECTIONS);
  return block.writes;
}
