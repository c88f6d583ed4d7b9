/** Which memory slots a guest needs when some pages of a region are to be read-only. Pure arithmetic. */

/** One memory slot as KVM shall have it. */
export interface Slot {
  /** Guest-physical address of its first byte. */
  readonly start: number;
  /** Bytes. */
  readonly size: number;
  /** Where its bytes lie in this process. */
  readonly hostAddress: bigint;
  /** Whether a guest's write leaves as an MMIO exit. */
  readonly readOnly: boolean;
}

const PAGE = 4096;

/**
 * Cuts one region into slots so that exactly the pages in `readOnlyPages` are read-only.
 *
 * @param region The whole region.
 * @param readOnlyPages Guest-physical page numbers, sorted; those outside the region are left out.
 */
export function cut(region: Slot, readOnlyPages: readonly number[]): Slot[] {
  if (region.readOnly) return [region];
  const slots: Slot[] = [];
  const end = region.start + region.size;
  const add = (start: number, to: number, readOnly: boolean) => {
    if (to <= start) return;
    const last = slots.at(-1);
    if (last !== undefined && last.readOnly === readOnly && last.start + last.size === start) {
      slots[slots.length - 1] = { ...last, size: to - last.start };
    } else {
      slots.push({
        start,
        size: to - start,
        hostAddress: region.hostAddress + BigInt(start - region.start),
        readOnly,
      });
    }
  };
  let at = region.start;
  for (const page of readOnlyPages) {
    const start = page * PAGE;
    if (start < region.start || start >= end) continue;
    add(at, start, false);
    add(start, start + PAGE, true);
    at = start + PAGE;
  }
  add(at, end, false);
  return slots;
}

/** True if two slots are the same in everything. */
function same(a: Slot, b: Slot): boolean {
  return a.start === b.start && a.size === b.size && a.hostAddress === b.hostAddress &&
    a.readOnly === b.readOnly;
}

/**
 * What has to change to get from one set of slots to another: KVM can't turn a slot read-only or cut it, so what
 * differs is deleted and made anew. Deletions come first, for slots may never overlap.
 */
export function difference(
  have: readonly Slot[],
  want: readonly Slot[],
): { readonly remove: readonly Slot[]; readonly add: readonly Slot[] } {
  return {
    remove: have.filter((slot) => !want.some((other) => same(slot, other))),
    add: want.filter((slot) => !have.some((other) => same(slot, other))),
  };
}
