import type { BackendMemory } from "../vm/backend.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import { interruptInstruction, realInterrupt } from "./real_interrupt.ts";

/**
 * KVM, and hvsh on Xen, step by the guest's own trap flag. On vmx and svm a processor clears it as it enters a handler,
 * so that a step of INT n ends only after the handler's IRET, and with the flag in the handler's stack frame; PUSHF shows
 * it to the guest (SDM vol. 3B, 18.3.1.4). In real mode, where boot code lives, that is cheap to do right: these
 * instructions are done here instead.
 */

/** The guest of a step by hand. */
export interface HandStepGuest {
  readonly memory: Pick<BackendMemory, "read" | "write">;
  registers(): Registers;
  setRegisters(values: RegisterValues): void;
}

const PUSHF = 0x9c;
const TRAP_HIGH = 0x01;

/**
 * Enters the handler of `vector` in real mode.
 *
 * @returns False if the processor has to do it, since it would meet an exception.
 */
export function enterHandler(guest: HandStepGuest, vector: number, returnTo: bigint): boolean {
  try {
    const entered = realInterrupt(guest.registers(), vector, returnTo, (at, length) => {
      const bytes = new Uint8Array(length);
      guest.memory.read(at, bytes);
      return bytes;
    });
    if (entered === undefined) return false;
    guest.memory.write(entered.at, entered.frame);
    guest.setRegisters(entered.registers);
    return true;
  } catch {
    // Vector table or stack are not in memory: what that means is the processor's affair.
    return false;
  }
}

/** What the instruction under RIP asks of a step in real mode. */
export type HandStep = "done" | "hide-flag" | "processor";

/** Whether `code` begins with an instruction that a step leaves to the processor, flags on the stack and all. Real mode. */
export function stepsByProcessor(code: Uint8Array, rflags: bigint): boolean {
  return code[0] !== PUSHF && interruptInstruction(code, rflags) === undefined;
}

/** Does the instruction under RIP if it enters a handler; else says who has to. Real mode alone. */
export function stepByHand(guest: HandStepGuest): HandStep {
  const { rip, cs_base, rflags } = guest.registers();
  const code = new Uint8Array(2);
  try {
    guest.memory.read(cs_base + rip, code);
  } catch {
    return "processor";
  }
  if (code[0] === PUSHF) return "hide-flag";
  const found = interruptInstruction(code, rflags);
  if (found === undefined) return "processor";
  return enterHandler(guest, found.vector, rip + found.length) ? "done" : "processor";
}

/** After a step of PUSHF: the guest does not see the trap flag that is the step's. */
export function hideTrapFlag(guest: HandStepGuest): void {
  const { rsp, ss_base } = guest.registers();
  const at = ss_base + (rsp & 0xffffn) + 1n;
  const high = new Uint8Array(1);
  try {
    guest.memory.read(at, high);
    guest.memory.write(at, Uint8Array.of(high[0] & ~TRAP_HIGH));
  } catch {
    // The stack is not in memory: nobody will read the flag back.
  }
}
