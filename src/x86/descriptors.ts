/** Entries of the GDT, LDT and IDT, and segment registers made of them (SDM vol. 3A, 3.4.5, 3.5, 6.11, 8.2). */
import { InputError } from "../vm/errors.ts";
import { DESCRIPTOR_TYPES } from "./flag_tables.ts";

/** What every descriptor has. */
export interface DescriptorBase {
  /** Present bit. */
  readonly present: boolean;
  /** Privilege level, 0 to 3. */
  readonly dpl: number;
  /** Kind in words: "code RX A", "tss busy", "interrupt gate", ... */
  readonly type: string;
  /** Access rights in the layout of `Registers`' `_attributes`. */
  readonly attributes: bigint;
  /** Bytes it takes: 8, or 16 for system descriptors and gates in IA-32e mode. */
  readonly size: 8 | 16;
}

/** A code or data segment, a TSS or an LDT. */
export interface SegmentDescriptor extends DescriptorBase {
  /** What kind of thing it is. */
  readonly kind: "code" | "data" | "tss" | "ldt";
  /** Linear address. */
  readonly base: bigint;
  /** Offset of the last byte, scaled by G. */
  readonly limit: bigint;
}

/** A call, task, interrupt or trap gate. */
export interface GateDescriptor extends DescriptorBase {
  /** What kind of thing it is. */
  readonly kind: "call-gate" | "task-gate" | "interrupt-gate" | "trap-gate";
  /** Segment selector. */
  readonly selector: number;
  /** Offset in the code segment: 16, 32 or 64 bits; 0 for a task gate. */
  readonly offset: bigint;
  /** Interrupt stack table index, IA-32e mode only. */
  readonly ist: number;
  /** Parameters a call gate copies. */
  readonly parameters: number;
}

/** An entry that names nothing: all zero, or of a reserved type. */
export interface EmptyDescriptor extends DescriptorBase {
  /** What kind of thing it is. */
  readonly kind: "null" | "reserved";
}

/** One entry of a descriptor table. */
export type Descriptor = SegmentDescriptor | GateDescriptor | EmptyDescriptor;

/** Bits of the second doubleword that are attributes, once shifted right by 8: 23..20 and 15..8. */
const ATTRIBUTES = 0xf0ff;
const S_BIT = 0x10;
const CODE_BIT = 0x08;
const P_BIT = 0x80;
const G_BIT = 0x8000;

const GATES: Readonly<Record<number, GateDescriptor["kind"]>> = {
  4: "call-gate",
  5: "task-gate",
  6: "interrupt-gate",
  7: "trap-gate",
  12: "call-gate",
  14: "interrupt-gate",
  15: "trap-gate",
};

const SEGMENTS: Readonly<Record<number, "tss" | "ldt">> = {
  1: "tss",
  2: "ldt",
  3: "tss",
  9: "tss",
  11: "tss",
};

/**
 * Decodes the descriptor at `at` in `table`.
 *
 * @param long Whether IA-32e mode is active (EFER.LMA): system descriptors then have 16 bytes, and 16-bit ones
 * and task gates are reserved.
 * @throws {InputError} If the table ends within the descriptor.
 */
export function decodeDescriptor(table: Uint8Array, at: number, long: boolean): Descriptor {
  const view = slice(table, at, 8);
  const low = view.getUint32(0, true);
  const high = view.getUint32(4, true);
  const attributes = high >>> 8 & ATTRIBUTES;
  const type = attributes & 0x1f;
  const common = {
    present: (attributes & P_BIT) !== 0,
    dpl: attributes >> 5 & 3,
    type: DESCRIPTOR_TYPES[type],
    attributes: BigInt(attributes),
  };
  if (type & S_BIT) {
    const kind = type & CODE_BIT ? "code" : "data";
    return { ...common, kind, size: 8, base: base32(low, high), limit: limitOf(low, high) };
  }
  if (low === 0 && high === 0) return { ...common, kind: "null", size: 8, type: "null" };
  const narrow = type < 8 && type !== 2;
  if (long && narrow) return { ...common, kind: "reserved", size: 8 };
  const size = long ? 16 : 8;
  if (type in SEGMENTS) {
    const upper = long ? BigInt(slice(table, at, 16).getUint32(8, true)) << 32n : 0n;
    return {
      ...common,
      kind: SEGMENTS[type],
      size,
      base: upper | base32(low, high),
      limit: limitOf(low, high),
    };
  }
  if (!(type in GATES)) return { ...common, kind: "reserved", size: 8 };
  return gate(slice(table, at, size), GATES[type], { ...common, size }, narrow);
}

function gate(
  view: DataView,
  kind: GateDescriptor["kind"],
  common: DescriptorBase,
  narrow: boolean,
): GateDescriptor {
  const low = view.getUint32(0, true);
  const high = view.getUint32(4, true);
  let offset = BigInt(low & 0xffff);
  if (!narrow) offset |= BigInt(high >>> 16) << 16n;
  if (common.size === 16) offset |= BigInt(view.getUint32(8, true)) << 32n;
  return {
    ...common,
    kind,
    selector: low >>> 16,
    offset: kind === "task-gate" ? 0n : offset,
    ist: common.size === 16 && kind !== "call-gate" ? high & 7 : 0,
    parameters: kind === "call-gate" && common.size === 8 ? high & 0x1f : 0,
    // A gate's upper bits are offset, not attributes.
    attributes: common.attributes & 0xffn,
  };
}

/** A descriptor and its place in the table. */
export interface TableEntry {
  /** Selector with TI and RPL 0 for the GDT; the vector for an IDT. */
  readonly index: number;
  /** The decoded entry. */
  readonly descriptor: Descriptor;
}

/** Every entry of a GDT or LDT, null ones included; a last entry that is cut off is left out. At most 8192. */
export function* descriptorTable(table: Uint8Array, long: boolean): Generator<TableEntry, void, void> {
  const end = Math.min(table.length, 0x10000);
  for (let at = 0; at + 8 <= end;) {
    const cut = at + 16 > end;
    const entry = cut ? new Uint8Array(16) : table.subarray(at, at + 16);
    if (cut) entry.set(table.subarray(at, at + 8));
    const descriptor = decodeDescriptor(entry, 0, long);
    if (cut && descriptor.size === 16) return;
    yield { index: at, descriptor };
    at += descriptor.size;
  }
}

/** Every entry of an IDT: vectors 0 to at most 255. */
export function* interruptTable(table: Uint8Array, long: boolean): Generator<TableEntry, void, void> {
  const size = long ? 16 : 8;
  for (let vector = 0; vector < 256 && (vector + 1) * size <= table.length; vector++) {
    const entry = table.subarray(vector * size, (vector + 1) * size);
    yield { index: vector, descriptor: decodeDescriptor(entry, 0, long) };
  }
}

/** What a segment register's hidden part holds. */
export interface SegmentState {
  /** Linear address of its first byte. */
  readonly base: bigint;
  /** Offset of the last byte. */
  readonly limit: bigint;
  /** In the layout of `Registers`' `_attributes`. */
  readonly attributes: bigint;
}

/**
 * Encodes a code, data, TSS or LDT descriptor. In IA-32e mode, 16 bytes for the last two.
 *
 * @throws {RangeError} If the base or limit can't be expressed: a limit above 1 MiB needs G (bit 15), and then
 * ends in 0xfff.
 */
export function encodeDescriptor(segment: SegmentState, long = false): Uint8Array {
  const attributes = Number(segment.attributes) & ATTRIBUTES;
  const wide = long && (attributes & S_BIT) === 0;
  const { base } = segment;
  if (base < 0n || base >> (wide ? 64n : 32n) !== 0n) {
    throw new RangeError(`A segment's base has ${wide ? 64 : 32} bits; got 0x${base.toString(16)}`);
  }
  let limit = segment.limit;
  if (attributes & G_BIT) {
    if ((limit & 0xfffn) !== 0xfffn) {
      throw new RangeError(`A limit in pages ends in 0xfff; got 0x${limit.toString(16)}`);
    }
    limit >>= 12n;
  }
  if (limit < 0n || limit > 0xfffffn) {
    throw new RangeError(
      `A segment's limit has 20 bits; 0x${segment.limit.toString(16)} needs G or is too large`,
    );
  }
  const bytes = new Uint8Array(wide ? 16 : 8);
  const view = new DataView(bytes.buffer);
  const low = Number(base & 0xffff_ffffn);
  view.setUint16(0, Number(limit & 0xffffn), true);
  view.setUint16(2, low & 0xffff, true);
  view.setUint32(
    4,
    (low >>> 16 & 0xff) | attributes << 8 | Number(limit & 0xf0000n) | (low & 0xff000000),
    true,
  );
  if (wide) view.setUint32(8, Number(base >> 32n), true);
  return bytes;
}

/** An interrupt, trap, call or task gate to be encoded. */
export interface GateSpec {
  /** What kind of thing it is. */
  readonly kind: GateDescriptor["kind"];
  /** Segment selector. */
  readonly selector: number;
  /** Bytes from the start, or offset in the segment. */
  readonly offset: bigint;
  /** 0 if left out. */
  readonly dpl?: number;
  /** 0 (none) if left out; IA-32e mode only. */
  readonly ist?: number;
}

/**
 * Encodes a present 32-bit gate (8 bytes), or a 64-bit one (16 bytes) for IA-32e mode.
 *
 * @throws {RangeError} If the offset does not fit, or a task gate is asked for in IA-32e mode.
 */
export function encodeGate(spec: GateSpec, long = false): Uint8Array {
  const type = { "call-gate": 12, "task-gate": 5, "interrupt-gate": 14, "trap-gate": 15 }[spec.kind];
  if (long && spec.kind === "task-gate") throw new RangeError("There are no task gates in IA-32e mode");
  if (spec.offset < 0n || spec.offset >> (long ? 64n : 32n) !== 0n) {
    throw new RangeError(`A gate's offset has ${long ? 64 : 32} bits; got 0x${spec.offset.toString(16)}`);
  }
  const bytes = new Uint8Array(long ? 16 : 8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Number(spec.offset & 0xffffn), true);
  view.setUint16(2, spec.selector, true);
  view.setUint8(4, long ? (spec.ist ?? 0) & 7 : 0);
  view.setUint8(5, P_BIT | ((spec.dpl ?? 0) & 3) << 5 | type);
  view.setUint16(6, Number(spec.offset >> 16n & 0xffffn), true);
  if (long) view.setUint32(8, Number(spec.offset >> 32n), true);
  return bytes;
}

function base32(low: number, high: number): bigint {
  return BigInt(low >>> 16) | BigInt(high & 0xff) << 16n | BigInt(high >>> 24) << 24n;
}

function limitOf(low: number, high: number): bigint {
  const limit = BigInt(low & 0xffff) | BigInt(high & 0xf0000);
  return high >>> 8 & G_BIT ? limit << 12n | 0xfffn : limit;
}

function slice(table: Uint8Array, at: number, size: number): DataView {
  if (at < 0 || at + size > table.length) {
    throw new InputError(
      `A descriptor at offset ${at} would need ${size} bytes; the table has ${table.length}`,
      {
        remedy: "check the selector against the table's limit",
      },
    );
  }
  return new DataView(table.buffer, table.byteOffset + at, size);
}
