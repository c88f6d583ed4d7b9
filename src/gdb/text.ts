/** Numbers and text in packets. Everything a client sends is checked here before it is a number. */
import { fromHex, toHex } from "../abi/rsp.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A packet that makes no sense, or asks for what can't be done: its answer is an error. */
export class PacketError extends Error {
  override name = "PacketError";
  /** The number after `E`: an errno of GDB's file I/O (GDB manual, E.13.9.2), 1 to 255. */
  readonly code: number;
  constructor(message: string, code = 22) {
    super(message);
    this.code = code;
  }
}

/** Characters up to which a loop is quicker than a call of the encoder. */
const SHORT = 64;

/** The bytes of text, which is ASCII but for what commands print: UTF-8. */
export function ascii(text: string): Uint8Array {
  if (text.length > SHORT) return encoder.encode(text);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return encoder.encode(text);
    bytes[i] = code;
  }
  return bytes;
}

/** Bytes as text, one character each: what can be compared and cut without losing binary data. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

/** An unsigned hexadecimal number of at most 64 bits. @throws {PacketError} */
export function hexNumber(text: string): bigint {
  if (!/^[0-9a-f]{1,16}$/i.test(text)) throw new PacketError(`"${text.slice(0, 40)}" is no number`);
  return BigInt(`0x${text}`);
}

/** A hexadecimal number that is small enough to count with: less than 2^48. @throws {PacketError} */
export function hexCount(text: string): number {
  const value = hexNumber(text);
  if (value >> 48n !== 0n) throw new PacketError(`0x${text} is too much`);
  return Number(value);
}

/** `address,length`, as most packets begin. @throws {PacketError} */
export function addressAndLength(text: string): { address: bigint; length: number } {
  const [address, length, ...more] = text.split(",");
  if (length === undefined || more.length > 0) throw new PacketError("an address and a length are wanted");
  return { address: hexNumber(address), length: hexCount(length) };
}

/** Bytes of hexadecimal digits. @throws {PacketError} */
export function hexBytes(digits: Uint8Array | string): Uint8Array {
  const bytes = fromHex(typeof digits === "string" ? ascii(digits) : digits);
  if (bytes === undefined) throw new PacketError("hexadecimal digits are wanted, two for a byte");
  return bytes;
}

/** UTF-8 text as hexadecimal digits. */
export function hexText(text: string): string {
  return latin1(toHex(ascii(text)));
}

/** UTF-8 text of hexadecimal digits. @throws {PacketError} */
export function textOfHex(digits: string): string {
  return decoder.decode(hexBytes(digits));
}

/** Where byte `wanted` is first in `bytes`. @throws {PacketError} If it is nowhere. */
export function positionOf(bytes: Uint8Array, wanted: string): number {
  const at = bytes.indexOf(wanted.charCodeAt(0));
  if (at < 0) throw new PacketError(`"${wanted}" is missing`);
  return at;
}
