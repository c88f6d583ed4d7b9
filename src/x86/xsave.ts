/**
 * Registers in an XSAVE area of the standard format (SDM vol. 1, 13.4).
 *
 * Use it as a namespace: `import * as xsave from "../x86/xsave.ts"`, then `xsave.get(area, "xmm3")`.
 */
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { type FPU, registerBits, type VECTOR } from "../vm/registers.ts";

/** A register that lives in the XSAVE area. */
export type XsaveName = typeof FPU[number] | typeof VECTOR[number];

/** Bytes of the legacy region and the header: the least an area may have. */
export const XSAVE_MINIMUM = 576;

// State components, the bits of XSTATE_BV and XCR0 (SDM vol. 1, 13.1).
const X87_BIT = 1;
const SSE_BIT = 2;
const AVX_BIT = 4;

// Legacy region (SDM vol. 1, table 10-2), in the layout of XSAVE64: FIP and FDP are 64-bit offsets.
const FCW = 0;
const FSW = 2;
const FTW_ABRIDGED = 4;
const FOP = 6;
const FIP = 8;
const FDP = 16;
const MXCSR = 24;
const ST = 32;
const XMM = 160;
const XSTATE_BV = 512;
const XCOMP_BV = 520;
/** Where every processor puts component 2 in the standard format (CPUID.0DH.2:EBX). */
const YMM_HIGH = 576;
const YMM_END = YMM_HIGH + 16 * 16;

const FCW_INITIAL = 0x37f;
const MXCSR_INITIAL = 0x1f80;

/** A view of `area` after checking that its registers lie where this file looks for them. */
function viewOf(area: Uint8Array): DataView {
  if (area.length < XSAVE_MINIMUM) {
    throw new InputError(`An XSAVE area has at least ${XSAVE_MINIMUM} bytes; this one has ${area.length}`, {
      remedy: "give the area as the hypervisor returned it",
    });
  }
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  // XCOMP_BV bit 63 marks the compacted format, whose offsets depend on XCOMP_BV (SDM vol. 1, 13.4.3).
  if ((view.getUint8(XCOMP_BV + 7) & 0x80) !== 0) {
    throw new InputError("This XSAVE area is in the compacted format", {
      remedy: "save it with XSAVE or XSAVEOPT, not XSAVEC or XSAVES",
    });
  }
  return view;
}

/** `bytes` (a multiple of 2) little-endian bytes at `at` as a number. */
function load(view: DataView, at: number, bytes: number): bigint {
  let value = 0n;
  for (let i = bytes - 2; i >= 0; i -= 2) value = value << 16n | BigInt(view.getUint16(at + i, true));
  return value;
}

function store(view: DataView, at: number, bytes: number, value: bigint): void {
  for (let i = 0; i < bytes; i += 2) {
    view.setUint16(at + i, Number(value & 0xffffn), true);
    value >>= 16n;
  }
}

/** Two tag bits of a register that is not empty: 0 valid, 1 zero, 2 special (SDM vol. 1, 8.1.7 and 10.5.1.1). */
function tagOf(view: DataView, at: number): number {
  const exponent = view.getUint16(at + 8, true) & 0x7fff;
  const significand = view.getBigUint64(at, true);
  if (exponent === 0) return significand === 0n ? 1 : 2;
  return exponent !== 0x7fff && significand >> 63n === 1n ? 0 : 2;
}

/** The 16-bit tag word: physical register i in bits 2i+1..2i, made from the abridged one and the contents. */
function fullTagWord(view: DataView): number {
  const abridged = view.getUint8(FTW_ABRIDGED);
  const top = view.getUint16(FSW, true) >> 11 & 7;
  let word = 0;
  for (let i = 0; i < 8; i++) {
    const tag = (abridged >> i & 1) === 0 ? 3 : tagOf(view, ST + 16 * ((i - top) & 7));
    word |= tag << 2 * i;
  }
  return word;
}

/** Which component of the area holds `name`. */
function componentOf(name: XsaveName): number {
  return name === "mxcsr" || name.startsWith("xmm") ? SSE_BIT : name.startsWith("ymm") ? AVX_BIT : X87_BIT;
}

/** Gives the components in `wanted` that XSTATE_BV calls initial their initial contents, and marks them saved. */
function materialize(view: DataView, area: Uint8Array, wanted: number): void {
  const missing = wanted & ~view.getUint8(XSTATE_BV);
  if (missing & X87_BIT) {
    area.fill(0, 0, MXCSR);
    area.fill(0, ST, XMM);
    view.setUint16(FCW, FCW_INITIAL, true);
  }
  // MXCSR is kept: XRSTOR takes it from memory whatever XSTATE_BV says (SDM vol. 1, 13.8.1).
  if (missing & SSE_BIT) area.fill(0, XMM, XMM + 256);
  if (missing & AVX_BIT) area.fill(0, YMM_HIGH, YMM_END);
  view.setUint8(XSTATE_BV, view.getUint8(XSTATE_BV) | wanted);
}

function needsAvx(area: Uint8Array, name: string): void {
  if (area.length >= YMM_END) return;
  throw new UnsupportedError(
    name,
    `the XSAVE area has ${area.length} bytes, AVX state starts at ${YMM_HIGH}`,
    {
      remedy: "use the xmm registers",
    },
  );
}

/** Where an x87 register stands, and its bytes. FTW is not here: it is a byte that stands for a word. */
function x87Field(name: XsaveName): readonly [at: number, bytes: number] {
  switch (name) {
    case "fcw":
      return [FCW, 2];
    case "fsw":
      return [FSW, 2];
    case "fop":
      return [FOP, 2];
    case "fip":
      return [FIP, 8];
    case "fdp":
      return [FDP, 8];
    default:
      return [ST + 16 * Number(name.slice(2)), 10];
  }
}

/**
 * One register's value: `st0`..`st7` 80 bits, `ftw` the full 16-bit tag word, `xmmN` 128 and `ymmN` 256 bits.
 * A component that XSTATE_BV calls initial reads as its initial value.
 *
 * @throws {InputError} If the area is too short or in the compacted format.
 * @throws {UnsupportedError} If `name` is a ymm register and the area ends before AVX state.
 */
export function get(area: Uint8Array, name: XsaveName): bigint {
  const view = viewOf(area);
  if (name === "mxcsr") return BigInt(view.getUint32(MXCSR, true));
  const present = view.getUint8(XSTATE_BV);
  const component = componentOf(name);
  if (component === X87_BIT) {
    if ((present & X87_BIT) === 0) {
      return name === "fcw" ? BigInt(FCW_INITIAL) : name === "ftw" ? 0xffffn : 0n;
    }
    if (name === "ftw") return BigInt(fullTagWord(view));
    return load(view, ...x87Field(name));
  }
  const index = 16 * Number(name.slice(3));
  const low = present & SSE_BIT ? load(view, XMM + index, 16) : 0n;
  if (component === SSE_BIT) return low;
  needsAvx(area, name);
  return (present & AVX_BIT ? load(view, YMM_HIGH + index, 16) << 128n : 0n) | low;
}

/**
 * Sets one register in place, and marks its component as not initial in XSTATE_BV. Of `ftw` the area keeps
 * only which registers are empty; the rest of the tag word follows from their contents.
 *
 * @throws {RangeError} If `value` does not fit the register.
 * @throws {InputError} If the area is too short or in the compacted format.
 * @throws {UnsupportedError} If `name` is a ymm register and the area ends before AVX state.
 */
export function set(area: Uint8Array, name: XsaveName, value: bigint): void {
  const view = viewOf(area);
  const bits = registerBits(name);
  if (value < 0n || value >> BigInt(bits) !== 0n) {
    throw new RangeError(`${name} has ${bits} bits; got ${value < 0n ? value : `0x${value.toString(16)}`}`);
  }
  const component = componentOf(name);
  if (component === X87_BIT) {
    materialize(view, area, X87_BIT);
    if (name === "ftw") {
      let abridged = 0;
      for (let i = 0; i < 8; i++) if ((Number(value) >> 2 * i & 3) !== 3) abridged |= 1 << i;
      view.setUint8(FTW_ABRIDGED, abridged);
    } else store(view, ...x87Field(name), value);
    return;
  }
  if (component === AVX_BIT) {
    needsAvx(area, name);
    const high = value >> 128n;
    // A zero upper half of initial AVX state stays initial: a host without AVX refuses the bit.
    if (high !== 0n || (view.getUint8(XSTATE_BV) & AVX_BIT) !== 0) {
      materialize(view, area, AVX_BIT);
      store(view, YMM_HIGH + 16 * Number(name.slice(3)), 16, high);
    }
  }
  materialize(view, area, SSE_BIT);
  if (name === "mxcsr") view.setUint32(MXCSR, Number(value), true);
  else store(view, XMM + 16 * Number(name.slice(3)), 16, value & (1n << 128n) - 1n);
}

/**
 * An area with every component initial and MXCSR at its reset value.
 *
 * @param size Bytes; 4096 is what KVM takes.
 */
export function initialXsave(size = 4096): Uint8Array {
  const area = new Uint8Array(size);
  const view = viewOf(area);
  view.setUint16(FCW, FCW_INITIAL, true);
  view.setUint32(MXCSR, MXCSR_INITIAL, true);
  return area;
}
