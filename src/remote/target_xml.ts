/**
 * A stub's description of its registers (GDB manual, appendix G). What comes is somebody else's: every count
 * and length has a bound, and nothing but names and numbers is taken from it.
 */
import { InputError } from "../vm/errors.ts";

/** The most that one document may have, in characters. */
const DOCUMENT_LIMIT = 1 << 20;
/** Documents, by inclusion. */
const DOCUMENTS_LIMIT = 32;
const REGISTERS_LIMIT = 4096;
/** Bits of the widest register: eight times that of a ZMM. */
const BITS_LIMIT = 4096;

/** One register as the stub numbers it. */
export interface StubRegister {
  /** As the stub calls it. */
  readonly name: string;
  /** Its number in `p` and `P` packets. */
  readonly number: number;
  /** Bytes. */
  readonly size: number;
  /** Where it begins in the answer to `g`; bytes. */
  readonly offset: number;
}

/** What a stub says of its target. */
export interface TargetDescription {
  /** "i386:x86-64", "i386", ...; empty if it does not say. */
  readonly architecture: string;
  /** In the order of the numbers. */
  readonly registers: readonly StubRegister[];
}

/**
 * Reads target.xml and what it includes.
 *
 * @param fetch Gives a document by its name.
 * @throws {InputError} If it makes no sense, or goes beyond a bound.
 */
export function readTargetDescription(fetch: (name: string) => string): TargetDescription {
  const found: { name: string; number: number; size: number }[] = [];
  let architecture = "";
  let documents = 0;
  let next = 0;
  const numbers = new Set<number>();
  const names = new Set<string>();
  const read = (document: string): void => {
    if (++documents > DOCUMENTS_LIMIT) throw wrong(`it includes more than ${DOCUMENTS_LIMIT} documents`);
    const text = fetch(document);
    if (text.length > DOCUMENT_LIMIT) throw wrong(`${document} has more than ${DOCUMENT_LIMIT} characters`);
    for (const [tag, attributes, content] of elements(text)) {
      if (tag === "architecture") architecture ||= content.trim().slice(0, 64);
      else if (tag === "xi:include" || tag === "include") read(named(attributes.get("href"), "an include"));
      else if (tag === "reg") {
        const name = named(attributes.get("name"), "a register");
        const bits = whole(attributes.get("bitsize"), name, 1, BITS_LIMIT);
        const given = attributes.get("regnum");
        const number = given === undefined ? next : whole(given, name, 0, 0xffff);
        if (found.length === REGISTERS_LIMIT) throw wrong(`it has more than ${REGISTERS_LIMIT} registers`);
        if (bits % 8 !== 0) throw wrong(`${name} has ${bits} bits, which are no whole bytes`);
        if (numbers.has(number)) throw wrong(`two registers have the number ${number}`);
        if (names.has(name)) throw wrong(`two registers are called ${name}`);
        numbers.add(number);
        names.add(name);
        next = number + 1;
        found.push({ name, number, size: bits / 8 });
      }
    }
  };
  read("target.xml");
  if (found.length === 0) throw wrong("it names no registers");
  let offset = 0;
  const registers = found.sort((a, b) => a.number - b.number).map((register) => {
    const placed = { ...register, offset };
    offset += register.size;
    return placed;
  });
  return { architecture, registers };
}

/** The elements of a document that have a start tag, in order, each with its attributes and the text behind. */
function* elements(text: string): Generator<[string, ReadonlyMap<string, string>, string]> {
  for (let at = 0; at < text.length;) {
    const open = text.indexOf("<", at);
    if (open < 0) return;
    if (text.startsWith("<!--", open)) {
      const end = text.indexOf("-->", open + 4);
      if (end < 0) throw wrong("a comment does not end");
      at = end + 3;
      continue;
    }
    const close = text.indexOf(">", open);
    if (close < 0) throw wrong("a tag does not end");
    at = close + 1;
    const body = text.slice(open + 1, close);
    const tag = /^[A-Za-z][\w:.-]*/.exec(body)?.[0];
    // End tags, declarations and processing instructions.
    if (tag === undefined) continue;
    const attributes = new Map<string, string>();
    for (const [, name, double, single] of body.matchAll(/([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)) {
      attributes.set(name, double ?? single);
    }
    const behind = text.indexOf("<", at);
    yield [tag, attributes, text.slice(at, behind < 0 ? undefined : behind)];
  }
}

function named(name: string | undefined, what: string): string {
  if (name === undefined || !/^[\w.+-]{1,64}$/.test(name)) throw wrong(`${what} has no usable name`);
  return name;
}

function whole(text: string | undefined, name: string, least: number, most: number): number {
  const value = text !== undefined && /^(0x[0-9a-fA-F]{1,8}|\d{1,9})$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) {
    throw wrong(`${name} has a number that is not from ${least} to ${most}`);
  }
  return value;
}

function wrong(why: string): InputError {
  return new InputError(`the stub's target.xml can't be used: ${why}`, {
    remedy: "check that the stub is one for x86-64",
  });
}
