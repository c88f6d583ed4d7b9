import type { AccessExit } from "../exit.ts";

/**
 * What an instruction throws when it can't be finished. None of these is an error of hvsh: each is caught by
 * the vCPU, which first puts the registers back to where they were before the instruction.
 */

/** An exception that the guest gets through its IDT or IVT. */
export class GuestFault {
  /**
   * @param vector 0..31.
   * @param errorCode Pushed in protected and long mode, for the vectors that have one.
   * @param address What CR2 becomes (#PF only).
   */
  constructor(readonly vector: number, readonly errorCode?: number, readonly address?: bigint) {}
}

/** The instruction needs an answer from outside (port, MMIO, MSR) before it can be executed. */
export class NeedAccess {
  constructor(readonly exit: AccessExit) {}
}

/** The interpreter does not know this instruction. */
export class Undecodable {
  constructor(readonly reason: string) {}
}

/** INT3, which the debugger asked for. */
export class Breakpoint3 {}

/** HLT retired. */
export class Halted {}

/** Exception vectors by their mnemonics (SDM vol. 3A, table 6-1). */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
} as const;

/** #GP with `errorCode`: a selector, or 0. */
export function generalProtection(errorCode = 0): GuestFault {
  return new GuestFault(VECTOR.GP, errorCode);
}

/** #UD. */
export function undefinedOpcode(): GuestFault {
  return new GuestFault(VECTOR.UD);
}
