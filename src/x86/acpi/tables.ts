/** ACPI's tables as bytes (ACPI 6.4, section 5.2), each laid out by fields rather than by hand-written offsets. */

/** A field: a number and how many bytes it takes, or bytes. */
export type Field = readonly [value: number | bigint, bytes: 1 | 2 | 4 | 8] | Uint8Array;

/** What all tables of ours say of who made them (5.2.6): OEMID, and creator. */
const OEM_ID = "HVSH  ";
const OEM_TABLE_ID = "HVSHPC  ";
const CREATOR_ID = "HVSH";
/** Bytes of the header of a table. */
const HEADER_BYTES = 36;

const ascii = (text: string) => new TextEncoder().encode(text);

/** Fields, one behind the other, little-endian. */
export function lay(fields: readonly Field[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(fields.flatMap((field) => {
    if (field instanceof Uint8Array) return [...field];
    const [value, bytes] = field;
    return Array.from({ length: bytes }, (_, i) => Number(BigInt(value) >> BigInt(8 * i) & 0xffn));
  }));
}

/** A table: header and checksum around `fields` (5.2.6). */
export function table(
  signature: string,
  revision: number,
  fields: readonly Field[],
): Uint8Array<ArrayBuffer> {
  const body = lay(fields);
  const bytes = lay([
    ascii(signature),
    [HEADER_BYTES + body.length, 4],
    [revision, 1],
    [0, 1], // checksum
    ascii(OEM_ID),
    ascii(OEM_TABLE_ID),
    [1, 4],
    ascii(CREATOR_ID),
    [1, 4],
    body,
  ]);
  bytes[9] = checksum(bytes);
  return bytes;
}

/** The byte that makes the sum of all zero. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, b) => sum + b, 0) & 0xff;
}

/** A generic address structure in I/O space (5.2.3.2). `bytes`: 0 for none. */
export function portAddress(port: number, bytes: 0 | 1 | 2 | 4): Field[] {
  const access = { 0: 0, 1: 1, 2: 2, 4: 3 }[bytes];
  return [[1, 1], [8 * bytes, 1], [0, 1], [access, 1], [port, 8]];
}

/** The root pointer, version 2 (5.2.5.3), with both its checksums. */
export function rootPointer(rsdt: bigint, xsdt: bigint): Uint8Array<ArrayBuffer> {
  const bytes = lay([
    ascii("RSD PTR "),
    [0, 1],
    ascii(OEM_ID),
    [2, 1],
    [rsdt, 4],
    [36, 4],
    [xsdt, 8],
    [0, 1],
    Uint8Array.of(0, 0, 0),
  ]);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}
