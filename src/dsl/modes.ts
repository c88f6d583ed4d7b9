/** Modes, flags and segments of x86: what the shell shows of registers takes these of what `x86.ts` has. */
export { decodeFlags, encodeFlags, type FlagTable, flagTableOf } from "../x86/flags.ts";
export {
  type Bitness,
  bitness,
  cpl,
  type CpuMode,
  cpuMode,
  linear,
  linearRip,
  linearStack,
  type PagingMode,
  pagingMode,
  stackMask,
} from "../x86/mode.ts";
export { type SegmentName, SEGMENTS } from "../vm/registers.ts";
