/**
 * BTF, the types that a kernel carries with it (Documentation/bpf/btf.rst): enough of it to find a field's place in
 * a structure. Everything in it is taken as hostile.
 */

/** Where a field lies. */
export interface Field {
  /** Bits from the start of the structure. */
  readonly bitOffset: number;
  /** Bits, for a bit field; else undefined. */
  readonly bits?: number;
  /** Bytes of its type; 0 where that is unknown. */
  readonly size: number;
}

const MAGIC = 0xeb9f;
const HEADER = 24;
const MOST_TYPES = 1 << 20;
const MOST_MEMBERS = 4096;
/** Structures in structures, and typedefs of typedefs. */
const MOST_DEPTH = 32;
/** Members looked at for one field, anonymous structures included. */
const MOST_STEPS = 1 << 16;

const INT = 1, PTR = 2, ARRAY = 3, STRUCT = 4, UNION = 5, ENUM = 6, TYPEDEF = 8, VOLATILE = 9, CONST = 10;
const RESTRICT = 11, FLOAT = 16, TYPE_TAG = 18, ENUM64 = 19;
/** Bytes behind a type's head of 12, by its kind: alone, and for each of `vlen`. */
const EXTRA: Readonly<Record<number, number>> = { 1: 4, 3: 12, 14: 4, 17: 4 };
const EACH: Readonly<Record<number, number>> = { 4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12 };
const LAST_KIND = 19;

/** The types of a kernel. */
export class Btf {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #strings: number;
  readonly #stringsEnd: number;
  /** Where each type starts; 0 is void. */
  readonly #types: number[] = [0];
  readonly #named = new Map<string, number>();
  readonly #fields = new Map<string, Field | undefined>();

  private constructor(bytes: Uint8Array, strings: number, stringsEnd: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#strings = strings;
    this.#stringsEnd = stringsEnd;
  }

  /** Reads the section .BTF; undefined if that is not what it is. */
  static parse(bytes: Uint8Array): Btf | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER || view.getUint16(0, true) !== MAGIC || bytes[2] !== 1) return undefined;
    const header = view.getUint32(4, true);
    const types = header + view.getUint32(8, true);
    const typesEnd = types + view.getUint32(12, true);
    const strings = header + view.getUint32(16, true);
    const stringsEnd = strings + view.getUint32(20, true);
    if (typesEnd > bytes.length || stringsEnd > bytes.length) return undefined;
    const btf = new Btf(bytes, strings, stringsEnd);
    return btf.#index(types, typesEnd) ? btf : undefined;
  }

  /** How many types there are. */
  get count(): number {
    return this.#types.length - 1;
  }

  /** Bytes of a structure. */
  structSize(name: string): number | undefined {
    const at = this.#named.get(name);
    return at === undefined ? undefined : this.#view.getUint32(at + 8, true);
  }

  /**
   * A field of a structure, through structures in it: `field("task_struct", "thread.sp")`. Fields of anonymous
   * structures and unions count as the outer one's, as in C.
   */
  field(struct: string, path: string): Field | undefined {
    const key = `${struct}.${path}`;
    if (this.#fields.has(key)) return this.#fields.get(key);
    const found = this.#find(struct, path);
    this.#fields.set(key, found);
    return found;
  }

  #find(struct: string, path: string): Field | undefined {
    let at = this.#named.get(struct);
    let bitOffset = 0;
    let bits: number | undefined;
    let size = 0;
    for (const name of path.split(".")) {
      if (at === undefined) return undefined;
      const member = this.#member(at, name, MOST_DEPTH, { steps: 0 });
      if (member === undefined) return undefined;
      bitOffset += member.bitOffset;
      bits = member.bits;
      size = this.#size(member.type, MOST_DEPTH);
      at = this.#resolve(member.type);
    }
    return { bitOffset, ...(bits !== undefined && bits !== 0 && { bits }), size };
  }

  #index(from: number, end: number): boolean {
    for (let at = from; at + 12 <= end;) {
      const kind = this.#kind(at);
      if (kind === 0 || kind > LAST_KIND || this.#types.length > MOST_TYPES) return false;
      this.#types.push(at);
      if (kind === STRUCT || kind === UNION) {
        const name = this.#string(this.#view.getUint32(at, true));
        // Of several with one name the first counts, as with the kernel's own btf_find_by_name_kind.
        if (name !== "" && !this.#named.has(name)) this.#named.set(name, at);
      }
      at += 12 + (EXTRA[kind] ?? 0) + (EACH[kind] ?? 0) * this.#vlen(at);
    }
    return true;
  }

  #member(
    at: number,
    name: string,
    depth: number,
    budget: { steps: number },
  ): { bitOffset: number; bits?: number; type: number } | undefined {
    const kind = this.#kind(at);
    if (kind !== STRUCT && kind !== UNION || depth === 0) return undefined;
    const flagged = this.#view.getUint32(at + 4, true) >>> 31 === 1;
    const count = Math.min(this.#vlen(at), MOST_MEMBERS);
    for (let i = 0; i < count; i++) {
      if (++budget.steps > MOST_STEPS) return undefined;
      const here = at + 12 + 12 * i;
      if (here + 12 > this.#bytes.length) return undefined;
      const said = this.#string(this.#view.getUint32(here, true));
      const type = this.#view.getUint32(here + 4, true);
      const place = this.#view.getUint32(here + 8, true);
      const bitOffset = flagged ? place & 0xff_ffff : place;
      if (said === name) return { bitOffset, ...(flagged && { bits: place >>> 24 }), type };
      if (said !== "") continue;
      const inner = this.#resolve(type);
      const found = inner === undefined ? undefined : this.#member(inner, name, depth - 1, budget);
      if (found !== undefined) return { ...found, bitOffset: bitOffset + found.bitOffset };
    }
    return undefined;
  }

  /** The type behind typedefs and qualifiers. */
  #resolve(id: number): number | undefined {
    for (let depth = 0; depth < MOST_DEPTH; depth++) {
      const at = this.#types[id];
      if (at === undefined || at === 0) return undefined;
      if (![TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG].includes(this.#kind(at))) return at;
      id = this.#view.getUint32(at + 8, true);
    }
    return undefined;
  }

  /** Bytes of a type; 0 where that is not known. */
  #size(id: number, depth: number): number {
    const at = this.#resolve(id);
    if (at === undefined || depth === 0) return 0;
    const kind = this.#kind(at);
    if (kind === PTR) return 8;
    if ([INT, STRUCT, UNION, ENUM, FLOAT, ENUM64].includes(kind)) return this.#view.getUint32(at + 8, true);
    if (kind !== ARRAY || at + 24 > this.#bytes.length) return 0;
    const size = this.#size(this.#view.getUint32(at + 12, true), depth - 1);
    return Math.min(size * this.#view.getUint32(at + 20, true), 0xffff_ffff);
  }

  #kind(at: number): number {
    return this.#view.getUint32(at + 4, true) >>> 24 & 0x1f;
  }

  #vlen(at: number): number {
    return this.#view.getUint16(at + 4, true);
  }

  #string(offset: number): string {
    const from = this.#strings + offset;
    if (from >= this.#stringsEnd) return "";
    const end = this.#bytes.indexOf(0, from);
    if (end < 0 || end - from > 256) return "";
    let text = "";
    for (let at = from; at < end; at++) text += String.fromCharCode(this.#bytes[at]);
    return text;
  }
}
