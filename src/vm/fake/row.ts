import type { Handler } from "./core.ts";

/** An opcode: `[number, form, what it does]`; two-byte opcodes are 0x0f00 and up. */
export type OpcodeRow = readonly [opcode: number, form: number, run: Handler];

/** The same row for `count` opcodes in a row. */
export function span(opcode: number, count: number, form: number, run: Handler): OpcodeRow[] {
  return Array.from({ length: count }, (_, i) => [opcode + i, form, run] as const);
}
