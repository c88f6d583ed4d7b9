/** The GDB remote protocol's packets as a client has them: text out, text in (GDB manual, E.1). */
import { framePacket } from "../abi/rsp.ts";

/** A packet longer than that is none: nothing that is asked for here is. */
export const PACKET_LIMIT = 1 << 20;

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** `$payload#checksum`; the payload is ASCII. */
export function packet(payload: string): Uint8Array {
  return framePacket(encoder.encode(payload));
}

/** Up to here a string of its characters is made sooner than one of a decoder. */
const SHORT = 64;

/** A payload as text, each byte a character. */
export function textOf(payload: Uint8Array): string {
  return payload.length <= SHORT ? String.fromCharCode(...payload) : decoder.decode(payload);
}

/** Bytes as hex digits. */
export function toHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Hex digits as bytes; undefined if they are none. */
export function fromHex(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromHex(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
