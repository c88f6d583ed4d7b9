import type { Core } from "./core.ts";
import { loaded, readDescriptor, realSegment, setSegment } from "./segments.ts";
import { generalProtection, GuestFault, Undecodable, VECTOR } from "./signals.ts";
import { ATTRIBUTE, CS, FLAG, type Segment, type Size, SS, TR } from "./state.ts";

/** Where an event comes from: it decides about privilege checks and what is pushed. */
export type EventSource = "exception" | "external" | "software";

/** Vectors that push an error code (SDM vol. 3A, table 6-1). */
const WITH_ERROR_CODE = new Set<number>([8, 10, 11, 12, 13, 14, 17]);

/**
 * Enters the handler of `vector` through the IVT or IDT (SDM vol. 3A, chapter 6). Registers change only once
 * nothing can fail any more.
 *
 * @param returnTo RIP that is pushed.
 * @throws {GuestFault} If the handler can't be entered.
 */
export function deliver(
  core: Core,
  vector: number,
  source: EventSource,
  returnTo: bigint,
  errorCode: number | undefined,
): void {
  if (!core.protectedMode) return deliverReal(core, vector, returnTo);
  const code = source === "exception" && WITH_ERROR_CODE.has(vector) ? errorCode ?? 0 : undefined;
  deliverGate(core, vector, source, returnTo, code);
}

function deliverReal(core: Core, vector: number, returnTo: bigint): void {
  if (4 * vector + 3 > core.idtr.limit) throw generalProtection();
  const entry = core.mmu.loadSystem(core.idtr.base + BigInt(4 * vector), 4);
  core.push(BigInt(core.flags & 0xffff), 2);
  core.push(BigInt(core.seg[CS].selector), 2);
  core.push(returnTo, 2);
  realSegment(core, CS, Number(entry >> 16n));
  core.rip = entry & 0xffffn;
  core.flags &= ~(FLAG.IF | FLAG.TF | FLAG.AC | FLAG.RF);
}

/** A gate of the IDT. */
interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly type: number;
  readonly dpl: number;
  readonly stack: number;
}

function readGate(core: Core, vector: number, source: EventSource): Gate {
  const bytes = core.longMode ? 16 : 8;
  // Bit 1: the IDT is meant; bit 0: the event came from outside the program.
  const error = vector * 8 + 2 + (source === "software" ? 0 : 1);
  if (vector * bytes + bytes - 1 > core.idtr.limit) throw generalProtection(error);
  const at = core.idtr.base + BigInt(vector * bytes);
  const low = core.mmu.loadSystem(at, 8);
  const type = Number(low >> 40n & 0x1fn);
  const gate: Gate = {
    selector: Number(low >> 16n & 0xffffn),
    offset: (low & 0xffffn) | (low >> 32n & 0xffff0000n) |
      (core.longMode ? (core.mmu.loadSystem(at + 8n, 8) & 0xffffffffn) << 32n : 0n),
    type,
    dpl: Number(low >> 45n & 3n),
    stack: core.longMode ? Number(low >> 32n & 7n) : 0,
  };
  if (type === 5 && !core.longMode) throw new Undecodable("task gates are not known to the interpreter");
  const known = type === 14 || type === 15 || (!core.longMode && (type === 6 || type === 7));
  if (!known || (source === "software" && gate.dpl < core.cpl)) throw generalProtection(error);
  if ((low >> 47n & 1n) === 0n) throw new GuestFault(VECTOR.NP, error);
  return gate;
}

function deliverGate(
  core: Core,
  vector: number,
  source: EventSource,
  returnTo: bigint,
  errorCode: number | undefined,
): void {
  const gate = readGate(core, vector, source);
  const error = (gate.selector & 0xfffc) | (source === "software" ? 0 : 1);
  if ((gate.selector & 0xfffc) === 0) throw generalProtection(error & 1);
  const d = readDescriptor(core, gate.selector);
  if (d.system || (d.type & 8) === 0 || d.dpl > core.cpl) throw generalProtection(error);
  if (!d.present) throw new GuestFault(VECTOR.NP, error);
  if (core.longMode && (d.attributes & ATTRIBUTE.L) === 0) throw generalProtection(error);
  const conforming = (d.type & 4) !== 0;
  const level = conforming ? core.cpl : d.dpl;
  const size: Size = core.longMode ? 8 : gate.type >= 14 ? 4 : 2;
  const code = loaded(core, (gate.selector & 0xfffc) | level, d);
  const stack = newStack(core, level, gate.stack);

  // Pushed as supervisor of the new level, downwards from the new stack pointer.
  let sp = stack.sp;
  const wrap = stack.width === 2 ? 0xffffn : stack.width === 4 ? 0xffffffffn : (1n << 64n) - 1n;
  const push = (value: bigint) => {
    sp = (sp - BigInt(size)) & wrap;
    core.mmu.storeSystem(stack.base + sp, size, value);
  };
  if (stack.segment !== undefined || core.longMode) {
    push(BigInt(core.seg[SS].selector));
    push(core.sp);
  }
  push(BigInt(core.flags));
  push(BigInt(core.seg[CS].selector));
  push(returnTo);
  if (errorCode !== undefined) push(BigInt(errorCode));

  if (stack.segment !== undefined) Object.assign(core.seg[SS], stack.segment);
  setSegment(core, CS, code);
  core.regs[4] = size === 8 ? sp : (core.regs[4] & ~wrap) | sp;
  core.rip = size === 2 ? gate.offset & 0xffffn : gate.offset;
  core.flags &= ~(FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM);
  if ((gate.type & 1) === 0) core.flags &= ~FLAG.IF;
}

interface NewStack {
  readonly sp: bigint;
  readonly base: bigint;
  readonly width: 2 | 4 | 8;
  /** SS's new content, if it changes. */
  readonly segment?: Segment;
}

/** The stack that the handler runs on: the same, the TSS's for a more privileged level, or one of the IST. */
function newStack(core: Core, level: number, ist: number): NewStack {
  const task = core.seg[TR];
  const at = (offset: number, bytes: number) => {
    if (offset + bytes - 1 > task.limit) throw new GuestFault(VECTOR.TS, task.selector & 0xfffc);
    return core.mmu.loadSystem(task.base + BigInt(offset), bytes);
  };
  if (core.longMode) {
    const changed = level !== core.cpl;
    const sp = ist !== 0 ? at(0x24 + 8 * (ist - 1), 8) : changed ? at(4 + 8 * level, 8) : core.sp;
    const null_ = { selector: level, base: 0n, limit: 0, attributes: ATTRIBUTE.UNUSABLE | (level << 5) };
    return { sp: sp & ~15n, base: 0n, width: 8, ...(changed ? { segment: null_ } : {}) };
  }
  const { base } = core.seg[SS];
  if (level === core.cpl) return { sp: core.sp, base, width: core.stack };
  const wide = (task.attributes & 8) !== 0;
  const sp = wide ? at(4 + 8 * level, 4) : at(2 + 4 * level, 2);
  const selector = Number(wide ? at(8 + 8 * level, 2) : at(4 + 4 * level, 2));
  const d = readDescriptor(core, selector, VECTOR.TS);
  if (d.system || (d.type & 0xa) !== 2 || d.dpl !== level) throw new GuestFault(VECTOR.TS, selector & 0xfffc);
  if (!d.present) throw new GuestFault(VECTOR.SS, selector & 0xfffc);
  const segment = loaded(core, selector, d);
  return { sp, base: segment.base, width: (segment.attributes & ATTRIBUTE.DB) !== 0 ? 4 : 2, segment };
}

/** How two exceptions in a row combine (SDM vol. 3A, table 6-5): #DF, or the second in place of the first. */
export function combine(first: number, second: GuestFault): GuestFault {
  const contributory = (v: number) => v === VECTOR.DE || (v >= VECTOR.TS && v <= VECTOR.GP);
  const double = contributory(second.vector)
    ? contributory(first) || first === VECTOR.PF
    : second.vector === VECTOR.PF && first === VECTOR.PF;
  return double ? new GuestFault(VECTOR.DF, 0) : second;
}
