/**
 * Memory layouts of C structures as data: an ordered record of fields gives size, alignment, offsets and the
 * reading and writing of values. The rules are those of the System V x86-64 ABI, section 3.1.2: every member is
 * aligned to its own alignment, and the whole to the largest among them. All values are little-endian.
 */

/** How one C type lies in memory. `R` is the JavaScript value that is read, `W` the one that is written. */
export interface Layout<R, W = R> {
  /** Size in bytes, as `sizeof` gives it. */
  readonly size: number;
  /** Alignment in bytes, as `_Alignof` gives it. */
  readonly align: number;
  /** Reads the value at byte offset `at` of `view` (0 when left out). */
  read(view: DataView, at?: number): R;
  /** Writes `value` at byte offset `at` of `view` (0 when left out). */
  write(view: DataView, value: W, at?: number): void;
}

/** The JavaScript value that a layout reads: of a struct, a record with every member. */
export type ValueOf<L extends Layout<unknown>> = ReturnType<L["read"]>;

/** The JavaScript value that a layout writes: of a struct, a record that may leave members out. */
export type WritableOf<L extends Layout<unknown>> = Parameters<L["write"]>[1];

/** Named members in the order in which C declares them. */
export type Fields = Readonly<Record<string, Layout<unknown>>>;

/** The record of values that a set of members stands for. Members left out of a write keep their bytes. */
export type Values<F extends Fields> = { [K in keyof F]?: WritableOf<F[K]> };

/** What `struct` and `union` add to a layout: where each member lies. */
export interface Members<F extends Fields> {
  /** The members' layouts, in order. */
  readonly fields: F;
  /** Byte offset of each member from the start. */
  readonly offsets: { readonly [K in keyof F]: number };
}

/** Layout of a C struct; every member is present in what `read` gives. */
export interface StructLayout<F extends Fields>
  extends Layout<{ [K in keyof F]: ValueOf<F[K]> }, Values<F>>, Members<F> {
  /** A new zeroed buffer of `size` bytes with `value` written into it. */
  encode(value: Values<F>): Uint8Array<ArrayBuffer>;
}

/** Layout of a C union: all members at offset 0. It has no value as a whole: read a member by its own layout. */
export interface UnionLayout<F extends Fields> extends Layout<Uint8Array>, Members<F> {
  /** True if C gives the union no name, so that its members are addressed as those of what holds it. */
  readonly anonymous: boolean;
}

/** Unsigned 8-bit integer (`__u8`). */
export const u8: Layout<number> = {
  size: 1,
  align: 1,
  read: (view, at = 0) => view.getUint8(at),
  write: (view, value, at = 0) => view.setUint8(at, value),
};

/** Unsigned 16-bit integer (`__u16`). */
export const u16: Layout<number> = {
  size: 2,
  align: 2,
  read: (view, at = 0) => view.getUint16(at, true),
  write: (view, value, at = 0) => view.setUint16(at, value, true),
};

/** Unsigned 32-bit integer (`__u32`). */
export const u32: Layout<number> = {
  size: 4,
  align: 4,
  read: (view, at = 0) => view.getUint32(at, true),
  write: (view, value, at = 0) => view.setUint32(at, value, true),
};

/** Signed 32-bit integer (`int`). */
export const s32: Layout<number> = {
  size: 4,
  align: 4,
  read: (view, at = 0) => view.getInt32(at, true),
  write: (view, value, at = 0) => view.setInt32(at, value, true),
};

/** Unsigned 64-bit integer (`__u64`, and every pointer). */
export const u64: Layout<bigint> = {
  size: 8,
  align: 8,
  read: (view, at = 0) => view.getBigUint64(at, true),
  write: (view, value, at = 0) => view.setBigUint64(at, value, true),
};

/** Signed 64-bit integer (`long`, `__s64`, `time_t`). */
export const s64: Layout<bigint> = {
  size: 8,
  align: 8,
  read: (view, at = 0) => view.getBigInt64(at, true),
  write: (view, value, at = 0) => view.setBigInt64(at, value, true),
};

/** `length` raw bytes (`__u8 name[length]`). Reading gives a copy; writing fewer bytes leaves the rest as it is. */
export function bytes(length: number): Layout<Uint8Array> {
  return {
    size: length,
    align: 1,
    read: (view, at = 0) => new Uint8Array(view.buffer, view.byteOffset + at, length).slice(),
    write(view, value, at = 0) {
      if (value.length > length) {
        throw new RangeError(`${value.length} bytes do not fit a field of ${length}.`);
      }
      new Uint8Array(view.buffer, view.byteOffset + at, length).set(value);
    },
  };
}

/** Layout of a C array. */
export interface ArrayLayout<L extends Layout<unknown>>
  extends Layout<ValueOf<L>[], readonly WritableOf<L>[]> {
  /** Layout of each element. */
  readonly element: L;
}

/** `length` elements of one type, one after the other (`T name[length]`). */
export function array<L extends Layout<unknown>>(element: L, length: number): ArrayLayout<L> {
  return {
    size: element.size * length,
    align: element.align,
    element,
    read: (view, at = 0) =>
      Array.from({ length }, (_, i) => element.read(view, at + i * element.size) as ValueOf<L>),
    write(view, value, at = 0) {
      if (value.length > length) {
        throw new RangeError(`${value.length} elements do not fit an array of ${length}.`);
      }
      value.forEach((each, i) => element.write(view, each, at + i * element.size));
    },
  };
}

/** Rounds `offset` up to a multiple of `align`. */
function alignUp(offset: number, align: number): number {
  return Math.ceil(offset / align) * align;
}

/** A C struct whose members are `fields`, in their order; `packed` leaves out all padding. */
export function struct<const F extends Fields>(fields: F, options?: { packed?: boolean }): StructLayout<F> {
  const packed = options?.packed ?? false;
  const offsets: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [name, field] of Object.entries(fields)) {
    const fieldAlign = packed ? 1 : field.align;
    end = alignUp(end, fieldAlign);
    offsets[name] = end;
    end += field.size;
    align = Math.max(align, fieldAlign);
  }
  const entries = Object.entries(fields) as [string, Layout<unknown>][];
  const size = alignUp(end, align);
  const write = (view: DataView, value: Values<F>, at = 0): void => {
    for (const [name, field] of entries) {
      const member = (value as Record<string, unknown>)[name];
      if (member !== undefined) field.write(view, member, at + offsets[name]);
    }
  };
  return {
    size,
    align,
    fields,
    offsets: offsets as { [K in keyof F]: number },
    read(view, at = 0) {
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) value[name] = field.read(view, at + offsets[name]);
      return value as { [K in keyof F]: ValueOf<F[K]> };
    },
    write,
    encode(value) {
      const into = new Uint8Array(size);
      write(new DataView(into.buffer), value);
      return into;
    },
  };
}

/** A C union: as large as its largest member, which all start at offset 0. */
export function union<const F extends Fields>(fields: F, options?: { anonymous?: boolean }): UnionLayout<F> {
  const members = Object.values(fields);
  const align = Math.max(1, ...members.map((member) => member.align));
  const size = alignUp(Math.max(0, ...members.map((member) => member.size)), align);
  const raw = bytes(size);
  return {
    size,
    align,
    fields,
    offsets: Object.fromEntries(Object.keys(fields).map((name) => [name, 0])) as { [K in keyof F]: number },
    anonymous: options?.anonymous ?? false,
    read: raw.read,
    write: raw.write,
  };
}

/** One member of a structure, found at any depth: the C spelling of the path to it, its offset and its size. */
export interface Member {
  /** Path as `offsetof` takes it, such as `io.port`. */
  readonly path: string;
  /** Byte offset from the start of the outermost structure. */
  readonly offset: number;
  /** Size in bytes. */
  readonly size: number;
}

/** True if a layout has members of its own. */
function hasMembers(layout: Layout<unknown>): layout is Layout<unknown> & Members<Fields> {
  return "offsets" in layout;
}

/** Lists every member at every depth, as a C compiler can be asked for them; anonymous unions add no name. */
export function members(layout: Members<Fields>, prefix = "", base = 0): Member[] {
  const found: Member[] = [];
  for (const [name, field] of Object.entries(layout.fields)) {
    const offset = base + layout.offsets[name];
    const anonymous = "anonymous" in field && field.anonymous === true;
    if (!anonymous) found.push({ path: prefix + name, offset, size: field.size });
    if (hasMembers(field)) found.push(...members(field, anonymous ? prefix : `${prefix}${name}.`, offset));
  }
  return found;
}
