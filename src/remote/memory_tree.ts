/** What QEMU's monitor prints for `info mtree -f`: which guest-physical addresses are memory (softmmu/memory.c). */
import type { MemoryRegion } from "../vm/backend.ts";

const PAGE = 4096n;
/** More than any machine has. */
const LIMIT = 4096;

/** The memory of the address space "memory"; runs of the same block are one region. */
export function regionsOfTree(text: string): MemoryRegion[] {
  const view = text.split(/^FlatView #/m).find((part) => /^ AS "memory"/m.test(part));
  if (view === undefined) return [];
  const regions: MemoryRegion[] = [];
  const row =
    /^ {2}([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (ram|rom|romd|nv-ram)\): (.+?)(?: @[0-9a-f]+)?(?: KVM)?$/gm;
  for (const [, first, last, kind, name] of view.matchAll(row)) {
    const start = BigInt(`0x${first}`);
    const end = BigInt(`0x${last}`) + 1n;
    if (start % PAGE !== 0n || end % PAGE !== 0n || end <= start || regions.length === LIMIT) continue;
    const readOnly = kind === "rom" || kind === "romd";
    const before = regions.at(-1);
    if (
      before?.start !== undefined && before.name === name && before.readOnly === readOnly &&
      before.start + before.size === start
    ) {
      regions[regions.length - 1] = { ...before, size: end - before.start };
    } else regions.push({ name, start, size: end - start, readOnly });
  }
  return regions;
}
