import type { BackendMemory } from "../vm/backend.ts";
import { FaultError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { linearRip } from "../x86/mode.ts";
import { type Translation, walk } from "../x86/paging.ts";

const HLT = 0xf4;

/** Whether the next instruction is HLT; false where its byte can't be read. */
export function standsAtHlt(registers: Registers, memory: Pick<BackendMemory, "read">): boolean {
  const byte = new Uint8Array(1);
  try {
    // KVM's memory answers at once, and so does a walk through it.
    const found = walk(registers, linearRip(registers), (at, into) => memory.read(at, into)) as Translation;
    if (!found.ok) return false;
    memory.read(found.gpa, byte);
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    return false;
  }
  return byte[0] === HLT;
}
