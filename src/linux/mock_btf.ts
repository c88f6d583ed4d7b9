/** BTF for tests: structures by name, as a compiler would describe them. */

/** A field: its name, byte offset and type. A number is an integer of so many bytes, a string another structure. */
export type MockField = readonly [name: string, offset: number, type: number | string | MockArray | MockBits];

/** So many of a type. */
export interface MockArray {
  readonly of: number | string;
  readonly count: number;
}

/** A bit field, `bit` bits into the byte. */
export interface MockBits {
  readonly bit: number;
  readonly bits: number;
}

/** A structure. An empty name of a field makes its structure anonymous in the outer one. */
export interface MockStruct {
  readonly size: number;
  readonly fields: readonly MockField[];
}

const INT = 1, PTR_KIND_ARRAY = 3, STRUCT = 4;

/** Encodes structures; those that others hold have to come first. */
export function mockBtf(structs: Readonly<Record<string, MockStruct>>): Uint8Array {
  const strings: number[] = [0];
  const words: number[] = [];
  const ids = new Map<string, number>();
  let types = 0;
  const text = (name: string) => {
    if (name === "") return 0;
    const at = strings.length;
    strings.push(...new TextEncoder().encode(name), 0);
    return at;
  };
  const integer = (bytes: number): number => {
    const key = `#${bytes}`;
    const known = ids.get(key);
    if (known !== undefined) return known;
    words.push(text(`u${bytes * 8}`), INT << 24, bytes, bytes * 8);
    ids.set(key, ++types);
    return types;
  };
  const typeOf = (type: MockField[2]): number => {
    if (typeof type === "number") return integer(type);
    if (typeof type === "string") return ids.get(type) ?? 0;
    if ("bits" in type) return integer(4);
    const of = typeOf(type.of);
    words.push(0, PTR_KIND_ARRAY << 24, 0, of, integer(4), type.count);
    return ++types;
  };
  for (const [name, { size, fields }] of Object.entries(structs)) {
    const flagged = fields.some(([, , type]) => typeof type === "object" && "bits" in type);
    const members = fields.flatMap(([field, offset, type]) => {
      const bits = typeof type === "object" && "bits" in type ? type : undefined;
      const place = offset * 8 + (bits?.bit ?? 0);
      return [text(field), typeOf(type), flagged ? place | (bits?.bits ?? 0) << 24 : place];
    });
    words.push(
      text(name),
      ((flagged ? 0x80 | STRUCT : STRUCT) << 24 | fields.length) >>> 0,
      size,
      ...members,
    );
    ids.set(name, ++types);
  }
  const bytes = new Uint8Array(24 + 4 * words.length + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, true);
  bytes[2] = 1;
  [24, 0, 4 * words.length, 4 * words.length, strings.length].forEach((v, i) =>
    view.setUint32(4 + 4 * i, v, true)
  );
  words.forEach((word, i) => view.setUint32(24 + 4 * i, word, true));
  bytes.set(strings, 24 + 4 * words.length);
  return bytes;
}
