import type { Bitness } from "../x86/mode.ts";

/** Bytes of the instruction that `code` begins with. */
export async function instructionLength(code: Uint8Array, bits: Bitness): Promise<number> {
  const { disassembler } = await import("../debug/disassembly.ts");
  return (await disassembler()).decode(code, bits, 0n).length;
}
