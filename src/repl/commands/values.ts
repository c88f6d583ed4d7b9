/** Expressions, addresses and symbols as commands use them. */
import type { Gpa, Gva, ProgramSymbol, Registers } from "../../dsl/mod.ts";
import { gpa, gva, InputError, segmented } from "../../dsl/nouns.ts";
import { bitness, cpl, cpuMode, linear, type SegmentName } from "../../dsl/modes.ts";
import {
  addressOf,
  evaluateLater,
  ExpressionError,
  type Names,
  type Node,
  parsePrefix,
  type Request,
  type Scalar,
  type Value,
} from "../expression.ts";
import type { Session } from "../session.ts";
import { segmentBase } from "./segment.ts";
import { guest, registersOf, vcpuOf } from "./selected.ts";
import { stateOf } from "./state.ts";

/** What names mean to this session, with these registers. */
export function namesFor(session: Session, registers: Registers): Names {
  const vm = session.vm;
  return {
    register: (name) => (name === "cpl" ? BigInt(cpl(registers)) : registers[name]),
    linear: (segment: SegmentName, offset: bigint) => linear(registers, segment, offset),
    symbol: (name) => vm?.symbols.lookup(name),
    variableType: (name) => typeOf(vm?.symbols.symbol(name)),
    variable: (name) => variable(session, name),
    get word() {
      return ({ 16: 2, 32: 4, 64: 8 } as const)[bitness(registers)];
    },
  };
}

/**
 * gdb's variables: `$`, `$$`, `$1` and `$$2` of the printed values, `$_exitcode` once the guest ended with one,
 * `$_thread`, and those that `set` made.
 */
function variable(session: Session, name: string): bigint | undefined {
  const { history, variables } = stateOf(session);
  if (name === "") return history.at(-1)?.value;
  if (name === "$") return history.at(-2)?.value;
  if (/^\$?\d+$/.test(name)) {
    const n = Number(name.replace("$", ""));
    return (name.startsWith("$") ? history.at(-1 - n) : history[n - 1])?.value;
  }
  if (name === "_thread") return session.vm === undefined ? 0n : BigInt(session.vcpu) + 1n;
  const stop = session.vm?.lastStop;
  if (name === "_exitcode" && stop?.kind === "exit") return BigInt(stop.code);
  return variables.get(name);
}

/** An object of 1, 2, 4 or 8 bytes is taken for an unsigned number: the table knows no more of it. */
function typeOf(symbol: ProgramSymbol | undefined): Scalar | undefined {
  if (symbol?.kind !== "object") return undefined;
  const bytes = ([1, 2, 4, 8] as const).find((n) => BigInt(n) === symbol.size);
  return bytes === undefined ? undefined : { bytes, signed: false };
}

/** Answers what an expression asks of the machine. */
export function answering(session: Session, registers: Registers): (request: Request) => Promise<bigint> {
  const vm = guest(session);
  const vcpu = vcpuOf(session);
  return async (request) => {
    switch (request.kind) {
      case "memory":
        return request.space === "gpa"
          ? await vm.memory.readUint(gpa(request.address), request.bytes)
          : await vcpu.memory.readUint(gva(request.address), request.bytes);
      case "msr":
        return await vcpu.readMsr(request.index);
      case "segment-base":
        return await segmentBase(vcpu, registers, request.selector);
      default:
        return request satisfies never;
    }
  };
}

/** Works an expression out; without a guest, numbers and variables still work. */
export async function evaluate(session: Session, source: string | Node): Promise<Value> {
  if (session.vm === undefined) return await evaluateLater(source, NO_GUEST(session), noGuest);
  const registers = await registersOf(session);
  return await evaluateLater(source, namesFor(session, registers), answering(session, registers));
}

const noGuest = (): never => {
  throw new InputError("No guest is open, so there is no memory or register to read");
};

function NO_GUEST(session: Session): Names {
  return {
    register: noGuest,
    linear: noGuest,
    symbol: () => undefined,
    variable: (name) => variable(session, name),
    word: 8,
  };
}

/** A number that counts something. @throws {InputError} If it is negative or above `most`. */
export async function evaluateCount(
  session: Session,
  source: string,
  what: string,
  most = 1n << 32n,
): Promise<number> {
  const { value } = await evaluate(session, source);
  if (value < 0n || value > most) throw new InputError(`${what} must be 0 to ${most}; got ${value}`);
  return Number(value);
}

/** An address ready to be given to the machine. */
export interface Place {
  readonly space: "gpa" | "gva";
  /** The plain number. */
  readonly at: bigint;
  /** Branded, with segment and offset where they were written. */
  readonly address: Gpa | Gva;
  readonly value: Value;
}

/** Makes an address of a value. */
export function placeOf(value: Value, registers: Registers): Place {
  const { space, at } = addressOf(value, { linear: (segment, offset) => linear(registers, segment, offset) });
  if (space === "gpa") return { space, at, address: gpa(at), value };
  const real = () => cpuMode(registers) === "real" || cpuMode(registers) === "virtual-8086";
  const far = value.segmented !== undefined && value.segmented.offset <= 0xffffn && real()
    ? value.segmented
    : undefined;
  return { space, at, address: far === undefined ? gva(at) : segmented(far.selector, far.offset), value };
}

/** Works out an expression that is an address. A leading `*` as in `break *ADDRESS` has to be cut off before. */
export async function evaluateAddress(session: Session, source: string | Node): Promise<Place> {
  const registers = await registersOf(session);
  const value = await evaluate(session, source);
  // `x counter` is about the variable, as `watch counter` is: not about where its value leads.
  return placeOf(value.symbol === undefined ? value : { value: value.symbol, pointer: true }, registers);
}

/** Cuts `rest` into an expression and what follows it. */
export function splitExpression(rest: string): { source: string; node: Node; rest: string } {
  const { node, end } = parsePrefix(rest);
  return { source: rest.slice(0, end).trim(), node, rest: rest.slice(end).trim() };
}

/** Several expressions, with commas or blanks between: `fill START, LENGTH, VALUE`. */
export function splitExpressions(rest: string): string[] {
  const found: string[] = [];
  let left = rest.trim();
  while (left !== "") {
    if (found.length > 256) throw new InputError("Too many arguments");
    if (/^["']/.test(left)) {
      const quoted = /^("(?:[^"\\]|\\.)*"|'[^']*')\s*,?\s*/.exec(left);
      if (quoted === null) {
        throw new ExpressionError("A quote is never closed", rest, rest.length - left.length);
      }
      found.push(quoted[1]);
      left = left.slice(quoted[0].length);
      continue;
    }
    const { source, rest: after } = splitExpression(left);
    found.push(source);
    left = after.replace(/^,\s*/, "");
  }
  return found;
}
