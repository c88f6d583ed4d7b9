/** What stands behind `if`: an expression of the shell, or a TypeScript closure. */
import type { AccessHit, Condition, Hit, Registers } from "../../dsl/mod.ts";
import { gpa, gva, InputError } from "../../dsl/nouns.ts";
import { linear } from "../../dsl/modes.ts";
import { evaluateNow, type Names, type Node, parse, type Request } from "../expression.ts";
import type { Session } from "../session.ts";
import { unsigned, vcpuOf } from "./selected.ts";
import { namesFor } from "./values.ts";

/** Whether the text is TypeScript: an arrow function or `function`. */
export function isClosure(text: string): boolean {
  return /^(async\s+)?(function\b|\w+\s*=>|\([^()]*\)\s*(:\s*\w+\s*)?=>)/.test(text.trim());
}

/**
 * A condition for a breakpoint. Expressions run next to the vCPU without waiting: they may read registers and
 * memory, not MSRs.
 *
 * @throws {ExpressionError} If the expression makes no sense; before the guest runs.
 */
export async function breakpointCondition(session: Session, text: string): Promise<Condition> {
  if (isClosure(text)) return await closure<Condition>(session, text);
  const node = parse(text);
  checkNames(node, namesFor(session, await vcpuOf(session).registers()));
  return (hit) => {
    const names = namesFor(session, hit.registers);
    const { value } = evaluateNow(node, names, (request) => answer(request, hit));
    return value !== 0n;
  };
}

/** A condition for a catch: besides registers it knows `$value`, `$old`, `$address` and `$write`. */
export async function accessCondition(
  session: Session,
  text: string,
): Promise<(hit: AccessHit) => boolean | Promise<boolean>> {
  if (isClosure(text)) return await closure<(hit: AccessHit) => boolean | Promise<boolean>>(session, text);
  const node = parse(text);
  const known = namesFor(session, await vcpuOf(session).registers());
  checkNames(node, {
    ...known,
    variable: (name) => (ACCESS_VARIABLES.includes(name) ? 0n : known.variable(name)),
  });
  return (hit) => {
    const shell = namesFor(session, hit.registers);
    const names: Names = {
      ...shell,
      variable(name) {
        if (name === "value") return unsigned(hit.data.subarray(0, 8));
        if (name === "old") return hit.before === undefined ? 0n : unsigned(hit.before);
        if (name === "address") return hit.address;
        if (name === "write") return hit.write ? 1n : 0n;
        return shell.variable(name);
      },
    };
    return evaluateNow(node, names, () => {
      throw new InputError("A catch's condition can't read memory", { remedy: "use a TypeScript closure" });
    }).value !== 0n;
  };
}

const ACCESS_VARIABLES = ["value", "old", "address", "write"];

/**
 * A name that nobody knows is told when the condition is set, not when it is first hit.
 *
 * @throws {InputError} If there is one.
 */
function checkNames(node: Node, names: Names): void {
  switch (node.kind) {
    case "number":
    case "register":
      return;
    case "name":
    case "variable":
      return void evaluateNow(node, names, () => 0n);
    case "segmented":
      checkNames(node.segment, names);
      return checkNames(node.offset, names);
    case "binary":
      checkNames(node.left, names);
      return checkNames(node.right, names);
    case "choice":
      checkNames(node.condition, names);
      checkNames(node.yes, names);
      return checkNames(node.no, names);
    case "unary":
    case "read":
    case "cast":
    case "call":
    case "size":
      return checkNames(node.operand, names);
    default:
      return node satisfies never;
  }
}

async function closure<T>(session: Session, text: string): Promise<T> {
  const made = await session.evaluate(`(${text})`);
  if (typeof made === "function") return made as T;
  throw new InputError("The condition is not a function", {
    remedy: "example: (hit) => hit.registers.rax === 5n",
  });
}

function answer(request: Request, hit: Hit): bigint {
  switch (request.kind) {
    case "memory":
      return hit.readUint(
        request.space === "gpa" ? gpa(request.address) : gva(request.address),
        request.bytes,
      );
    case "segment-base":
      return realBase(hit.registers, request.selector);
    case "msr":
      throw new InputError("A breakpoint's condition can't read an MSR", {
        remedy: "use a TypeScript closure",
      });
    default:
      return request satisfies never;
  }
}

/** A loaded segment with that selector, else what real mode makes of it. */
function realBase(registers: Registers, selector: number): bigint {
  for (const name of ["cs", "ds", "es", "ss", "fs", "gs"] as const) {
    if (Number(registers[name]) === selector) return linear(registers, name, 0n);
  }
  if ((registers.cr0 & 1n) === 0n) return BigInt(selector) * 16n;
  throw new InputError(`Selector 0x${selector.toString(16)} is not loaded, and a condition can't look it up`);
}
