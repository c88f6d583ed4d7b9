/**
 * Agent expressions: the bytecode in which gdb sends the conditions of breakpoints (GDB manual, appendix F). They are
 * evaluated where the debugger is, right after the guest was left. What a client sends is bounded in length, in
 * steps and in depth; memory is read as the guest's, and nothing is written.
 */
import type { MaybePromise } from "../vm/backend.ts";
import type { Registers } from "../vm/registers.ts";
import { LAYOUT } from "./layout.ts";
import { PacketError } from "./text.ts";

/** Most bytes of one expression. */
export const EXPRESSION_LIMIT = 4096;
/** Most instructions of one evaluation: expressions may have loops. */
export const STEP_LIMIT = 10_000;
/** Most values on the stack. */
export const STACK_LIMIT = 128;

/** What an expression looks at. */
export interface AgentContext {
  readonly registers: Registers;
  /** Reads `length` bytes at a linear address. */
  read(address: bigint, length: number): MaybePromise<Uint8Array>;
}

/** Why an expression has no value. */
export class AgentError extends PacketError {
  override name = "AgentError";
}

const OP = {
  add: 0x02,
  sub: 0x03,
  mul: 0x04,
  divSigned: 0x05,
  divUnsigned: 0x06,
  remSigned: 0x07,
  remUnsigned: 0x08,
  lsh: 0x09,
  rshSigned: 0x0a,
  rshUnsigned: 0x0b,
  trace: 0x0c,
  traceQuick: 0x0d,
  logNot: 0x0e,
  bitAnd: 0x0f,
  bitOr: 0x10,
  bitXor: 0x11,
  bitNot: 0x12,
  equal: 0x13,
  lessSigned: 0x14,
  lessUnsigned: 0x15,
  ext: 0x16,
  ref8: 0x17,
  ref16: 0x18,
  ref32: 0x19,
  ref64: 0x1a,
  ifGoto: 0x20,
  goto: 0x21,
  const8: 0x22,
  const16: 0x23,
  const32: 0x24,
  const64: 0x25,
  reg: 0x26,
  end: 0x27,
  dup: 0x28,
  pop: 0x29,
  zeroExt: 0x2a,
  swap: 0x2b,
  pick: 0x32,
  rot: 0x33,
} as const;

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);

/** What two values become; the second was on top. */
const BINARY = new Map<number, (a: bigint, b: bigint) => bigint>([
  [OP.add, (a, b) => a + b],
  [OP.sub, (a, b) => a - b],
  [OP.mul, (a, b) => a * b],
  [OP.divSigned, (a, b) => signed(a) / divisor(signed(b))],
  [OP.divUnsigned, (a, b) => a / divisor(b)],
  [OP.remSigned, (a, b) => signed(a) % divisor(signed(b))],
  [OP.remUnsigned, (a, b) => a % divisor(b)],
  [OP.lsh, (a, b) => b > 63n ? 0n : a << b],
  [OP.rshSigned, (a, b) => signed(a) >> (b > 63n ? 63n : b)],
  [OP.rshUnsigned, (a, b) => b > 63n ? 0n : a >> b],
  [OP.bitAnd, (a, b) => a & b],
  [OP.bitOr, (a, b) => a | b],
  [OP.bitXor, (a, b) => a ^ b],
  [OP.equal, (a, b) => a === b ? 1n : 0n],
  [OP.lessSigned, (a, b) => signed(a) < signed(b) ? 1n : 0n],
  [OP.lessUnsigned, (a, b) => a < b ? 1n : 0n],
]);

/** Bytes of the number behind an instruction; most significant first (F.1). */
const OPERAND_BYTES = new Map<number, number>([
  [OP.traceQuick, 1],
  [OP.ext, 1],
  [OP.ifGoto, 2],
  [OP.goto, 2],
  [OP.const8, 1],
  [OP.const16, 2],
  [OP.const32, 4],
  [OP.const64, 8],
  [OP.reg, 2],
  [OP.zeroExt, 1],
  [OP.pick, 1],
]);

const REFERENCE_BYTES = new Map<number, number>([[OP.ref8, 1], [OP.ref16, 2], [OP.ref32, 4], [OP.ref64, 8]]);

/**
 * The value of an expression: what is on top of the stack at its end, 64 bits, unsigned.
 *
 * @throws {AgentError} If it makes no sense, goes on for too long or divides by zero.
 * @throws {FaultError} If it reads memory that is not there.
 */
export function evaluate(code: Uint8Array, context: AgentContext): MaybePromise<bigint> {
  return new Evaluation(code, context).run();
}

/** One evaluation; it pauses where memory is far away. */
class Evaluation {
  readonly #code: Uint8Array;
  readonly #context: AgentContext;
  readonly #stack: bigint[] = [];
  #pc = 0;
  #steps = 0;

  constructor(code: Uint8Array, context: AgentContext) {
    if (code.length > EXPRESSION_LIMIT) {
      throw new AgentError(`an expression has at most ${EXPRESSION_LIMIT} bytes`);
    }
    this.#code = code;
    this.#context = context;
  }

  run(): MaybePromise<bigint> {
    for (;;) {
      if (++this.#steps > STEP_LIMIT) {
        throw new AgentError(`the expression took more than ${STEP_LIMIT} steps`);
      }
      const op = this.#code[this.#pc++];
      if (op === undefined) throw new AgentError("the expression does not end");
      if (op === OP.end) return this.#pop();
      const bytes = REFERENCE_BYTES.get(op);
      if (bytes === undefined) this.#execute(op);
      else {
        const read = this.#context.read(this.#pop(), bytes);
        if (read instanceof Promise) {
          return read.then((data) => {
            this.#push(numberOf(data));
            return this.run();
          });
        }
        this.#push(numberOf(read));
      }
    }
  }

  #execute(op: number): void {
    const binary = BINARY.get(op);
    if (binary !== undefined) {
      const b = this.#pop();
      return this.#push(unsigned(binary(this.#pop(), b)));
    }
    const operand = this.#operand(OPERAND_BYTES.get(op) ?? 0);
    switch (op) {
      case OP.logNot:
        return this.#push(this.#pop() === 0n ? 1n : 0n);
      case OP.bitNot:
        return this.#push(unsigned(~this.#pop()));
      case OP.ext:
        return this.#push(unsigned(BigInt.asIntN(width(operand), this.#pop())));
      case OP.zeroExt:
        return this.#push(BigInt.asUintN(width(operand), this.#pop()));
      case OP.const8:
      case OP.const16:
      case OP.const32:
      case OP.const64:
        return this.#push(operand);
      case OP.reg:
        return this.#push(this.#register(Number(operand)));
      case OP.ifGoto:
        if (this.#pop() !== 0n) this.#pc = Number(operand);
        return;
      case OP.goto:
        this.#pc = Number(operand);
        return;
      case OP.dup:
        return this.#push(this.#peek(0));
      case OP.pop:
        this.#pop();
        return;
      case OP.pick:
        return this.#push(this.#peek(Number(operand)));
      case OP.swap: {
        const b = this.#pop();
        const a = this.#pop();
        this.#push(b);
        return this.#push(a);
      }
      case OP.rot: {
        const c = this.#pop();
        const b = this.#pop();
        const a = this.#pop();
        this.#push(c);
        this.#push(a);
        return this.#push(b);
      }
      // Traces collect data for tracepoints, which there are none of: only what they take from the stack counts.
      case OP.trace:
        this.#pop();
        this.#pop();
        return;
      case OP.traceQuick:
        return;
      default:
        throw new AgentError(`there is no instruction 0x${op.toString(16)} in conditions`);
    }
  }

  #operand(bytes: number): bigint {
    if (this.#pc + bytes > this.#code.length) {
      throw new AgentError("the expression ends within an instruction");
    }
    let value = 0n;
    for (let i = 0; i < bytes; i++) value = value << 8n | BigInt(this.#code[this.#pc++]);
    return value;
  }

  #register(number: number): bigint {
    const register = LAYOUT[number];
    if (register === undefined || register.bits > 64) {
      throw new AgentError(`register ${number} is none that a condition can look at`);
    }
    const value = this.#context.registers[register.source] >> BigInt(register.shift ?? 0);
    return BigInt.asUintN(register.shown ?? register.bits, value);
  }

  #peek(depth: number): bigint {
    const value = this.#stack[this.#stack.length - 1 - depth];
    if (value === undefined) throw new AgentError("the expression takes more from the stack than is there");
    return value;
  }

  #pop(): bigint {
    const value = this.#stack.pop();
    if (value === undefined) throw new AgentError("the expression takes more from the stack than is there");
    return value;
  }

  #push(value: bigint): void {
    if (this.#stack.length >= STACK_LIMIT) {
      throw new AgentError(`the stack has at most ${STACK_LIMIT} values`);
    }
    this.#stack.push(value);
  }
}

function divisor(value: bigint): bigint {
  if (value === 0n) throw new AgentError("the expression divides by zero");
  return value;
}

/** Bits to extend from: 1 to 64. */
function width(operand: bigint): number {
  if (operand < 1n || operand > 64n) throw new AgentError(`a value has 1 to 64 bits, not ${operand}`);
  return Number(operand);
}

/** A little-endian number, as x86 has them. */
function numberOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return value;
}
