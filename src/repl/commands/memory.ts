/** find, fill, dump and load. */
import { hostReason } from "../../dsl/host_reason.ts";
import { gpa, gva, InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { quoteWord, words as lexWords } from "../lexer.ts";
import { count, hex, size } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest, littleEndian, readPlace, symbolAt, vcpuOf, writePlace } from "./selected.ts";
import { evaluate, evaluateAddress, evaluateCount, type Place, splitExpressions } from "./values.ts";

const BYTES: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
/** The first number that is no address. */
const SPACE = 1n << 64n;
/** Bytes moved at a time. */
const CHUNK = 1 << 20;
const DUMP_EXAMPLE = "dump low.bin 0, 640K";
const LOAD_EXAMPLE = "load code.bin 0x7c00";
/** Places that `find` lists unless it is told a number. */
const MOST_FOUND = 1024;

/**
 * `find [/SIZE MAX] START, +LENGTH, VALUE...`, `find START, END, VALUE...` as gdb; `find VALUE...` looks through
 * all of guest-physical memory. A value is a number (of SIZE, else as few bytes as hold it) or "text".
 */
export async function find(session: Session, { rest, format }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [, most, unit] = /^(\d*)([bhwg]?)$/.exec(format.replace(/^([bhwg])(\d*)$/, "$2$1")) ?? [];
  if (unit === undefined) {
    throw new InputError(`/${format} is not understood`, { remedy: "find/2w: at most 2, values of 4 bytes" });
  }
  const items = splitExpressions(rest);
  if (items.length === 0) {
    throw new InputError("find needs a value", {
      remedy: 'find "text", find 0x55 0xaa, find START, +LENGTH, VALUE',
    });
  }
  const ranged = /^[^"']*,/.test(rest) && items.length >= 3;
  const limit = most === "" ? MOST_FOUND : Number(most);
  const pattern = await bytesOf(session, ranged ? items.slice(2) : items, unit);
  if (pattern.length === 0) throw new InputError("find needs at least one byte to look for");
  let found: bigint[];
  let physical = true;
  if (ranged) {
    const { place, length } = await range(session, items[0], items[1]);
    physical = place.space === "gpa";
    const end = place.at + length;
    if (end > SPACE) {
      throw new InputError(`${size(length)} at ${hex(place.at)} go past the end of the address space`, {
        remedy: "look through fewer bytes",
      });
    }
    // Up to the very end is without an end: 2^64 is no address.
    found = physical
      ? await vm.memory.search(pattern, { limit, from: gpa(place.at), ...(end < SPACE && { to: gpa(end) }) })
      : await vcpuOf(session).memory.search(pattern, {
        limit,
        from: gva(place.at),
        ...(end < SPACE && { to: gva(end) }),
      });
  } else {
    found = await vm.memory.search(pattern, { limit });
  }
  const lines = found.map((at) => {
    const symbol = physical ? undefined : symbolAt(vm, at);
    return `${physical && !ranged ? "phys " : ""}${session.style.address(hex(at))}${
      symbol === undefined ? "" : ` <${symbol}>`
    }\n`;
  });
  const end = found.length === 0 ? "Pattern not found.\n" : `${count(found.length, "pattern")} found.\n`;
  return { text: lines.join("") + end, data: { space: physical ? "gpa" : "gva", found } };
}

async function range(
  session: Session,
  start: string,
  end: string,
): Promise<{ place: Place; length: bigint }> {
  const place = await evaluateAddress(session, start);
  if (end.startsWith("+")) {
    const { value } = await evaluate(session, end.slice(1));
    if (value < 1n) throw new InputError("Empty search range.");
    return { place, length: value };
  }
  const last = await evaluateAddress(session, end);
  // gdb's END is the last byte looked at.
  if (last.at < place.at) throw new InputError("Invalid search space, end precedes start.");
  return { place, length: last.at - place.at + 1n };
}

async function bytesOf(session: Session, items: readonly string[], unit: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const item of items) {
    if (/^["']/.test(item)) {
      parts.push(new TextEncoder().encode(lexWords(item)[0] ?? ""));
      continue;
    }
    const { value } = await evaluate(session, item);
    const bytes = unit === ""
      ? [1, 2, 4].find((n) => BigInt.asUintN(8 * n, value) === value) ?? 8
      : BYTES[unit];
    parts.push(littleEndian(value, bytes));
  }
  const whole = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** `fill START, LENGTH, VALUE...`: the values' bytes again and again. */
export async function fill(session: Session, { rest, format }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [start, length, ...values] = splitExpressions(rest);
  if (values.length === 0) {
    throw new InputError("fill takes a start, a length and a value", { remedy: "fill 0x1000, 256, 0x90" });
  }
  const place = await evaluateAddress(session, start);
  const bytes = await evaluateCount(session, length.replace(/^\+/, ""), "The length");
  const pattern = await bytesOf(session, values, format);
  if (place.space === "gpa") await vm.memory.fill(gpa(place.at), bytes, pattern);
  else await vcpuOf(session).memory.fill(gva(place.at), bytes, pattern);
  return { text: `${size(bytes)} at ${hex(place.at)} filled.\n`, data: { address: place.at, length: bytes } };
}

/** `dump FILE START LENGTH`, gdb's `dump [binary] memory FILE START END`, or `dump --elf FILE`. */
export async function dump(session: Session, { rest }: Invocation): Promise<Answer> {
  const core = /^--elf\s*/.exec(rest);
  if (core !== null) return await dumpElf(session, rest.slice(core[0].length));
  const gdb = /^(?:binary\s+)?memory\s+/.exec(rest);
  const { file, after } = fileName(gdb === null ? rest : rest.slice(gdb[0].length), DUMP_EXAMPLE);
  const [start, second] = splitExpressions(after);
  if (second === undefined) {
    throw new InputError("dump takes a file, a start and a length", { remedy: DUMP_EXAMPLE });
  }
  const place = await evaluateAddress(session, start);
  const length = gdb === null
    ? await evaluateCount(session, second.replace(/^\+/, ""), "The length", 1n << 40n)
    : Number((await evaluateAddress(session, second)).at - place.at);
  if (length < 0) throw new InputError("The end lies before the start");
  // The first piece is read before the file is made: a wrong address leaves no empty file.
  let piece = await readPlace(session, place, Math.min(CHUNK, length));
  using out = await openFile(file, { write: true, create: true, truncate: true });
  for (let done = 0; done < length;) {
    await writeAll(out, piece, file, done);
    done += piece.length;
    const at = { space: place.space, at: place.at + BigInt(done) };
    if (done < length) piece = await readPlace(session, at, Math.min(CHUNK, length - done));
  }
  return {
    text: `${size(length)} from ${hex(place.at)} saved in ${file}.\n`,
    data: { file, address: place.at, length },
  };
}

/** `memsave ADDRESS SIZE FILE`, `pmemsave ...` of QEMU's monitor. */
export async function memsave(session: Session, { name, rest }: Invocation): Promise<Answer> {
  const [address, length, ...more] = splitMemsave(rest);
  if (length === undefined || more.length !== 1) {
    throw new InputError(`${name} takes an address, a size and a file`, {
      remedy: `${name} 0x7c00 512 boot.bin`,
    });
  }
  const at = name === "pmemsave" ? `phys(${address})` : address;
  const line = `${quoteWord(more[0])} ${at}, ${length}`;
  return await dump(session, { name, format: "", rest: line, words: lexWords(line) });
}

/** Two expressions, then a file's name, which may be in quotes. */
function splitMemsave(rest: string): string[] {
  const [, first, file] = /^([^]*?)\s+("(?:[^"\\]|\\.)*"|'[^']*'|\S+)$/.exec(rest.trim()) ?? [];
  return first === undefined ? [] : [...splitExpressions(first), lexWords(file)[0] ?? ""];
}

/** What pwndbg's types are in `find`. */
const SEARCH_TYPES: Readonly<Record<string, "b" | "h" | "w" | "g" | "text">> = {
  byte: "b",
  short: "h",
  word: "h",
  int: "w",
  dword: "w",
  long: "g",
  qword: "g",
  pointer: "g",
  string: "text",
  bytes: "text",
};

/** `search TEXT`, `search -t TYPE VALUE`, `search -x HEX`: pwndbg's words for `find`. */
export async function search(session: Session, { words }: Invocation): Promise<Answer> {
  const left = [...words];
  let type = "bytes";
  let hexadecimal = false;
  for (; left[0]?.startsWith("-") && left.length > 1; left.shift()) {
    const option = left[0].replace(/^--?/, "");
    if (option === "x" || option === "hex") hexadecimal = true;
    else if (option === "t" || option === "type") {
      type = left[1];
      left.shift();
    } else if (Object.hasOwn(SEARCH_TYPES, option)) type = option;
    else throw new InputError(`search does not know ${left[0]}`, { remedy: "search -t dword 0x1234, find" });
  }
  const value = left.join(" ");
  const unit = Object.hasOwn(SEARCH_TYPES, type) ? SEARCH_TYPES[type] : undefined;
  if (value === "" || unit === undefined) {
    throw new InputError(
      value === "" ? "search needs something to look for" : `There is no type "${type}"`,
      { remedy: `search TEXT; search -t TYPE VALUE with one of ${Object.keys(SEARCH_TYPES).join(", ")}` },
    );
  }
  if (hexadecimal) {
    const digits = value.replace(/\s|0x/g, "");
    if (!/^(?:[0-9a-f]{2})+$/i.test(digits)) {
      throw new InputError(`${value} is no hexadecimal text`, { remedy: "search -x 7f454c46" });
    }
    return await find(session, invocationOf("b", (digits.match(/../g) ?? []).map((d) => `0x${d}`).join(" ")));
  }
  // Not quoteWord: that leaves simple words alone, and a bare word is a symbol to find.
  const text = `"${value.replace(/["\\]/g, "\\$&")}"`;
  return await find(session, unit === "text" ? invocationOf("", text) : invocationOf(unit, value));
}

function invocationOf(format: string, rest: string): Invocation {
  return { name: "find", format, rest, words: lexWords(rest) };
}

async function dumpElf(session: Session, rest: string): Promise<Answer> {
  const { file } = fileName(rest, "dump --elf core");
  const done = await guest(session).dumpCore(file);
  const info = done.vmcoreinfo ? ", with VMCOREINFO" : "";
  return {
    text: `${size(done.bytes)} saved in ${file}: an ELF core of ${count(done.segments, "region")}${info}.\n`,
    data: done,
  };
}

/** `load FILE ADDRESS`, or gdb's `restore FILE binary ADDRESS`. */
export async function load(session: Session, { rest }: Invocation): Promise<Answer> {
  const { file, after } = fileName(rest, LOAD_EXAMPLE);
  const address = after.replace(/^binary\s+/, "");
  if (address === "") {
    throw new InputError("load takes a file and an address", { remedy: LOAD_EXAMPLE });
  }
  const place = await evaluateAddress(session, address);
  using input = await openFile(file, { read: true });
  const { size: length } = await input.stat();
  // A file that goes on past the end of memory is refused before anything is written.
  if (length > CHUNK) await readPlace(session, { ...place, at: place.at + BigInt(length - 1) }, 1);
  let total = 0;
  const buffer = new Uint8Array(CHUNK);
  for (let n = await input.read(buffer); n !== null; n = await input.read(buffer)) {
    await writePlace(session, { space: place.space, at: place.at + BigInt(total) }, buffer.slice(0, n));
    total += n;
  }
  return {
    text: `${size(total)} of ${file} at ${hex(place.at)}.\n`,
    data: { file, address: place.at, length: total },
  };
}

/** The first word, which may be in quotes, and the rest. */
function fileName(rest: string, example: string): { file: string; after: string } {
  const [, word] = /^("(?:[^"\\]|\\.)*"|'[^']*'|\S+)/.exec(rest) ?? [];
  if (word === undefined) throw new InputError("A file name is missing", { remedy: example });
  const file = /^["']/.test(word) ? lexWords(word)[0] ?? "" : word;
  return { file, after: rest.slice(word.length).trim() };
}

async function openFile(path: string, options: Deno.OpenOptions): Promise<Deno.FsFile> {
  try {
    if (await isFolder(path)) throw new InputError(`${path} is a folder`, { remedy: "give a file" });
    return await Deno.open(path, options);
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    const why = cause instanceof Deno.errors.NotFound
      ? "there is no such file or folder"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new InputError(`${path} can't be opened: ${why}`, {
      cause,
      remedy: "check the path; it counts from the current folder",
    });
  }
}

/** Deno opens a folder for reading, and fails at the first read. */
async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then((found) => found.isDirectory, () => false);
}

/** @param done Bytes that are in the file already. @throws {InputError} If it takes no more. */
async function writeAll(file: Deno.FsFile, bytes: Uint8Array, path: string, done: number): Promise<void> {
  let at = 0;
  try {
    while (at < bytes.length) at += await file.write(bytes.subarray(at));
  } catch (cause) {
    throw new InputError(
      `${path} can't be written: ${hostReason(cause)}; ${size(done + at)} of it are there`,
      {
        cause,
        remedy: "make room, or choose another file",
      },
    );
  }
}
