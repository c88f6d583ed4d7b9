/**
 * ACPI machine language, as much of it as describing a machine takes: objects, packages, resources (ACPI 6.4,
 * section 20.2 for the code, 6.4 for resource descriptors). Every function gives the bytes of one term.
 */
import { InputError } from "../../vm/errors.ts";

/** Bytes of a term. */
export type Aml = readonly number[];

/** Op codes (20.3). */
const OP = {
  Zero: 0x00,
  One: 0x01,
  Name: 0x08,
  Byte: 0x0a,
  Word: 0x0b,
  DWord: 0x0c,
  String: 0x0d,
  QWord: 0x0e,
  Scope: 0x10,
  Buffer: 0x11,
  Package: 0x12,
  MultiName: 0x2f,
  DualName: 0x2e,
  Root: 0x5c,
  Ext: 0x5b,
  ExtDevice: 0x82,
} as const;

const little = (value: bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number(value >> BigInt(8 * i) & 0xffn));

/** An integer constant, in the shortest form (20.2.3). */
export function integer(value: number | bigint): Aml {
  const n = BigInt(value);
  if (n === 0n) return [OP.Zero];
  if (n === 1n) return [OP.One];
  if (n < 1n << 8n) return [OP.Byte, ...little(n, 1)];
  if (n < 1n << 16n) return [OP.Word, ...little(n, 2)];
  if (n < 1n << 32n) return [OP.DWord, ...little(n, 4)];
  return [OP.QWord, ...little(n, 8)];
}

/** A string of ASCII. @throws {InputError} If a character is none, or NUL. */
export function string(text: string): Aml {
  // deno-lint-ignore no-control-regex
  if (!/^[\x01-\x7f]*$/.test(text)) throw new InputError(`"${text}" is not ASCII`);
  return [OP.String, ...new TextEncoder().encode(text), 0];
}

/** A compressed EISA identifier, such as "PNP0501" (19.3.4). @throws {InputError} */
export function eisaId(id: string): Aml {
  const parts = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id);
  if (parts === null) throw new InputError(`"${id}" is no EISA identifier: three letters, four hex digits`);
  const [a, b, c] = [...parts[1]].map((letter) => letter.charCodeAt(0) - 0x40);
  const product = Number.parseInt(parts[2], 16);
  // Big-endian by its nature, little-endian as a DWord.
  const high = a << 10 | b << 5 | c;
  return [OP.DWord, high >> 8, high & 0xff, product >> 8, product & 0xff];
}

/** A package of terms (20.2.5.4). */
export function packageOf(...elements: readonly Aml[]): Aml {
  return [OP.Package, ...sized([elements.length, ...elements.flat()])];
}

/** `Name (path, value)`. */
export function name(path: string, value: Aml): Aml {
  return [OP.Name, ...nameString(path), ...value];
}

/** `Scope (path) { ... }`. */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.Scope, ...sized([...nameString(path), ...terms.flat()])];
}

/** `Device (name) { ... }`. */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.Ext, OP.ExtDevice, ...sized([...nameString(path), ...terms.flat()])];
}

/** `ResourceTemplate () { ... }`: a buffer of descriptors with an end tag (6.4.2.9). */
export function resources(...descriptors: readonly Aml[]): Aml {
  // A checksum of zero is taken as right.
  const bytes = [...descriptors.flat(), 0x79, 0];
  return [OP.Buffer, ...sized([...integer(bytes.length), ...bytes])];
}

/** I/O ports, all 16 address bits decoded (6.4.2.5). */
export function io(start: number, length: number): Aml {
  return [0x47, 1, ...little(BigInt(start), 2), ...little(BigInt(start), 2), 1, length];
}

/** An ISA interrupt, edge-triggered and active high (6.4.2.1). */
export function irq(line: number): Aml {
  return [0x22, ...little(1n << BigInt(line), 2)];
}

/** A fixed range of memory below 4 GiB, writable (6.4.3.4). */
export function memory32(start: bigint, length: bigint): Aml {
  return [0x86, 9, 0, 1, ...little(start, 4), ...little(length, 4)];
}

/** An interrupt by its global number, level-triggered, active high, exclusive (6.4.3.6). */
export function interrupt(gsi: number): Aml {
  const CONSUMER = 1;
  return [0x89, 6, 0, CONSUMER, 1, ...little(BigInt(gsi), 4)];
}

/** A window of a bridge. */
export interface Window {
  /** What it is of. */
  readonly kind: "memory" | "io" | "bus";
  /** First address or bus. */
  readonly first: bigint;
  /** Last one. */
  readonly last: bigint;
}

/** An address space that a bridge hands down, fixed (6.4.3.5): 64-bit descriptors for memory, else 16-bit ones. */
export function window({ kind, first, last }: Window): Aml {
  const FIXED = 0x0c; // minimum and maximum
  const [type, flags] = kind === "memory" ? [0, 0x01] : kind === "io" ? [1, 0x03] : [2, 0];
  const bytes = kind === "memory" ? 8 : 2;
  const fields = [0n, first, last, 0n, last - first + 1n].flatMap((v) => little(v, bytes));
  return [
    kind === "memory" ? 0x8a : 0x88,
    ...little(BigInt(3 + fields.length), 2),
    type,
    FIXED,
    flags,
    ...fields,
  ];
}

/** A name string: root and segments of four characters, padded with underscores (20.2.2). @throws {InputError} */
export function nameString(path: string): Aml {
  const root = path.startsWith("\\");
  const segments = path.slice(root ? 1 : 0).split(".").filter((s) => s !== "");
  for (const segment of segments) {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw new InputError(`"${segment}" is no name in AML`);
  }
  const bytes = segments.flatMap((s) => [...s.padEnd(4, "_")].map((c) => c.charCodeAt(0)));
  const prefix = segments.length === 0
    ? [0]
    : segments.length === 1
    ? []
    : segments.length === 2
    ? [OP.DualName]
    : [OP.MultiName, segments.length];
  return [...(root ? [OP.Root] : []), ...prefix, ...bytes];
}

/** The package length, which counts itself, in front of `body` (20.2.4). @throws {InputError} */
function sized(body: readonly number[]): Aml {
  if (body.length + 1 < 0x40) return [body.length + 1, ...body];
  for (const more of [1, 2, 3]) {
    const length = body.length + 1 + more;
    if (length < 1 << (4 + 8 * more)) {
      return [more << 6 | length & 0xf, ...little(BigInt(length >> 4), more), ...body];
    }
  }
  throw new InputError("a term of AML is too long");
}
