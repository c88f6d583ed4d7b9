/** Names for addresses, from ELF symbol tables, System.map and what nm prints. */
import { InputError } from "../vm/errors.ts";
import { printableName } from "../vm/printable.ts";
import { type ElfFile, isElf, parseElf, sectionBytes, SHT_SYMTAB, stringAt } from "../x86/elf.ts";

/** What a symbol names: code, data, a place that nobody typed, a number. */
export type SymbolKind = "function" | "object" | "label" | "absolute";

/** A symbol, its address with the table's bias applied. */
export interface ProgramSymbol {
  /** What it is called. */
  readonly name: string;
  /** Linear address. */
  readonly address: bigint;
  /** Bytes; 0 where the table does not say. */
  readonly size: bigint;
  /** What it names. */
  readonly kind: SymbolKind;
}

/** Where an address lies. */
export interface NearestSymbol {
  /** What it is called. */
  readonly name: string;
  /** Bytes from the symbol's address. */
  readonly offset: bigint;
  /** The symbol itself. */
  readonly symbol: ProgramSymbol;
  /** The table it is from. */
  readonly table: string;
}

/** A table as it is listed. */
export interface SymbolTableInfo {
  /** What it is called. */
  readonly name: string;
  /** How many symbols it has. */
  readonly count: number;
  /** Added to every address. */
  readonly bias: bigint;
  /** Whether the file had more symbols than are kept. */
  readonly truncated: boolean;
}

/** The most symbols of a table, and characters of their names: a kernel with modules has 300,000. */
const MOST_SYMBOLS = 1_000_000;
const MOST_CHARACTERS = 64_000_000;
/** How far behind a symbol of unknown size an address may lie and still be named after it. */
const REACH = 0x10000n;
/** How many lower symbols are looked at for one whose size reaches an address. */
const LOOK_BACK = 16;

const SHT_DYNSYM = 11;
const SHN_ABS = 0xfff1;
const SHN_LORESERVE = 0xff00;
const ADDRESSES = 64;

interface Entry {
  readonly symbol: ProgramSymbol;
  /** First address that is no longer named after it. */
  readonly end: bigint;
  /** Which of several at one address is shown: functions before labels, global before local. */
  readonly rank: number;
}

/** One source's symbols. */
class Table {
  readonly name: string;
  readonly bias: bigint;
  readonly truncated: boolean;
  readonly count: number;
  /** By address; absolute ones left out. */
  readonly #sorted: Entry[];
  readonly #byName = new Map<string, ProgramSymbol>();
  #names: string[] | undefined;

  constructor(name: string, bias: bigint, entries: Entry[], truncated: boolean) {
    this.name = name;
    this.bias = bias;
    this.truncated = truncated;
    this.count = entries.length;
    const best = new Map<string, number>();
    for (const { symbol, rank } of entries) {
      if ((best.get(symbol.name) ?? -1) >= rank) continue;
      best.set(symbol.name, rank);
      this.#byName.set(symbol.name, symbol);
    }
    this.#sorted = entries.filter((e) => e.symbol.kind !== "absolute").sort((a, b) =>
      a.symbol.address < b.symbol.address ? -1 : a.symbol.address > b.symbol.address ? 1 : a.rank - b.rank
    );
  }

  lookup(name: string): ProgramSymbol | undefined {
    return this.#byName.get(name);
  }

  /** All names, sorted. */
  get names(): readonly string[] {
    return this.#names ??= [...this.#byName.keys()].sort();
  }

  nearest(address: bigint): Entry | undefined {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sorted[middle].symbol.address <= address) low = middle + 1;
      else high = middle;
    }
    for (let i = low - 1; i >= 0 && i >= low - LOOK_BACK; i--) {
      if (address < this.#sorted[i].end) return this.#sorted[i];
    }
    return undefined;
  }
}

/** The symbols a debugger knows: several tables, the newest first. */
export class Symbols {
  #tables: Table[] = [];

  /**
   * Adds the symbols of an ELF file, or of text as in System.map (`ADDRESS TYPE NAME`, from nm also with a size).
   * A table of the same name is replaced.
   *
   * @param name What the table is called in listings, such as the file's name.
   * @param options `bias` is added to each address modulo 2^64: where a relocated program really lies. `text` says
   * the same by the address at which its section .text lies.
   * @throws {InputError} If there are no symbols in it, or it is malformed.
   */
  add(
    name: string,
    source: Uint8Array | string,
    options: { readonly bias?: bigint; readonly text?: bigint } = {},
  ): SymbolTableInfo {
    return this.#put(this.#read(name, source, options));
  }

  /**
   * Looks into a file without adding it: the symbol it has for a name.
   *
   * @throws {InputError} As `add`.
   */
  read(name: string, source: Uint8Array | string): { lookup(name: string): ProgramSymbol | undefined } {
    return this.#read(name, source, {});
  }

  /** Adds symbols that are known already. A table of the same name is replaced. */
  addList(name: string, symbols: Iterable<ProgramSymbol>): SymbolTableInfo {
    const reader = new Reader(0n);
    for (const symbol of symbols) reader.add(symbol, undefined, rankOf(symbol.kind, false));
    return this.#put(new Table(name, 0n, reader.entries, reader.full));
  }

  #put(table: Table): SymbolTableInfo {
    this.#tables = [table, ...this.#tables.filter((t) => t.name !== table.name)];
    return infoOf(table);
  }

  #read(
    name: string,
    source: Uint8Array | string,
    options: { readonly bias?: bigint; readonly text?: bigint },
  ): Table {
    const binary = typeof source !== "string" && isElf(source);
    const file = binary ? parseElf(source) : undefined;
    const bias = options.text === undefined ? options.bias ?? 0n : biasOf(name, file, options.text);
    const reader = new Reader(bias);
    if (file !== undefined) readElf(file, reader);
    else readText(typeof source === "string" ? source : new TextDecoder("latin1").decode(source), reader);
    if (reader.entries.length === 0) {
      throw new InputError(`There are no symbols in ${name}`, {
        remedy: binary
          ? "give the file before it was stripped, or a System.map"
          : "give an ELF file, a System.map, or what nm prints",
      });
    }
    return new Table(name, bias, reader.entries, reader.full);
  }

  /** Forgets a table; tells whether there was one. */
  remove(name: string): boolean {
    const before = this.#tables.length;
    this.#tables = this.#tables.filter((t) => t.name !== name);
    return this.#tables.length !== before;
  }

  /** The tables, newest first. */
  list(): SymbolTableInfo[] {
    return this.#tables.map(infoOf);
  }

  /** The address of a name; of several with that name a function's, a global one's, the newest table's. */
  lookup(name: string): bigint | undefined {
    return this.symbol(name)?.address;
  }

  /** The symbol with a name. */
  symbol(name: string): ProgramSymbol | undefined {
    for (const table of this.#tables) {
      const symbol = table.lookup(name);
      if (symbol !== undefined) return symbol;
    }
    return undefined;
  }

  /** The symbol that an address belongs to: the nearest one below that reaches it. */
  nearest(address: bigint): NearestSymbol | undefined {
    let found: NearestSymbol | undefined;
    for (const table of this.#tables) {
      const symbol = table.nearest(address)?.symbol;
      if (symbol === undefined || found !== undefined && symbol.address <= found.symbol.address) continue;
      found = { name: symbol.name, offset: address - symbol.address, symbol, table: table.name };
    }
    return found;
  }

  /** `name`, `name+0x10`, or undefined where no symbol is near. */
  format(address: bigint): string | undefined {
    const near = this.nearest(address);
    if (near === undefined) return undefined;
    return near.offset === 0n ? near.name : `${near.name}+0x${near.offset.toString(16)}`;
  }

  /** Names that start with `prefix`, sorted, at most `limit`. */
  complete(prefix: string, limit = 100): string[] {
    const found = new Set<string>();
    for (const { names } of this.#tables) {
      let low = 0;
      let high = names.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (names[middle] < prefix) low = middle + 1;
        else high = middle;
      }
      for (let i = low; i < names.length && i < low + limit && names[i].startsWith(prefix); i++) {
        found.add(names[i]);
      }
    }
    return [...found].sort().slice(0, limit);
  }

  /** Symbols whose names contain `part`, by name, at most `limit`; all if it is empty. */
  search(part = "", limit = 1000, kinds?: readonly SymbolKind[]): ProgramSymbol[] {
    const found: ProgramSymbol[] = [];
    for (const table of this.#tables) {
      for (const name of table.names) {
        if (found.length >= limit) return found;
        const symbol = name.includes(part) ? table.lookup(name) : undefined;
        if (symbol !== undefined && (kinds?.includes(symbol.kind) ?? true)) found.push(symbol);
      }
    }
    return found;
  }
}

function infoOf({ name, count, bias, truncated }: Table): SymbolTableInfo {
  return { name, count, bias, truncated };
}

/** Collects symbols within the bounds. */
class Reader {
  readonly entries: Entry[] = [];
  readonly bias: bigint;
  full = false;
  #characters = 0;

  constructor(bias: bigint) {
    this.bias = bias;
  }

  /** @param end First address behind it, before the bias; undefined: unknown. */
  add(symbol: ProgramSymbol, end: bigint | undefined, rank: number): void {
    this.#characters += symbol.name.length;
    if (this.entries.length >= MOST_SYMBOLS || this.#characters > MOST_CHARACTERS) {
      this.full = true;
      return;
    }
    const address = BigInt.asUintN(ADDRESSES, symbol.address + this.bias);
    const reach = symbol.size > 0n
      ? symbol.size
      : end !== undefined && end > symbol.address
      ? end - symbol.address
      : REACH;
    // A file may name a symbol as it likes, and names are shown at every stop.
    const name = printableName(symbol.name);
    this.entries.push({ symbol: { ...symbol, name, address }, end: address + reach, rank });
  }
}

/** st_info's types that name something in memory (gABI, "Symbol Table"). */
const KINDS: Readonly<Record<number, ProgramSymbol["kind"]>> = {
  0: "label",
  1: "object",
  2: "function",
  10: "function",
};

function biasOf(name: string, file: ElfFile | undefined, text: bigint): bigint {
  const section = file?.sections.find((s) => s.name === ".text");
  if (section !== undefined) return text - section.addr;
  throw new InputError(`${name} has no section .text`, { remedy: "say by how much it is moved" });
}

function readElf(file: ElfFile, reader: Reader): void {
  if (file.type === 1) {
    throw new InputError("A relocatable ELF file's symbols have no addresses yet", {
      remedy: "give the linked file",
    });
  }
  const section = file.sections.find((s) => s.type === SHT_SYMTAB) ??
    file.sections.find((s) => s.type === SHT_DYNSYM);
  const bytes = section && sectionBytes(file, section);
  if (section === undefined || bytes === undefined) return;
  const strings = file.sections[section.link] && sectionBytes(file, file.sections[section.link]);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = file.bits === 64;
  const size = wide ? 24 : 16;
  for (let at = 0; at + size <= bytes.length && !reader.full; at += size) {
    const info = view.getUint8(at + (wide ? 4 : 12));
    const index = view.getUint16(at + (wide ? 6 : 14), true);
    const kind = index === SHN_ABS ? "absolute" : KINDS[info & 15];
    if (kind === undefined || index === 0 || index >= SHN_LORESERVE && index !== SHN_ABS) continue;
    const name = stringAt(strings, view.getUint32(at, true));
    if (name === "") continue;
    const address = wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true));
    const length = wide ? view.getBigUint64(at + 16, true) : BigInt(view.getUint32(at + 8, true));
    const home = file.sections[index];
    const global = info >> 4 !== 0;
    const rank = (kind === "label" ? 0 : kind === "absolute" ? 0 : 2) + (global ? 1 : 0);
    reader.add({ name, address, size: length, kind }, home && home.addr + home.size, rank);
  }
}

/** What a letter of nm(1) and /proc/kallsyms stands for. */
export function symbolKind(letter: string): SymbolKind {
  const type = letter.toLowerCase();
  if (type === "a") return "absolute";
  return /[twi]/.test(type) ? "function" : /[dbrgsvn]/.test(type) ? "object" : "label";
}

function rankOf(kind: SymbolKind, global: boolean): number {
  return (kind === "label" ? 0 : 2) + (global ? 1 : 0);
}

/** `ADDRESS [SIZE] [TYPE] NAME`, as in System.map, /proc/kallsyms and the output of nm, with or without -S. */
const LINE = /^(?:0x)?([0-9a-f]{1,16})(?:[ \t]+([0-9a-f]{8,16}))?(?:[ \t]+([A-Za-z?]))?[ \t]+([^\s]{1,256})/i;

function readText(text: string, reader: Reader): void {
  const lines: { symbol: ProgramSymbol; rank: number }[] = [];
  for (let at = 0; at < text.length && lines.length <= MOST_SYMBOLS;) {
    const next = text.indexOf("\n", at);
    const end = next < 0 ? text.length : next;
    const line = LINE.exec(text.slice(at, Math.min(end, at + 400)));
    at = end + 1;
    if (line === null) continue;
    const [, address, size, letter = "?", name] = line;
    const kind = symbolKind(letter);
    const symbol = { name, address: BigInt(`0x${address}`), size: BigInt(`0x${size ?? "0"}`), kind } as const;
    lines.push({ symbol, rank: rankOf(kind, letter === letter.toUpperCase()) });
  }
  // Without sizes a symbol ends where the next one starts, which the search for the nearest does by itself.
  for (const { symbol, rank } of lines) {
    if (reader.full) break;
    reader.add(symbol, undefined, rank);
  }
}
