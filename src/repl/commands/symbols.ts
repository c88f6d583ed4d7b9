/** symbol-file, info symbol, info symbols, info address and info line. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { count, hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest, symbolAt } from "./selected.ts";
import { evaluate, evaluateAddress, splitExpression } from "./values.ts";

/** Larger than any symbol table anyone has. */
const FILE_LIMIT = 1 << 30;
/** Lines that `info symbols` shows. */
const SHOWN = 200;

/**
 * `symbol-file FILE [BIAS]`, `file FILE`: names from an ELF file or a System.map. `add-symbol-file FILE TEXT` takes the
 * address of .text as gdb does, and with -o how far it is moved.
 */
export async function symbolFile(session: Session, { words, name }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [path, ...rest] = words.filter((w) => w !== "-o");
  if (path === undefined) throw new InputError(`${name} needs a file`, { remedy: `${name} kernel.elf` });
  const given = rest.length === 0 ? 0n : (await evaluate(session, rest.join(" "))).value;
  const bytes = await readSymbolFile(path);
  const byText = name.startsWith("add") && rest.length > 0 && !words.includes("-o");
  const { count: added, bias } = vm.symbols.add(path, bytes, byText ? { text: given } : { bias: given });
  return {
    text: `${count(added, "symbol")} from ${path}${
      bias === 0n ? "" : `, moved by ${bias < 0n ? "-" : ""}${hex(bias < 0n ? -bias : bias)}`
    }.\n`,
    data: { file: path, symbols: added, bias },
  };
}

/** A file with symbols. @throws {InputError} If it can't be read. */
export async function readSymbolFile(path: string): Promise<Uint8Array> {
  try {
    const { size, isFile, isDirectory } = await Deno.stat(path);
    if (!isFile) {
      throw new InputError(`${path} is ${isDirectory ? "a folder" : "no regular file"}`, {
        remedy: "give an ELF file or a System.map",
      });
    }
    if (size > FILE_LIMIT) throw new InputError(`${path} has ${size} bytes: too many for symbols`);
    return await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${path} can't be read`, {
      cause,
      remedy: "check the path; it counts from the current folder",
    });
  }
}

/** `info symbol ADDRESS`. */
export async function infoSymbol(session: Session, rest: string): Promise<Answer> {
  if (rest === "") throw new InputError("Argument required (address).", { remedy: "info symbol $pc" });
  const { at } = await evaluateAddress(session, rest);
  const near = guest(session).symbols.nearest(at);
  if (near === undefined) return { text: `No symbol matches ${rest}.\n`, data: null };
  const name = near.offset === 0n ? near.name : `${near.name} + ${near.offset}`;
  return { text: `${name}\n`, data: { name: near.name, offset: near.offset } };
}

/**
 * `info symbols [PART]`: names that contain the part, by address. `info functions` and `info variables` leave out what
 * is known to be the other; of an assembler's label nobody knows.
 */
export function infoSymbols(session: Session, rest: string, kind?: "function" | "object"): Answer {
  const { symbols } = guest(session);
  const all = symbols.search(rest, SHOWN + 1, kind && [kind, "label"]);
  if (all.length === 0) {
    const text = rest === ""
      ? "No symbols. symbol-file FILE loads them.\n"
      : `No symbol contains "${rest}".\n`;
    return { text, data: [] };
  }
  const shown = all.slice(0, SHOWN).sort((a, b) => (a.address < b.address ? -1 : 1));
  const rows = shown.map((
    s,
  ) => [session.style.address(hex(s.address, 8)), session.style.symbol(s.name), s.kind]);
  return {
    text: table(rows, session.width) + (all.length > SHOWN ? "... and more: give a part of the name\n" : ""),
    data: shown.map((s) => ({ name: s.name, address: s.address, size: s.size, kind: s.kind })),
  };
}

/** `info address SYMBOL`. */
export function infoAddress(session: Session, name: string): Answer {
  const address = guest(session).symbols.lookup(name);
  if (address === undefined) throw new InputError(`No symbol "${name}" in current context.`);
  return { text: `Symbol "${name}" is at ${hex(address)}.\n`, data: { name, address } };
}

/** `info line ADDRESS`: without DWARF there are no lines, only symbols. */
export async function infoLine(session: Session, rest: string): Promise<Answer> {
  const { source } = splitExpression(rest.replace(/^\*/, "") || "$pc");
  const { at } = await evaluateAddress(session, source);
  const symbol = symbolAt(session.vm, at);
  const place = `${hex(at)}${symbol === undefined ? "" : ` <${symbol}>`}`;
  return {
    text: `No line number information available for address ${place}\n`,
    data: { address: at, symbol },
  };
}
