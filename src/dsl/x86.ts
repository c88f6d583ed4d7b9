/** Facts about x86 that scripts and the shell decode guests with: flags, modes, descriptors, page entries. */
export {
  decodeDescriptor,
  type Descriptor,
  descriptorTable,
  type GateDescriptor,
  interruptTable,
  type SegmentDescriptor,
  type TableEntry,
} from "../x86/descriptors.ts";
export * from "./modes.ts";
export { type Mapping, mappings, type MappingsOptions } from "../x86/paging.ts";
export { disassembler } from "../debug/disassembler.ts";
export type { Instruction } from "../debug/instruction.ts";
export { type LapicRegister, lapicRegisters } from "../x86/apic.ts";
export { cpuidSummary } from "../x86/cpuid.ts";
export { exceptionName } from "../x86/exceptions.ts";
export { msrName, msrNames, msrNumber } from "../x86/msr.ts";
