/** The kernel's modules (struct module, include/linux/module.h), and their symbols. */
import { FaultError } from "../vm/errors.ts";
import { printableName } from "../vm/printable.ts";
import type { KernelSymbol } from "./kallsyms.ts";
import type { Kernel } from "./kernel.ts";
import { type ListEnd, walkList } from "./list.ts";
import type { PagedReader } from "./paged_reader.ts";
import type { KernelTypes } from "./types.ts";

/** A stretch of a module's memory. */
export interface ModuleRange {
  /** Linear address. */
  readonly start: bigint;
  /** Bytes. */
  readonly size: number;
}

/** A loaded module. */
export interface KernelModule {
  /** Linear address of its struct module. */
  readonly address: bigint;
  /** What it is called; printable. */
  readonly name: string;
  /** "live", "coming" (its init function runs), "going" or "unformed". */
  readonly state: "live" | "coming" | "going" | "unformed";
  /** Where its text starts. */
  readonly base: bigint;
  /** Bytes in all. */
  readonly size: number;
  /** How many use it. */
  readonly references: number;
  /** Modules that need it. */
  readonly usedBy: readonly string[];
  /** Where it lies, text first. */
  readonly ranges: readonly ModuleRange[];
}

/** The modules of a kernel. */
export interface ModuleList {
  /** Newest first, as /proc/modules has them. */
  readonly modules: readonly KernelModule[];
  /** Why the list ended early, if it did: it is damaged. */
  readonly damage?: string;
}

const MOST_MODULES = 4096;
const MOST_USERS = 1024;
const MOST_NAME = 56;
/** enum mod_mem_type has seven; a few more may come. */
const MOST_RANGES = 16;
const MOST_SYMBOLS = 200_000;
const MOST_STRINGS = 16 << 20;
const MOST_SYMBOL_NAME = 511;
/** struct elf64_sym: st_name @0, st_info @4, st_shndx @6, st_value @8, st_size @16. */
const SYMBOL_BYTES = 24;
const STATES = ["live", "coming", "going", "unformed"] as const;
/** MODULE_REF_BASE: the count of a module that nobody uses. */
const REFERENCE_BASE = 1;

/**
 * Lists the modules. A damaged entry ends the list.
 *
 * @throws {UnsupportedError} If nobody tells where the fields lie.
 */
export async function readModules(
  kernel: Kernel,
  memory: PagedReader,
  types: KernelTypes,
): Promise<ModuleList> {
  const head = kernel.lookup("modules");
  if (head === undefined) return { modules: [] };
  const end: ListEnd = {};
  const modules: KernelModule[] = [];
  try {
    for await (const at of walkList(memory, head, types.offset("module", "list"), MOST_MODULES, end)) {
      modules.push(await readModule(at, memory, types));
    }
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    end.damage = error.message;
  }
  return { modules, ...(end.damage !== undefined && { damage: end.damage }) };
}

async function readModule(at: bigint, memory: PagedReader, types: KernelTypes): Promise<KernelModule> {
  const place = (path: string) => at + BigInt(types.offset("module", path));
  const ranges = await readRanges(at, memory, types);
  const users: string[] = [];
  const list = types.find("module", "source_list");
  const link = types.find("module_use", "source_list");
  const source = types.find("module_use", "source");
  if (list !== undefined && link !== undefined && source !== undefined) {
    for await (const use of walkList(memory, at + BigInt(list), link, MOST_USERS)) {
      const user = await memory.u64(use + BigInt(source));
      users.push(await nameOf(user, memory, types));
    }
  }
  const state = Number(await memory.uint(place("state"), 4));
  const references = types.find("module", "refcnt.counter");
  return {
    address: at,
    name: await nameOf(at, memory, types),
    state: STATES[state] ?? "unformed",
    base: ranges[0]?.start ?? 0n,
    size: ranges.reduce((sum, { size }) => sum + size, 0),
    references: references === undefined
      ? users.length
      : Math.max(0, Number(await memory.uint(at + BigInt(references), 4)) - REFERENCE_BASE),
    usedBy: users,
    ranges,
  };
}

async function nameOf(module: bigint, memory: PagedReader, types: KernelTypes): Promise<string> {
  return printableName(await memory.string(module + BigInt(types.offset("module", "name")), MOST_NAME));
}

/** Since 6.4 `mem` is an array by kind of memory; before there were core_layout and init_layout. */
async function readRanges(at: bigint, memory: PagedReader, types: KernelTypes): Promise<ModuleRange[]> {
  const range = async (struct: bigint, type: string): Promise<ModuleRange> => ({
    start: await memory.u64(struct + BigInt(types.offset(type, "base"))),
    size: Number(await memory.uint(struct + BigInt(types.offset(type, "size")), 4)),
  });
  const mem = types.field("module", "mem");
  const found: ModuleRange[] = [];
  if (mem !== undefined) {
    const size = types.size("module_memory");
    for (let i = 0; i < Math.min(MOST_RANGES, Math.floor(mem.size / Math.max(1, size))); i++) {
      found.push(await range(at + BigInt((mem.bitOffset >> 3) + i * size), "module_memory"));
    }
  } else {
    found.push(await range(at + BigInt(types.offset("module", "core_layout")), "module_layout"));
    found.push(await range(at + BigInt(types.offset("module", "init_layout")), "module_layout"));
  }
  return found.filter(({ size, start }) => size > 0 && start !== 0n);
}

/**
 * A module's symbols, as /proc/kallsyms has them.
 *
 * @throws {FaultError} If its tables lead nowhere.
 * @throws {UnsupportedError} If nobody tells where the fields lie.
 */
export async function readModuleSymbols(
  module: KernelModule,
  memory: PagedReader,
  types: KernelTypes,
): Promise<KernelSymbol[]> {
  const tables = await memory.u64(module.address + BigInt(types.offset("module", "kallsyms")));
  if (tables === 0n) return [];
  const field = (name: string) => tables + BigInt(types.offset("mod_kallsyms", name));
  const count = Math.min(MOST_SYMBOLS, Number(await memory.uint(field("num_symtab"), 4)));
  const symtab = await memory.u64(field("symtab"));
  const strtab = await memory.u64(field("strtab"));
  const letters = types.find("mod_kallsyms", "typetab") === undefined
    ? undefined
    : await memory.read(await memory.u64(field("typetab")), count);
  const table = await memory.read(symtab, count * SYMBOL_BYTES);
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const offsets = Array.from({ length: count }, (_, i) => view.getUint32(i * SYMBOL_BYTES, true));
  // Nothing says how long the strings are: their last one starts here.
  const last = offsets.reduce((a, b) => b > a && b < MOST_STRINGS ? b : a, 0);
  const strings = await memory.read(strtab, last);
  const symbols: KernelSymbol[] = [];
  for (let i = 0; i < count; i++) {
    const at = offsets[i];
    if (at > last) continue;
    const name = printableName(
      at === last ? await memory.string(strtab + BigInt(at), MOST_SYMBOL_NAME) : stringIn(strings, at),
    );
    if (name === "") continue;
    // Undefined ones (SHN_UNDEF) are of other modules.
    if (view.getUint16(i * SYMBOL_BYTES + 6, true) === 0) continue;
    const address = view.getBigUint64(i * SYMBOL_BYTES + 8, true);
    symbols.push({
      address,
      type: letters === undefined ? "?" : printableName(String.fromCharCode(letters[i])),
      name,
    });
  }
  return symbols;
}

function stringIn(strings: Uint8Array, at: number): string {
  const end = strings.indexOf(0, at);
  const stop = Math.min(end < 0 ? strings.length : end, at + MOST_SYMBOL_NAME);
  return new TextDecoder("latin1").decode(strings.subarray(at, stop));
}
