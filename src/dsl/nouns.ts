/** The neutral machine's values, without a machine: addresses, errors, registers. What commands take that need no more. */
export * from "../vm/address.ts";
export { can, type Capabilities, type Capability, type CapabilityName } from "../vm/capabilities.ts";
export { DESCRIPTOR_REGISTERS, type ReportSpace, XCR0 } from "../vm/exit.ts";
export { decodeBits, type RegisterBits } from "../vm/register_bits.ts";
export * from "../vm/errors.ts";
export {
  CONTROL as CONTROL_REGISTERS,
  DEBUG as DEBUG_REGISTERS,
  FPU as FPU_REGISTERS,
  GENERAL as GENERAL_REGISTERS,
  REGISTER_GROUPS,
  REGISTER_NAMES,
  registerBits,
  type RegisterGroup,
  type RegisterName,
  type Registers,
  type RegisterValues,
  type SegmentName,
  SEGMENTS as SEGMENT_REGISTERS,
  VECTOR as VECTOR_REGISTERS,
} from "../vm/registers.ts";
