import type { Core } from "./core.ts";
import { generalProtection, GuestFault, VECTOR } from "./signals.ts";
import { ATTRIBUTE, CS, LDTR, type Segment, SS } from "./state.ts";

/** A descriptor of GDT or LDT, unpacked (SDM vol. 3A, 3.4.5). */
export interface Descriptor {
  readonly base: bigint;
  readonly limit: number;
  readonly attributes: number;
  readonly type: number;
  readonly dpl: number;
  readonly system: boolean;
  readonly present: boolean;
  /** Linear address of the descriptor. */
  readonly at: bigint;
}

/** Reads the descriptor that `selector` names. @throws {GuestFault} #GP or #TS with the selector. */
export function readDescriptor(core: Core, selector: number, vector: number = VECTOR.GP): Descriptor {
  const local = (selector & 4) !== 0;
  const ldt = core.seg[LDTR];
  const table = local ? { base: ldt.base, limit: ldt.limit } : core.gdtr;
  const unusable = local && (ldt.attributes & ATTRIBUTE.UNUSABLE) !== 0;
  if (unusable || (selector | 7) > table.limit) throw new GuestFault(vector, selector & 0xfffc);
  const at = table.base + BigInt(selector & 0xfff8);
  const raw = core.mmu.loadSystem(at, 8);
  const attributes = Number(raw >> 40n & 0xf0ffn);
  const limit = Number(raw & 0xffffn) | Number(raw >> 32n & 0xf0000n);
  return {
    base: (raw >> 16n & 0xffffffn) | (raw >> 32n & 0xff000000n),
    limit: (attributes & 0x8000) !== 0 ? limit * 4096 + 4095 : limit,
    attributes,
    type: attributes & 15,
    dpl: (attributes >> 5) & 3,
    system: (attributes & ATTRIBUTE.S) === 0,
    present: (attributes & ATTRIBUTE.P) !== 0,
    at,
  };
}

/** The register's content for a descriptor; marks the descriptor accessed, as the processor does. */
export function loaded(core: Core, selector: number, d: Descriptor): Segment {
  if (!d.system && (d.attributes & 1) === 0) {
    core.mmu.storeSystem(d.at + 5n, 1, BigInt((d.attributes | 1) & 0xff));
  }
  const accessed = d.system ? d.attributes : d.attributes | 1;
  return { selector, base: d.base, limit: d.limit, attributes: accessed };
}

/** Puts `segment` into register `index`. */
export function setSegment(core: Core, index: number, segment: Segment): void {
  Object.assign(core.seg[index], segment);
  if (index === CS || index === SS) core.update();
}

/** A real-mode load: the base follows the selector, the rest stays (as "unreal mode" relies on). */
export function realSegment(core: Core, index: number, selector: number): void {
  setSegment(core, index, { ...core.seg[index], selector, base: BigInt(selector) << 4n });
}

/** MOV, POP or LxS to a data segment register (SDM vol. 2B, MOV). */
export function loadSegment(core: Core, index: number, selector: number): void {
  if (!core.protectedMode) return realSegment(core, index, selector);
  if ((selector & 0xfffc) === 0) return loadNull(core, index, selector);
  const d = readDescriptor(core, selector);
  const rpl = selector & 3;
  const bad = () => generalProtection(selector & 0xfffc);
  const code = (d.type & 8) !== 0;
  if (index === SS) {
    if (d.system || code || (d.type & 2) === 0 || rpl !== core.cpl || d.dpl !== core.cpl) throw bad();
    if (!d.present) throw new GuestFault(VECTOR.SS, selector & 0xfffc);
  } else {
    if (d.system || (code && (d.type & 2) === 0)) throw bad();
    // Conforming code segments may be read from any level.
    if ((d.type & 0xc) !== 0xc && Math.max(rpl, core.cpl) > d.dpl) throw bad();
    if (!d.present) throw new GuestFault(VECTOR.NP, selector & 0xfffc);
  }
  setSegment(core, index, loaded(core, selector, d));
}

function loadNull(core: Core, index: number, selector: number): void {
  if (index === SS && (core.code !== 8 || core.cpl === 3 || (selector & 3) !== core.cpl)) {
    throw generalProtection();
  }
  const dpl = index === SS ? core.cpl << 5 : 0;
  setSegment(core, index, { selector, base: 0n, limit: 0, attributes: ATTRIBUTE.UNUSABLE | dpl });
}

/** Checks a far transfer to `selector` that stays on the same level, and gives CS's new content. */
export function codeSegment(core: Core, selector: number): Segment {
  if ((selector & 0xfffc) === 0) throw generalProtection();
  const d = readDescriptor(core, selector);
  const bad = generalProtection(selector & 0xfffc);
  if (d.system || (d.type & 8) === 0) throw bad;
  const conforming = (d.type & 4) !== 0;
  if (conforming ? d.dpl > core.cpl : (selector & 3) > core.cpl || d.dpl !== core.cpl) throw bad;
  if (!d.present) throw new GuestFault(VECTOR.NP, selector & 0xfffc);
  if (core.longMode && (d.attributes & ATTRIBUTE.L) !== 0 && (d.attributes & ATTRIBUTE.DB) !== 0) throw bad;
  return { ...loaded(core, selector, d), selector: (selector & 0xfffc) | core.cpl };
}

/** Whether `selector` names a gate or task, which a far transfer here can't go through. */
export function isGate(core: Core, selector: number): boolean {
  return core.protectedMode && (selector & 0xfffc) !== 0 && readDescriptor(core, selector).system;
}
