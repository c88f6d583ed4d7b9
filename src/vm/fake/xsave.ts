import type { RegisterName } from "../registers.ts";

/**
 * FPU, SSE and AVX registers as an XSAVE area in standard format (SDM vol. 1, 13.4). The fake executes no
 * instruction that touches them: they are storage that a debugger can write and read back.
 */

const SIZE = 832;
const FCW = 0, FSW = 2, FTW = 4, FOP = 6, FIP = 8, FDP = 16, MXCSR = 24, MXCSR_MASK = 28;
const ST = 32, XMM = 160, XSTATE_BV = 512, YMM_HIGH = 576;

/** The area at power-on: FCW 0x37f, MXCSR 0x1f80, all registers empty and zero. */
export function emptyXsave(): Uint8Array {
  const area = new Uint8Array(SIZE);
  const view = new DataView(area.buffer);
  view.setUint16(FCW, 0x37f, true);
  view.setUint32(MXCSR, 0x1f80, true);
  view.setUint32(MXCSR_MASK, 0xffff, true);
  view.setUint8(XSTATE_BV, 3);
  return area;
}

/** Reads an FPU or vector register out of `area`. */
export function getVector(area: Uint8Array, name: RegisterName): bigint {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const index = Number(/\d+$/.exec(name)?.[0] ?? 0);
  if (name.startsWith("st")) return little(area, ST + 16 * index, 10);
  if (name.startsWith("xmm")) return little(area, XMM + 16 * index, 16);
  if (name.startsWith("ymm")) {
    return little(area, YMM_HIGH + 16 * index, 16) << 128n | little(area, XMM + 16 * index, 16);
  }
  switch (name) {
    case "fcw":
      return BigInt(view.getUint16(FCW, true));
    case "fsw":
      return BigInt(view.getUint16(FSW, true));
    case "ftw":
      return fullTags(area);
    case "fop":
      return BigInt(view.getUint16(FOP, true));
    case "fip":
      return view.getBigUint64(FIP, true);
    case "fdp":
      return view.getBigUint64(FDP, true);
    default:
      return BigInt(view.getUint32(MXCSR, true));
  }
}

/** Writes an FPU or vector register into `area`. */
export function setVector(area: Uint8Array, name: RegisterName, value: bigint): void {
  const index = Number(/\d+$/.exec(name)?.[0] ?? 0);
  if (name.startsWith("st")) return setLittle(area, ST + 16 * index, 10, value);
  if (name.startsWith("xmm")) return setLittle(area, XMM + 16 * index, 16, value);
  if (name.startsWith("ymm")) {
    area[XSTATE_BV] |= 4;
    setLittle(area, XMM + 16 * index, 16, value);
    return setLittle(area, YMM_HIGH + 16 * index, 16, value >> 128n);
  }
  switch (name) {
    case "fcw":
      return setLittle(area, FCW, 2, value);
    case "fsw":
      return setLittle(area, FSW, 2, value);
    case "ftw":
      area[FTW] = abridgedTags(value);
      return;
    case "fop":
      return setLittle(area, FOP, 2, value);
    case "fip":
      return setLittle(area, FIP, 8, value);
    case "fdp":
      return setLittle(area, FDP, 8, value);
    default:
      return setLittle(area, MXCSR, 4, value);
  }
}

/** The area holds one bit per physical register: 0 empty (SDM vol. 1, 10.5.1.1); the tag word two. */
function abridgedTags(full: bigint): number {
  let bits = 0;
  for (let i = 0; i < 8; i++) if (((full >> BigInt(2 * i)) & 3n) !== 3n) bits |= 1 << i;
  return bits;
}

/** Tags 00 valid, 01 zero, 10 special, 11 empty, by physical register; st0 is the one that TOP names. */
function fullTags(area: Uint8Array): bigint {
  const top = (area[FSW + 1] >> 3) & 7;
  let full = 0n;
  for (let i = 0; i < 8; i++) {
    const empty = (area[FTW] & (1 << i)) === 0;
    const value = little(area, ST + 16 * ((i - top) & 7), 10);
    full |= (empty ? 3n : kind(value)) << BigInt(2 * i);
  }
  return full;
}

function kind(value: bigint): bigint {
  const exponent = (value >> 64n) & 0x7fffn;
  const mantissa = value & 0xffffffffffffffffn;
  if (exponent === 0n) return mantissa === 0n ? 1n : 2n;
  return exponent === 0x7fffn || mantissa >> 63n === 0n ? 2n : 0n;
}

function little(area: Uint8Array, at: number, length: number): bigint {
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = value << 8n | BigInt(area[at + i]);
  return value;
}

function setLittle(area: Uint8Array, at: number, length: number, value: bigint): void {
  for (let i = 0; i < length; i++) area[at + i] = Number(value >> BigInt(8 * i) & 0xffn);
}
