/** A PV guest's trap table (struct trap_info of xen.h), which Xen keeps in place of an IDT. */

import { XEN } from "../abi/xen.ts";

/** A vector's handler: `flags` are TI_GET_DPL and TI_GET_IF. */
export interface Trap {
  readonly flags: number;
  readonly cs: number;
  /** Linear address; 0 if there is none. */
  readonly address: bigint;
}

/** TI_SET_IF of xen.h: no events while the handler runs. */
export const MASK_EVENTS = 4;
const DPL = 3;

const VECTORS = 256;
const GATE_SIZE = 16;
/** The type byte of a gate (SDM vol. 3A, 6.14.1): present, an interrupt gate, a trap gate. */
const PRESENT = 0x80;
const INTERRUPT_GATE = 0xe;
const TRAP_GATE = 0xf;

/** The table as a 64-bit IDT of 256 gates: a handler that masks events has an interrupt gate. */
export function trapGates(trap: (vector: number) => Trap): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(VECTORS * GATE_SIZE);
  const view = new DataView(bytes.buffer);
  for (let vector = 0; vector < VECTORS; vector++) {
    const { flags, cs, address } = trap(vector);
    if (address === 0n) continue;
    const at = vector * GATE_SIZE;
    const type = (flags & MASK_EVENTS) === 0 ? TRAP_GATE : INTERRUPT_GATE;
    view.setUint16(at, Number(address & 0xffffn), true);
    view.setUint16(at + 2, cs === 0 ? XEN.FLAT_KERNEL_CS64 : cs, true);
    view.setUint8(at + 5, PRESENT | (flags & DPL) << 5 | type);
    view.setUint16(at + 6, Number(address >> 16n & 0xffffn), true);
    view.setUint32(at + 8, Number(address >> 32n), true);
  }
  return bytes;
}
