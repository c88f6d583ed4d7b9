import type { Handler } from "./core.ts";
import { ARITHMETIC_ROWS } from "./ops/arithmetic.ts";
import { BIT_ROWS } from "./ops/bits.ts";
import { CONTROL_ROWS } from "./ops/control.ts";
import { MOVE_ROWS } from "./ops/move.ts";
import { PORT_ROWS } from "./ops/ports.ts";
import { SHIFT_ROWS } from "./ops/shift.ts";
import { STRING_ROWS } from "./ops/string.ts";
import { SYSTEM_ROWS } from "./ops/system.ts";

/** What follows an opcode, and what it does. */
export interface Row {
  readonly form: number;
  readonly run: Handler;
}

const ONE: (Row | undefined)[] = new Array(256).fill(undefined);
const TWO: (Row | undefined)[] = new Array(256).fill(undefined);

for (
  const [opcode, form, run] of [
    ...ARITHMETIC_ROWS,
    ...BIT_ROWS,
    ...CONTROL_ROWS,
    ...MOVE_ROWS,
    ...PORT_ROWS,
    ...SHIFT_ROWS,
    ...STRING_ROWS,
    ...SYSTEM_ROWS,
  ]
) {
  (opcode < 0x100 ? ONE : TWO)[opcode & 0xff] = { form, run };
}

/** The row of an opcode (0x0f00 and up for two-byte ones), or undefined if the interpreter has none. */
export function rowOf(opcode: number): Row | undefined {
  return opcode < 0x100 ? ONE[opcode] : TWO[opcode & 0xff];
}
