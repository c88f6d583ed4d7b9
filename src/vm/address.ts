/**
 * Addresses that say whose they are.
 *
 * A bare `bigint` does not tell whether it is guest-physical or linear, and mixing the two is the commonest
 * mistake in a debugger. `gpa(n)`, `gva(n)` and `segmented(seg, off)` make addresses that carry their space,
 * in the type and at run time.
 */

/** The two spaces an address can live in: guest-physical, or linear (what paging translates). */
export type AddressSpace = "gpa" | "gva";

/** A guest-physical address, in bytes. */
export type Gpa = bigint & { readonly space: "gpa" };

/** A linear address: what segmentation gives and paging takes, in bytes. */
export type Gva = bigint & { readonly space: "gva" };

/** A linear address made of a real-mode segment and offset, which it still knows: shown as `f000:fff0`. */
export type Segmented = bigint & {
  readonly space: "gva";
  /** The segment, 16 bits. */
  readonly selector: number;
  /** The offset in it, 16 bits. */
  readonly offset: bigint;
};

/** A `bigint` without a space. Where one is accepted, the place it is given to says what it means. */
export type BareAddress = bigint & { readonly space?: undefined };

const LIMIT = 1n << 64n;

/** Boxes `value`: arithmetic, `<`, `==`, `Number()` and `toString(16)` see the number; `===` compares boxes. */
function branded(value: bigint | number, extra: Record<string, unknown>): unknown {
  const n = BigInt(value);
  if (n < 0n || n >= LIMIT) {
    throw new RangeError(
      `An address must lie in 0..2^64-1; got ${n < 0n ? "" : "0x"}${n.toString(n < 0n ? 10 : 16)}`,
    );
  }
  return Object.freeze(Object.assign(Object(n), extra));
}

/**
 * Makes a guest-physical address.
 *
 * @param value Bytes from guest-physical zero.
 * @throws {RangeError} If `value` does not fit 64 unsigned bits or is no whole number.
 * @example
 * ```ts
 * import { gpa } from "hvsh";
 * import assert from "node:assert/strict";
 * assert.equal(gpa(0x7c00n) + 0x200n, 0x7e00n); // arithmetic drops the brand
 * ```
 */
export function gpa(value: bigint | number): Gpa {
  return branded(value, { space: "gpa" }) as Gpa;
}

/** Where the machine's own addresses stand among the guest-physical ones of a PV guest: above all that it can have. */
export const MACHINE = 1n << 56n;

/**
 * Makes the address of a machine frame, as page tables of Xen's PV guests have them, among guest-physical ones: it is
 * memory where the frame is the guest's.
 *
 * @param frame The machine frame's number (MFN), 44 bits.
 * @param offset Bytes from its beginning.
 * @throws {RangeError} If the frame does not fit.
 * @example
 * ```ts
 * import { gpa, mfn } from "hvsh";
 * import assert from "node:assert/strict";
 * assert.equal(mfn(0x12n, 8n) + 0n, gpa((1n << 56n) + 0x12008n) + 0n);
 * ```
 */
export function mfn(frame: bigint | number, offset: bigint | number = 0n): Gpa {
  const number = BigInt(frame);
  if (number < 0n || number >= MACHINE >> 12n) {
    throw new RangeError(`A machine frame's number has 44 bits; got ${number}`);
  }
  return gpa(MACHINE + (number << 12n) + BigInt(offset));
}

/**
 * Makes a linear address: in real mode segment * 16 + offset, with paging what CR3's tables translate.
 *
 * @param value Bytes from linear zero.
 * @throws {RangeError} If `value` does not fit 64 unsigned bits or is no whole number.
 */
export function gva(value: bigint | number): Gva {
  return branded(value, { space: "gva" }) as Gva;
}

/**
 * Makes a linear address from a real-mode segment and offset: `segmented(0xf000, 0xfff0)` is 0xffff0.
 * In protected mode the base stands in a descriptor instead: add an offset to `registers.cs_base` and its kin.
 *
 * @param segment Real-mode segment, 16 bits.
 * @param offset Offset in it, 16 bits.
 * @throws {RangeError} If either is not a 16-bit number.
 */
export function segmented(segment: bigint | number, offset: bigint | number): Segmented {
  const selector = Number(segment);
  const off = BigInt(offset);
  if (!(selector >= 0 && selector <= 0xffff && Number.isInteger(selector)) || off < 0n || off > 0xffffn) {
    throw new RangeError(`A real-mode address is two 16-bit numbers; got ${segment}:${offset}`);
  }
  return branded(BigInt(selector) * 16n + off, { space: "gva", selector, offset: off }) as Segmented;
}

/** The plain number of an address of either space. */
export function plain(address: bigint): bigint {
  return BigInt.asUintN(64, address);
}

/** The space an address carries, or `otherwise` for a bare `bigint`. */
export function spaceOf(address: bigint, otherwise: AddressSpace): AddressSpace {
  return (address as { space?: AddressSpace }).space ?? otherwise;
}

/** Formats as people in this trade write it: `0x7c00`, or `f000:fff0` for a segmented address. */
export function formatAddress(address: bigint): string {
  const { selector, offset } = address as Partial<Segmented>;
  if (selector !== undefined && offset !== undefined) {
    return `${selector.toString(16).padStart(4, "0")}:${offset.toString(16).padStart(4, "0")}`;
  }
  return `0x${plain(address).toString(16)}`;
}

/** `n` mebibytes, in bytes. */
export function MiB(n: number): number {
  return n * 1024 * 1024;
}
