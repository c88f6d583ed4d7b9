import { InputError, MACHINE } from "../../dsl/nouns.ts";
import type { Node } from "./parser.ts";
import { partOf, registerPart } from "./registers.ts";
import {
  addressOf,
  convert,
  type Names,
  type RegisterPart,
  type Request,
  type Scalar,
  type Value,
  wrap,
} from "./value.ts";

/**
 * Works an expression out. It yields what it needs from the machine and is handed the answer, so that the same
 * code serves the prompt, which may wait, and breakpoint conditions, which may not.
 *
 * @throws {InputError} For an unknown name, a division by zero, or an address that makes no sense.
 */
export function* evaluation(node: Node, names: Names): Generator<Request, Value, bigint> {
  switch (node.kind) {
    case "number":
      return { value: node.value };
    case "register":
      return register(node.part, names);
    case "variable": {
      const value = node.name === "cpl" ? names.register("cpl") : names.variable(node.name);
      if (value === undefined) {
        throw new InputError(`$${node.name} is neither a register nor a variable`, {
          remedy: "info registers lists the registers; set $NAME = EXPRESSION makes a variable",
        });
      }
      return { value, place: { kind: "variable", name: node.name } };
    }
    case "name":
      return yield* named(node.name, names);
    case "segmented":
      return yield* segmented(node.segment, yield* evaluation(node.offset, names), names);
    case "unary":
      return unary(node.operator, yield* evaluation(node.operand, names));
    case "binary":
      return yield* binary(node.operator, node.left, node.right, names);
    case "choice": {
      const { value } = yield* evaluation(node.condition, names);
      return yield* evaluation(value === 0n ? node.no : node.yes, names);
    }
    case "size":
      // As in C nothing is read to know how long it is.
      if (node.operand.kind === "read" && node.operand.type) {
        return { value: BigInt(node.operand.type.bytes) };
      }
      return { value: BigInt(bytesOf(yield* evaluation(node.operand, names))) };
    case "read":
      return yield* read(node.type, yield* pointerIn(node.operand, names), names);
    case "cast": {
      const inner = node.pointer
        ? yield* pointerIn(node.operand, names)
        : yield* evaluation(node.operand, names);
      if (!node.pointer) return { value: convert(inner.value, node.type), type: node.type };
      return { ...inner, pointee: node.type, pointer: true };
    }
    case "call":
      return yield* call(node.name, yield* evaluation(node.operand, names), names);
  }
}

function register(part: RegisterPart, names: Names): Value {
  const place = { kind: "register", ...part } as const;
  const value = partOf(names.register(place.register), place);
  const whole = place.shift === 0 && place.bits >= 16;
  if (place.register === "rip" && whole) return { value, place, segment: "cs", pointer: true };
  if (place.register === "rsp" && whole) return { value, place, segment: "ss" };
  if (place.register === "rbp" && whole) return { value, place, segment: "ss" };
  return { value, place };
}

/** What is followed or made a pointer: of a variable that is its address, as in an assembler. */
function* pointerIn(node: Node, names: Names): Generator<Request, Value, bigint> {
  const symbol = node.kind === "name" ? names.symbol(node.name) : undefined;
  return symbol === undefined ? yield* evaluation(node, names) : { value: symbol, pointer: true };
}

/**
 * A symbol, or for convenience a register without its dollar sign. As in C a variable is its value, and a function,
 * a label or an array its address; which it is, the symbol table's kind and size say.
 */
function* named(name: string, names: Names): Generator<Request, Value, bigint> {
  const symbol = names.symbol(name);
  const type = names.variableType?.(name);
  if (symbol !== undefined && type !== undefined) {
    return { ...yield* read(type, { value: symbol, pointer: true }, names), symbol };
  }
  if (symbol !== undefined) return { value: symbol, pointer: true };
  const part = registerPart(name);
  if (part) return register(part, names);
  // gdb's arrays; names of symbols with a version have an @ too.
  const [, array, length] = /^(\w+)@(\d+)$/.exec(name) ?? [];
  throw new InputError(`No symbol "${name}" here`, {
    remedy: array === undefined
      ? "load symbols with symbol-file FILE; info symbols lists them"
      : `hvsh has no @ for arrays: x/${length}gx &${array} shows ${length} of them`,
  });
}

function* segmented(segment: Node, offset: Value, names: Names): Generator<Request, Value, bigint> {
  const off = BigInt.asUintN(64, offset.value);
  const loaded = segment.kind === "register" || segment.kind === "name"
    ? registerPart(segment.name)?.register
    : undefined;
  switch (loaded) {
    case "cs":
    case "ds":
    case "es":
    case "fs":
    case "gs":
    case "ss": {
      const selector = Number(names.register(loaded) & 0xffffn);
      return { value: names.linear(loaded, off), segmented: { selector, offset: off }, pointer: true };
    }
  }
  const { value } = yield* evaluation(segment, names);
  if (value < 0n || value > 0xffffn) {
    throw new InputError(
      `A segment selector has 16 bits; 0x${BigInt.asUintN(64, value).toString(16)} does not fit`,
    );
  }
  const selector = Number(value);
  const base = yield { kind: "segment-base", selector };
  return { value: BigInt.asUintN(64, base + off), segmented: { selector, offset: off }, pointer: true };
}

function unary(operator: string, { value, ...rest }: Value): Value {
  switch (operator) {
    case "-":
      return { value: wrap(-value) };
    case "~":
      return { value: wrap(~value) };
    case "!":
      return { value: value === 0n ? 1n : 0n };
    case "&":
      // Of memory: its address. What is no variable is its address already.
      if (rest.place?.kind !== "memory") return { ...rest, value, place: undefined, pointer: true };
      return { value: rest.place.address, space: rest.place.space, pointee: rest.place.type, pointer: true };
    default:
      return { value };
  }
}

function* binary(operator: string, l: Node, r: Node, names: Names): Generator<Request, Value, bigint> {
  const left = yield* evaluation(l, names);
  if (operator === "&&" && left.value === 0n) return { value: 0n };
  if (operator === "||" && left.value !== 0n) return { value: 1n };
  const right = yield* evaluation(r, names);
  if (operator === "+" || operator === "-") return sum(operator, left, right);
  return { value: wrap(arithmetic(operator, left.value, right.value)) };
}

/** Address plus or minus number stays an address of the same space and segment. */
function sum(operator: "+" | "-", left: Value, right: Value): Value {
  const base = isAddress(left) ? left : operator === "+" && isAddress(right) ? right : undefined;
  const value = wrap(operator === "+" ? left.value + right.value : left.value - right.value);
  if (base === undefined || (isAddress(left) && isAddress(right))) return { value };
  const { space, segment, pointee, pointer, segmented } = base;
  const other = base === left ? right.value : left.value;
  const offset = segmented && segmented.offset + (operator === "+" ? other : -other);
  const kept = segmented && offset !== undefined && offset >= 0n && offset <= 0xffffn
    ? { selector: segmented.selector, offset }
    : undefined;
  return { value, space, segment, pointee, pointer, segmented: kept };
}

function isAddress(value: Value): boolean {
  return value.pointer === true || value.space !== undefined || value.segment !== undefined;
}

/** Operators on mathematical integers; `==` and `!=` compare the low 64 bits. */
function arithmetic(operator: string, left: bigint, right: bigint): bigint {
  const truth = (is: boolean) => (is ? 1n : 0n);
  switch (operator) {
    case "*":
      return left * right;
    case "/":
    case "%":
      if (right === 0n) throw new InputError("Division by zero");
      return operator === "/" ? left / right : left % right;
    case "<<":
    case ">>":
      if (right < 0n) throw new InputError("A shift count can't be negative");
      if (operator === "<<") return right > 63n ? 0n : BigInt.asUintN(64, left << right);
      return right > 63n ? (left < 0n ? -1n : 0n) : left >> right;
    case "&":
      return left & right;
    case "|":
      return left | right;
    case "^":
      return left ^ right;
    case "==":
      return truth(equal(left, right));
    case "!=":
      return truth(!equal(left, right));
    case "<":
      return truth(left < right);
    case "<=":
      return truth(left <= right);
    case ">":
      return truth(left > right);
    case ">=":
      return truth(left >= right);
    case "&&":
    case "||":
      return truth(right !== 0n);
    default:
      throw new InputError(`The operator ${operator} is unknown`);
  }
}

/** A vector register is compared whole, everything else by its low 64 bits. */
function equal(left: bigint, right: bigint): boolean {
  if (left === right) return true;
  if (left >= 1n << 64n || right >= 1n << 64n) return false;
  return BigInt.asUintN(64, left) === BigInt.asUintN(64, right);
}

/** Bytes of a value: of its type, its register or its place in memory; a bare number is an address's size. */
function bytesOf({ type, place }: Value): number {
  if (type !== undefined) return type.bytes;
  if (place?.kind === "memory") return place.type.bytes;
  if (place?.kind === "register") return Math.ceil(place.bits / 8);
  return 8;
}

function* read(type: Scalar | undefined, operand: Value, names: Names): Generator<Request, Value, bigint> {
  const taken = type ?? operand.pointee ?? { bytes: names.word, signed: false };
  const { at, space } = addressOf(operand, names);
  const raw = yield { kind: "memory", address: at, space, bytes: taken.bytes };
  return {
    value: convert(raw, taken),
    type: type ?? operand.pointee,
    place: { kind: "memory", address: at, space, type: taken },
  };
}

function* call(name: string, operand: Value, names: Names): Generator<Request, Value, bigint> {
  switch (name) {
    case "phys":
      return {
        value: BigInt.asUintN(64, operand.value),
        space: "gpa",
        pointee: operand.pointee,
        pointer: true,
      };
    case "mfn": {
      if (operand.value < 0n || operand.value >= MACHINE >> 12n) {
        throw new InputError("A machine frame's number has 44 bits");
      }
      return { value: MACHINE + (operand.value << 12n), space: "gpa", pointer: true };
    }
    case "linear":
      return { value: addressOf(operand, names).at, space: "gva", pointee: operand.pointee, pointer: true };
    default: {
      if (operand.value < 0n || operand.value > 0xffff_ffffn) {
        throw new InputError("An MSR's number has 32 bits");
      }
      return { value: yield { kind: "msr", index: Number(operand.value) } };
    }
  }
}
