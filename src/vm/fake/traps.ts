import type { HardwareTrap } from "../backend.ts";

/** DR6 without any event: the bits that always read as one (SDM vol. 3B, 17.2.3). */
export const DR6_NONE = 0xffff0ff0n;

/** DR6.BS: a single step. */
export const DR6_BS = 1n << 14n;

/** Slots as the debugger gives them, or as the guest's DR7 says. */
export type Slots = readonly (HardwareTrap | undefined)[];

/** Bits B0..B3 for the slots that stop before the instruction at `pc`. */
export function executeHits(slots: Slots, pc: bigint): number {
  let hits = 0;
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i];
    if (slot !== undefined && slot.access === "execute" && BigInt.asUintN(64, slot.address) === pc) {
      hits |= 1 << i;
    }
  }
  return hits;
}

/** Bits B0..B3 for the slots that an access to `size` bytes at `linear` touches. */
export function dataHits(slots: Slots, linear: bigint, size: number, write: boolean): number {
  let hits = 0;
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i];
    if (slot === undefined || slot.access === "execute" || (slot.access === "write" && !write)) continue;
    const start = BigInt.asUintN(64, slot.address);
    if (linear < start + BigInt(slot.size) && start < linear + BigInt(size)) hits |= 1 << i;
  }
  return hits;
}

/** LEN of DR7 to bytes (SDM vol. 3B, 17.2.4). */
const LENGTHS = [1, 2, 8, 4] as const;

/** The guest's own breakpoints. Those on ports (R/W 2) are left out. */
export function guestSlots(dr: readonly bigint[], dr7: bigint): Slots {
  if ((dr7 & 0xffn) === 0n) return [];
  return dr.map((address, i) => {
    if ((dr7 >> BigInt(2 * i) & 3n) === 0n) return undefined;
    const how = Number(dr7 >> BigInt(16 + 4 * i) & 3n);
    const size = LENGTHS[Number(dr7 >> BigInt(18 + 4 * i) & 3n)];
    if (how === 2) return undefined;
    const access = how === 0 ? "execute" : how === 1 ? "write" : "access";
    return { address: access === "execute" ? address : address & ~BigInt(size - 1), access, size };
  });
}
