import type { BackendMemory } from "../vm/backend.ts";
import { FaultError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { linearRip } from "../x86/mode.ts";
import { type Translation, walk } from "../x86/paging.ts";

const HLT = 0xf4;

type Memory = Pick<BackendMemory, "read">;

/** Whether the next instruction is HLT; false where its byte can't be read. */
export function standsAtHlt(registers: Registers, memory: Memory): boolean {
  return byteAt(registers, memory, linearRip(registers)) === HLT;
}

/** Whether the last instruction may have been HLT: true where its byte can't be read. */
export function standsBehindHlt(registers: Registers, memory: Memory): boolean {
  const byte = byteAt(registers, memory, BigInt.asUintN(64, linearRip(registers) - 1n));
  return byte === undefined || byte === HLT;
}

function byteAt(registers: Registers, memory: Memory, linear: bigint): number | undefined {
  const byte = new Uint8Array(1);
  try {
    // KVM's memory answers at once, and so does a walk through it.
    const found = walk(registers, linear, (at, into) => memory.read(at, into)) as Translation;
    if (!found.ok) return undefined;
    memory.read(found.gpa, byte);
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    return undefined;
  }
  return byte[0];
}
