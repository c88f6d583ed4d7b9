/** Names of the bits of a register: each with its mask; a mask of several bits is a field with a value. */
export type RegisterBits = Readonly<Record<string, number>>;

/**
 * What is set in a register, in words.
 *
 * @param value The register, 32 bits at most.
 * @param bits Its bits, in the order in which they are told.
 * @returns Names of single bits that are set, and "NAME=VALUE" of fields that are not 0; "" if nothing is set.
 * @example
 * ```ts
 * import { decodeBits } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const status = { BSY: 0x80, DRDY: 0x40, DRQ: 0x08, ERR: 0x01, mode: 0x06 };
 * assert.equal(decodeBits(0x4c, status), "DRDY DRQ mode=2");
 * ```
 */
export function decodeBits(value: number | bigint, bits: RegisterBits): string {
  const n = Number(BigInt.asUintN(32, BigInt(value)));
  return Object.entries(bits).flatMap(([name, mask]) => {
    const low = (mask & -mask) >>> 0;
    const field = Math.floor(((n & mask) >>> 0) / low);
    if (field === 0) return [];
    return low === mask >>> 0 ? [name] : [`${name}=${field > 9 ? "0x" : ""}${field.toString(16)}`];
  }).join(" ");
}
