import { disassembler } from "../debug/disassembler.ts";
import type { Bitness } from "../x86/mode.ts";

/** Bytes of the instruction that `code` begins with. */
export async function instructionLength(code: Uint8Array, bits: Bitness): Promise<number> {
  return (await disassembler()).decode(code, bits, 0n).length;
}
