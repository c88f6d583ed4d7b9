/** The door to the disassembler: most sessions never ask for an instruction, and pay nothing for it. */
import type { Disassembler } from "./disassembly.ts";

export type { Disassembler } from "./disassembly.ts";

let loading: Promise<Disassembler> | undefined;

/** The disassembler; the first call loads it with iced-x86, which takes 150 ms. */
export function disassembler(): Promise<Disassembler> {
  return loading ??= import("./disassembly.ts").then(({ loadDisassembler }) => loadDisassembler());
}
