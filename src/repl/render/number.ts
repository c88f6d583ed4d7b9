/** Numbers in gdb's output formats. */
import { bare } from "./text.ts";

/** gdb's format letters for one number: hex, decimal, unsigned, octal, binary, address, char, float, zero-padded hex. */
export type Letter = "x" | "d" | "u" | "o" | "t" | "a" | "c" | "f" | "z";

/** How a number is shown. */
export interface NumberFormat {
  readonly letter: Letter;
  /** Width in bits: what negative numbers are cut to and padding fills. */
  readonly bits: number;
  /** Whether hex, octal and binary are padded with zeros to the width, as `x` does. */
  readonly padded?: boolean;
  /** Names an address: "kernel_main+0x10", for format `a`. */
  readonly symbol?: (address: bigint) => string | undefined;
}

/** Shows `value`. */
export function formatNumber(value: bigint, format: NumberFormat): string {
  const { bits, letter } = format;
  const raw = BigInt.asUintN(bits, value);
  const pad = (digits: string, per: number) =>
    format.padded || letter === "z" ? digits.padStart(Math.ceil(bits / per), "0") : digits;
  switch (letter) {
    case "x":
    case "z":
      return `0x${pad(raw.toString(16), 4)}`;
    case "d":
      return BigInt.asIntN(bits, value).toString();
    case "u":
      return raw.toString();
    case "o":
      return raw === 0n ? "0" : `0${pad(raw.toString(8), 3)}`;
    case "t":
      return pad(raw.toString(2), 1);
    case "a": {
      const name = format.symbol?.(raw);
      return `0x${raw.toString(16)}${name === undefined ? "" : ` <${name}>`}`;
    }
    case "c":
      return formatChar(Number(BigInt.asUintN(8, value)));
    case "f":
      return formatFloat(raw, bits);
    default:
      return letter satisfies never;
  }
}

/** gdb's way with characters: `65 'A'`, `-6 '\372'`. */
export function formatChar(byte: number): string {
  return `${byte << 24 >> 24} '${escapeByte(byte, "'")}'`;
}

const ESCAPES: Readonly<Record<number, string>> = {
  7: "\\a",
  8: "\\b",
  9: "\\t",
  10: "\\n",
  11: "\\v",
  12: "\\f",
  13: "\\r",
  27: "\\033",
};

function escapeByte(byte: number, quote: string): string {
  if (byte === 0x5c || byte === quote.charCodeAt(0)) return `\\${String.fromCharCode(byte)}`;
  if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte);
  return ESCAPES[byte] ?? `\\${byte.toString(8).padStart(3, "0")}`;
}

/** A C string in double quotes, cut where gdb cuts it (200 characters). */
export function formatString(bytes: Uint8Array, cut = false): string {
  const limit = 200;
  const shown = bytes.subarray(0, limit);
  const text = Array.from(shown, (b) => escapeByte(b, '"')).join("");
  return `"${text}"${cut || bytes.length > limit ? "..." : ""}`;
}

/** Bits as a floating-point number of that width: 16, 32, 64 or 80; other widths as an integer. */
export function formatFloat(raw: bigint, bits: number): string {
  const view = new DataView(new ArrayBuffer(8));
  switch (bits) {
    case 32:
      view.setUint32(0, Number(raw));
      return shortest(view.getFloat32(0), 9);
    case 64:
      view.setBigUint64(0, raw);
      return shortest(view.getFloat64(0), 17);
    case 16:
      return shortest(half(Number(raw)), 5);
    case 80:
      return shortest(extended(raw), 18);
    default:
      return BigInt.asIntN(bits, raw).toString();
  }
}

function shortest(value: number, digits: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (Object.is(value, -0)) return "-0";
  return String(Number(value.toPrecision(digits)));
}

/** IEEE 754 binary16. */
function half(raw: number): number {
  const sign = raw & 0x8000 ? -1 : 1;
  const exponent = raw >> 10 & 0x1f;
  const fraction = raw & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** x87 double extended precision (SDM vol. 1, 4.2.2), rounded to a double. */
export function extended(raw: bigint): number {
  const sign = raw >> 79n & 1n ? -1 : 1;
  const exponent = Number(raw >> 64n & 0x7fffn);
  const mantissa = raw & 0xffff_ffff_ffff_ffffn;
  if (exponent === 0x7fff) return mantissa << 1n & 0xffff_ffff_ffff_ffffn ? NaN : sign * Infinity;
  if (mantissa === 0n) return sign * 0;
  return sign * (Number(mantissa) / 2 ** 63) * 2 ** (exponent - 16383);
}

/** A vector register as gdb's `info registers` shows it: its lanes as 64-bit numbers, then the whole. */
export function formatVector(value: bigint, bits: number): string {
  const lanes: string[] = [];
  for (let at = 0; at < bits; at += 64) lanes.push(`0x${bare(BigInt.asUintN(64, value >> BigInt(at)))}`);
  return `{v${bits / 64}_int64 = {${lanes.join(", ")}}, uint${bits} = 0x${bare(value)}}`;
}
