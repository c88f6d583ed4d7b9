/** Expressions, addresses and symbols as commands use them. */
import {
  type Gpa,
  gpa,
  type GuestMachine,
  type Gva,
  gva,
  InputError,
  type ProgramSymbol,
  type RegisterName,
  type Registers,
  segmented,
} from "../../dsl/mod.ts";
import { bitness, cpl, cpuMode, linear, linearRip, type SegmentName } from "../../dsl/x86.ts";
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
import { stateOf } from "./state.ts";

/** The session's guest. @throws {InputError} If none is open. */
export function guest(session: Session): GuestMachine {
  if (session.vm === undefined) {
    throw new InputError("No guest is open", {
      remedy: "open one: open, boot FILE, or start hvsh with -bios or -kernel",
    });
  }
  return session.vm;
}

/** The vCPU that commands speak of. */
export function vcpuOf(session: Session): GuestMachine["vcpus"][number] {
  const vm = guest(session);
  return vm.vcpus[session.vcpu] ?? vm.vcpus[0];
}

/**
 * The registers of the selected frame: those of the vCPU, with RIP, RSP and RBP as they are in the frame that
 * `frame`, `up` and `down` chose.
 */
export async function registersOf(session: Session): Promise<Registers> {
  const registers = await vcpuOf(session).registers().catch((error) => {
    if (guest(session).state !== "running") throw error;
    return unread(error);
  });
  const frame = session.frame > 0 ? session.backtrace?.frames[session.frame] : undefined;
  if (frame === undefined) return registers;
  const changed: Partial<Record<RegisterName, bigint>> = {
    rip: frame.rip,
    rsp: frame.stackPointer,
    rbp: frame.framePointer,
  };
  return new Proxy(registers, {
    get: (target, name) => changed[name as RegisterName] ?? target[name as RegisterName],
  });
}

/** Registers of a guest that runs: numbers and physical addresses need none, and whatever does is refused. */
function unread(error: Error): Registers {
  return new Proxy({} as Registers, {
    get(_, name) {
      if (name === "then") return undefined; // it is no promise
      throw error;
    },
  });
}

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

/** "kernel_main+0x10", or undefined where no symbol is near. */
export function symbolAt(vm: GuestMachine | undefined, address: bigint): string | undefined {
  return vm?.symbols.format(address);
}

/** The linear address of the instruction at CS:RIP of the selected frame. */
export async function linearPc(session: Session): Promise<bigint> {
  return linearRip(await registersOf(session));
}

/** Bytes of memory at a place, in its space. @throws {FaultError} */
export function readPlace(
  session: Session,
  place: { space: "gpa" | "gva"; at: bigint },
  length: number,
): Promise<Uint8Array> {
  return place.space === "gpa"
    ? guest(session).memory.read(gpa(place.at), length)
    : vcpuOf(session).memory.read(gva(place.at), length);
}

/** Writes bytes at a place, in its space. @throws {FaultError} */
export function writePlace(
  session: Session,
  place: { space: "gpa" | "gva"; at: bigint },
  bytes: Uint8Array,
): Promise<void> {
  return place.space === "gpa"
    ? guest(session).memory.write(gpa(place.at), bytes)
    : vcpuOf(session).memory.write(gva(place.at), bytes);
}

/** `value` as `bytes` little-endian bytes. */
export function littleEndian(value: bigint, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Number(value >> BigInt(8 * i) & 0xffn));
}

/** Little-endian bytes as an unsigned number. */
export function unsigned(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return value;
}
