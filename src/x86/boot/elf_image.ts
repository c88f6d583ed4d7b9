/** Kernels in ELF files (and flat multiboot kernels): which protocol starts them, and the simple ones of these. */
import { InputError } from "../../vm/errors.ts";
import { type ElfFile, elfNotes, isElf, loadSegments, parseElf } from "../elf.ts";
import { isCanonical } from "../mode.ts";
import { withBiosData } from "./bios_data.ts";
import { arrange, type BootImage, cString, findRoom, hex, memoryMap, spanOf } from "./image.ts";
import {
  Block,
  bytesOf,
  checkEntry,
  type ElfOptions,
  type ElfProtocol,
  physicalEntry,
  segmentWrites,
} from "./kernel.ts";
import { multibootHeader, multibootImage, nearlyMultiboot } from "./multiboot.ts";
import { enterFlat } from "./raw.ts";
import { gdt, protectedMode } from "./state.ts";

export type { BootModule, ElfOptions, ElfProtocol } from "./kernel.ts";

/** ELF note "Xen", type 18: XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h). */
const PHYS32_ENTRY = 18;
/** XEN_HVM_START_MAGIC_VALUE (xen/include/public/arch-x86/hvm/start_info.h). */
const START_MAGIC = 0x336ec578;
const START_INFO_SIZE = 56;
/** Offset of rsdp_paddr. */
const RSDP_PADDR = 32n;
const MODULE_ENTRY_SIZE = 32;
const MAP_ENTRY_SIZE = 24;
const STRING_LIMIT = 0x10000;
const STACK_SIZE = 0x1000;

/**
 * Resolves a kernel. Multiboot wins over PVH, PVH over the plain ways:
 *
 * - multiboot: see multiboot.ts; the only one that needs no ELF file.
 * - pvh: 32-bit protected mode at the note's entry, EBX the start info (version 1), modules and map with it.
 * - elf64: 64-bit mode at e_entry; the first 4 GiB are mapped to themselves, and each segment's linear addresses
 *   to its physical ones.
 * - elf32: 32-bit protected mode at e_entry.
 *
 * @throws {InputError} If the file is malformed, does not fit into memory, or is not of the protocol asked for.
 */
export function elfImage(bytes: Uint8Array, options: ElfOptions): BootImage {
  if (bytes.length === 0) {
    throw new InputError("The kernel is empty", { remedy: "give a file with contents" });
  }
  const image = chosenImage(bytes, options);
  if (image.symbols === undefined || !parseElf(image.symbols).sectionsMissing) return image;
  const note =
    "the file ends before the section headers that it names, and has no symbols so; it may have been cut short";
  return { ...image, notes: [...image.notes, note] };
}

function chosenImage(bytes: Uint8Array, options: ElfOptions): BootImage {
  const header = options.protocol === undefined || options.protocol === "multiboot"
    ? multibootHeader(bytes)
    : undefined;
  if (header !== undefined) {
    return multibootImage(bytes, header, isElf(bytes) ? parseElf(bytes) : undefined, options);
  }
  if (options.protocol === "multiboot") {
    throw lacks("multiboot", "no multiboot header in its first 8192 bytes");
  }
  if (!isElf(bytes)) {
    throw new InputError("The kernel is neither ELF nor has it a multiboot header in its first 8192 bytes", {
      remedy: "use linux() for a bzImage, flat() for a binary without headers, firmware() for a ROM",
    });
  }
  const file = parseElf(bytes);
  const pvh = options.protocol === undefined || options.protocol === "pvh" ? pvhEntry(file) : undefined;
  if (pvh !== undefined) return pvhImage(file, pvh, options);
  if (options.protocol === "pvh") throw lacks("pvh", "no note XEN_ELFNOTE_PHYS32_ENTRY");
  const plain: ElfProtocol = file.bits === 64 ? "elf64" : "elf32";
  if (options.protocol !== undefined && options.protocol !== plain) {
    throw lacks(options.protocol, `ELF${file.bits}`);
  }
  return plainImage(file, options);
}

function lacks(protocol: string, what: string): InputError {
  return new InputError(
    `The kernel can't be started as ${protocol}: it has ${what}`.replace("has ELF", "is ELF"),
    {
      remedy: "leave the protocol out, so that it is chosen by what the file has",
    },
  );
}

/** The physical entry address in the PVH note, if there is one. */
function pvhEntry(file: ElfFile): bigint | undefined {
  for (const { name, type, description } of elfNotes(file)) {
    if (name !== "Xen" || type !== PHYS32_ENTRY || description.length < 4) continue;
    return BigInt(new DataView(description.buffer, description.byteOffset).getUint32(0, true));
  }
  return undefined;
}

function pvhImage(file: ElfFile, entry: bigint, options: ElfOptions): BootImage {
  const { memory, modules = [] } = options;
  const segments = loadSegments(file);
  checkEntry(entry, segments);
  const writes = arrange(segmentWrites(segments), memory);
  if (modules.length > 128) {
    throw new InputError(`${modules.length} modules are too many; 128 are the most`, {
      remedy: "give fewer",
    });
  }
  const placed = modules.map((module, i) => {
    const spans = writes.map(spanOf);
    const last = spans.reduce((end, s) => s.at + s.size > end ? s.at + s.size : end, 0x100000n);
    const preferred = [(last + 4095n) / 4096n * 4096n];
    const size = BigInt(Math.max(module.bytes.length, 1));
    const at = findRoom(`module ${i}`, size, spans, memory, { preferred });
    writes.push({ at, bytes: module.bytes, name: `module ${i}` });
    return { at, module };
  });
  const map = memoryMap(memory);
  const command = cString("command line", options.cmdline ?? "", STRING_LIMIT);
  const names = placed.map(({ module }) =>
    cString("module's command line", module.cmdline ?? "", STRING_LIMIT)
  );
  const size = STACK_SIZE + 1024 + command.length + names.reduce((sum, n) => sum + n.length + 8, 0) +
    placed.length * MODULE_ENTRY_SIZE;
  const base = findRoom("start info", BigInt(size), writes.map(spanOf), memory, { preferred: [0x8000n] });
  const rsp = base + BigInt(STACK_SIZE);
  const block = new Block(rsp);

  const info = new DataView(new ArrayBuffer(START_INFO_SIZE));
  const infoAt = block.add("PVH start info", bytesOf(info));
  const list = new DataView(new ArrayBuffer(placed.length * MODULE_ENTRY_SIZE));
  placed.forEach(({ at, module }, i) => {
    list.setBigUint64(MODULE_ENTRY_SIZE * i, at, true);
    list.setBigUint64(MODULE_ENTRY_SIZE * i + 8, BigInt(module.bytes.length), true);
    list.setBigUint64(MODULE_ENTRY_SIZE * i + 16, block.add("module's command line", names[i]), true);
  });
  const table = new DataView(new ArrayBuffer(map.length * MAP_ENTRY_SIZE));
  map.forEach((row, i) => {
    table.setBigUint64(MAP_ENTRY_SIZE * i, row.at, true);
    table.setBigUint64(MAP_ENTRY_SIZE * i + 8, row.size, true);
    table.setUint32(MAP_ENTRY_SIZE * i + 16, row.type, true);
  });
  info.setUint32(0, START_MAGIC, true);
  info.setUint32(4, 1, true); // version
  info.setUint32(12, placed.length, true);
  info.setBigUint64(16, placed.length === 0 ? 0n : block.add("module list", bytesOf(list)), true);
  info.setBigUint64(24, block.add("command line", command), true);
  info.setBigUint64(40, block.add("memory map", bytesOf(table)), true);
  info.setUint32(48, map.length, true);
  const gdtAt = block.add("GDT", gdt());
  return {
    protocol: "pvh",
    writes: arrange(withBiosData([...writes, ...block.writes], memory), memory),
    registers: { ...protectedMode(entry, rsp, gdtAt), rbx: infoAt },
    rootPointer: infoAt + RSDP_PADDR,
    symbols: file.bytes,
    notes: [],
  };
}

const FOUR_GIB = 1n << 32n;

function plainImage(file: ElfFile, options: ElfOptions): BootImage {
  const { memory } = options;
  const segments = loadSegments(file);
  const notes: string[] = [];
  const nearly = options.protocol === undefined ? nearlyMultiboot(file.bytes) : undefined;
  if (nearly !== undefined) notes.push(`the file is started as a plain ELF file: ${nearly}`);
  if (options.cmdline || options.modules?.length) {
    notes.push("a plain ELF file is told nothing: its command line and modules are left out");
  }
  const writes = arrange(segmentWrites(segments), memory);
  const common = { protocol: file.bits === 64 ? "elf64" : "elf32", symbols: file.bytes, notes } as const;
  if (file.bits === 32) {
    return { ...common, ...enterFlat("protected", physicalEntry(file, segments), writes, memory) };
  }
  const moved = segments.filter((s) => s.vaddr !== s.at || s.vaddr + s.size > FOUR_GIB);
  for (const s of moved) {
    if (isCanonical(s.vaddr, 48) && isCanonical(s.vaddr + s.size - 1n, 48)) continue;
    throw new InputError(`The ELF segment at ${hex(s.vaddr)} is not canonical`, {
      remedy: "link it below 0x800000000000 or above 0xffff800000000000",
    });
  }
  physicalEntry(file, segments);
  const extra = moved.map((s) => ({ vaddr: s.vaddr, paddr: s.at, size: s.size }));
  return { ...common, ...enterFlat("long", file.entry, writes, memory, extra) };
}
