/**
 * gdb-like expressions over registers, symbols and memory.
 *
 * - numbers: `0x7c00`, `31744`, `0b101`, `0o17`, `7c00h`, `64K`
 * - registers: `$rax`, `$eax`, `$al`, `$pc`, `$sp`, `$cr3`, `$cs_base`, `$cpl`; `$1`, `$`, `$mine`
 * - addresses: `kernel_main+0x10`, `f000:fff0`, `$es:$di`, `phys(0x1000)`
 * - memory: `*$rsp`, `{u16}0x46c`, `*(u32*)ADDRESS`, `(i8)$al`; `msr(0xc0000080)`
 * - operators of C, with C's precedence, `a ? b : c` and `sizeof` among them
 */
import { evaluation } from "./expression/evaluate.ts";
import { type Node, parse } from "./expression/parser.ts";
import type { Names, Request, Value } from "./expression/value.ts";

export { ExpressionError } from "./expression/lexer.ts";
export { type Node, parse, parseAssignment, parsePrefix, typeNamed } from "./expression/parser.ts";
export { partOf, registerAliases, registerPart, withPart } from "./expression/registers.ts";
export {
  addressOf,
  convert,
  type Names,
  type Place,
  type RegisterPart,
  type Request,
  type Scalar,
  type Value,
} from "./expression/value.ts";

/**
 * Works out an expression whose needs are answered at once: a breakpoint's condition.
 *
 * @throws {InputError} If it makes no sense. @throws Whatever `answer` throws.
 */
export function evaluateNow(
  source: string | Node,
  names: Names,
  answer: (request: Request) => bigint,
): Value {
  const steps = evaluation(typeof source === "string" ? parse(source) : source, names);
  let step = steps.next();
  while (!step.done) step = steps.next(answer(step.value));
  return step.value;
}

/**
 * Works out an expression whose needs take time: what the prompt does.
 *
 * @throws {InputError} If it makes no sense. @throws Whatever `answer` throws.
 */
export async function evaluateLater(
  source: string | Node,
  names: Names,
  answer: (request: Request) => Promise<bigint>,
): Promise<Value> {
  const steps = evaluation(typeof source === "string" ? parse(source) : source, names);
  let step = steps.next();
  while (!step.done) step = steps.next(await answer(step.value));
  return step.value;
}
