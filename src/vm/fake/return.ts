import type { Core } from "./core.ts";
import { codeSegment, loaded, readDescriptor, realSegment, setSegment } from "./segments.ts";
import { generalProtection, GuestFault, Undecodable, VECTOR } from "./signals.ts";
import { ATTRIBUTE, CS, DS, ES, FLAG, FS, GS, MASK, type Segment, type Size, SS } from "./state.ts";

/** Flags that IRET and POPF set from their operand whatever the level, but for IF and IOPL. */
const ORDINARY = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.TF | FLAG.DF | FLAG.OF | FLAG.NT |
  FLAG.AC | FLAG.ID;

/** The flags that code on level `cpl` may change by POPF or IRET (SDM vol. 2B, POPF). */
export function changeable(core: Core, size: Size): number {
  let mask: number = ORDINARY;
  if (core.cpl === 0) mask |= FLAG.IOPL;
  if (core.cpl <= (core.flags >> 12 & 3)) mask |= FLAG.IF;
  return size === 2 ? mask & 0xffff : mask;
}

/** Sets the flags in `mask` from `value`. */
export function setFlags(core: Core, value: bigint, mask: number): void {
  core.flags = (core.flags & ~mask) | (Number(value & 0xffffffffn) & mask) | FLAG.FIXED;
}

/** IRET (SDM vol. 2A, IRET/IRETD/IRETQ). */
export function interruptReturn(core: Core, size: Size): void {
  const ip = core.peek(0, size);
  const cs = Number(core.peek(size, size) & 0xffffn);
  const flags = core.peek(2 * size, size);
  const step = BigInt(3 * size);
  if (!core.protectedMode) {
    if (Number(ip) > core.seg[CS].limit) throw generalProtection();
    core.sp = core.sp + step;
    realSegment(core, CS, cs);
    core.rip = ip;
    setFlags(core, flags, changeable(core, size) | (size === 2 ? 0 : FLAG.RF));
  } else {
    if ((core.flags & FLAG.NT) !== 0 || (Number(flags) & FLAG.VM) !== 0) {
      throw new Undecodable("IRET to a task or to virtual-8086 mode is not known to the interpreter");
    }
    const mask = changeable(core, size) | (size === 2 ? 0 : FLAG.RF);
    farReturn(core, ip, cs, size, 3, 0);
    setFlags(core, flags, mask);
  }
  core.nmiMasked = false;
}

/**
 * The common part of IRET and far RET in protected and long mode, to the same or a less privileged level.
 *
 * @param words Words popped before SP and SS: 3 for IRET, 2 for RET.
 * @param extra Bytes that RET frees besides.
 */
export function farReturn(core: Core, ip: bigint, cs: number, size: Size, words: 2 | 3, extra: number): void {
  const rpl = cs & 3;
  if (rpl < core.cpl) throw generalProtection(cs & 0xfffc);
  const wholeFrame = words === 3 && core.code === 8;
  if (rpl === core.cpl && !wholeFrame) {
    const code = codeSegment(core, cs);
    checkTarget(core, code, ip);
    core.sp = core.sp + BigInt(words * size + extra);
    setSegment(core, CS, code);
    core.rip = ip;
    return;
  }
  const sp = core.peek(words * size + extra, size);
  const ss = Number(core.peek((words + 1) * size + extra, size) & 0xffffn);
  const code = outerCode(core, cs);
  checkTarget(core, code, ip);
  const stack = outerStack(core, ss, rpl, (code.attributes & ATTRIBUTE.L) !== 0);
  Object.assign(core.seg[SS], stack);
  setSegment(core, CS, code);
  core.regs[4] = (core.regs[4] & ~MASK[core.stack]) |
    ((sp + BigInt(words === 2 ? extra : 0)) & MASK[core.stack]);
  core.rip = ip;
  // Data segments that the outer level may not use become null.
  for (const index of [ES, DS, FS, GS]) {
    const s = core.seg[index];
    const conforming = (s.attributes & 0xc) === 0xc;
    if (!conforming && ((s.attributes >> 5) & 3) < rpl) {
      Object.assign(s, { selector: 0, attributes: s.attributes | ATTRIBUTE.UNUSABLE });
    }
  }
}

/** The offset of a far transfer's target; limits don't count in 64-bit code (SDM vol. 3A, 5.3.1). */
export function checkTarget(core: Core, code: Segment, ip: bigint): void {
  const is64 = core.longMode && (code.attributes & ATTRIBUTE.L) !== 0;
  if (!is64 && Number(ip) > code.limit) throw generalProtection();
}

function outerCode(core: Core, cs: number): Segment {
  if ((cs & 0xfffc) === 0) throw generalProtection();
  const d = readDescriptor(core, cs);
  const conforming = (d.type & 4) !== 0;
  if (d.system || (d.type & 8) === 0 || (conforming ? d.dpl > (cs & 3) : d.dpl !== (cs & 3))) {
    throw generalProtection(cs & 0xfffc);
  }
  if (!d.present) throw new GuestFault(VECTOR.NP, cs & 0xfffc);
  return loaded(core, cs, d);
}

function outerStack(core: Core, ss: number, rpl: number, to64: boolean): Segment {
  if ((ss & 0xfffc) === 0) {
    if (!core.longMode || !to64 || rpl === 3) throw generalProtection();
    return { selector: ss, base: 0n, limit: 0, attributes: ATTRIBUTE.UNUSABLE | (rpl << 5) };
  }
  const d = readDescriptor(core, ss);
  if (d.system || (d.type & 0xa) !== 2 || d.dpl !== rpl || (ss & 3) !== rpl) {
    throw generalProtection(ss & 0xfffc);
  }
  if (!d.present) throw new GuestFault(VECTOR.SS, ss & 0xfffc);
  return loaded(core, ss, d);
}
