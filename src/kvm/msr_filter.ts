import { InputError } from "../vm/errors.ts";
import { FLAG } from "./abi.ts";

/** One range of KVM_X86_SET_MSR_FILTER: a set bit lets the access through, a clear one makes it leave. */
export interface FilterRange {
  /** First MSR. */
  readonly base: number;
  /** How many MSRs. */
  readonly count: number;
  /** A bit for each, padded to whole 64-bit words as KVM reads them. */
  readonly bitmap: Uint8Array<ArrayBuffer>;
}

const MAX_MSRS = FLAG.MSR_FILTER_MAX_BITMAP_SIZE * 8;

/**
 * Packs MSR numbers into as few ranges as their distances allow.
 *
 * @throws {InputError} If a number does not fit 32 bits, or more than 16 ranges would be needed.
 */
export function filterRanges(indices: readonly number[]): FilterRange[] {
  const sorted = [...new Set(indices)].sort((a, b) => a - b);
  const groups: number[][] = [];
  for (const index of sorted) {
    if (!Number.isInteger(index) || index < 0 || index > 0xffff_ffff) {
      throw new InputError(`An MSR's number has 32 bits; ${index} has not.`);
    }
    const group = groups.at(-1);
    if (group !== undefined && index - group[0] < MAX_MSRS) group.push(index);
    else groups.push([index]);
  }
  if (groups.length > FLAG.MSR_FILTER_MAX_RANGES) {
    throw new InputError(
      `These MSRs lie too far apart: they need ${groups.length} ranges and KVM's filter has ${FLAG.MSR_FILTER_MAX_RANGES}.`,
      { remedy: "Trap fewer MSRs at a time." },
    );
  }
  return groups.map((group) => {
    const base = group[0];
    const count = group[group.length - 1] - base + 1;
    // From an ArrayBuffer of its own, so that it never lies on the moving heap: KVM gets its address.
    const bitmap = new Uint8Array(new ArrayBuffer(Math.ceil(count / 64) * 8)).fill(0xff);
    for (const index of group) bitmap[(index - base) >> 3] &= ~(1 << ((index - base) & 7));
    return { base, count, bitmap };
  });
}
