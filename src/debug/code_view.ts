import { FaultError, InputError } from "../vm/errors.ts";
import type { LinearMemory } from "../vm/machine.ts";
import type { Registers } from "../vm/registers.ts";
import { type Bitness, bitness, cpuMode } from "../x86/mode.ts";
import { disassembler } from "./disassembler.ts";
import { bytesBefore, type Syntax } from "./disassembly.ts";
import { type Instruction, LONGEST_INSTRUCTION } from "./instruction.ts";

/** What is disassembled, and how. */
export interface DisassembleOptions {
  /** How many instructions from the address on; 10 if left out. */
  count?: number;
  /** How many before it, on top; 0 if left out. */
  before?: number;
  /** First address behind the code: then as many instructions as lie before it, at most `count` (or 1024). */
  end?: bigint;
  /** Code size; that of the vCPU's mode if left out. */
  bitness?: Bitness;
  /** How text is written; "nasm" if left out. */
  syntax?: Syntax;
}

/** More than a screen ever shows. */
const COUNT_LIMIT = 65536;
const PAGE = 4096;

/**
 * Disassembles guest memory at a linear address.
 *
 * @param registers Tell the mode.
 * @param symbol Names addresses.
 * @throws {FaultError} If not even the first byte can be read.
 */
export async function disassembleMemory(
  memory: LinearMemory,
  registers: Registers,
  at: bigint,
  options: DisassembleOptions,
  symbol: (address: bigint) => string | undefined,
): Promise<Instruction[]> {
  const count = whole("count", options.count ?? (options.end === undefined ? 10 : 1024));
  const before = whole("before", options.before ?? 0);
  const decoder = await disassembler();
  const bits = options.bitness ?? bitness(registers);
  const decoding = {
    symbol,
    csBase: registers.cs_base,
    realMode: cpuMode(registers) === "real",
    ...(options.syntax && { syntax: options.syntax }),
  };
  const ahead = options.end === undefined
    ? count * LONGEST_INSTRUCTION
    : Number(options.end > at ? options.end - at : 0n);
  const code = await readable(memory, at, Math.min(ahead, COUNT_LIMIT * LONGEST_INSTRUCTION));
  const list = decoder.list(code, bits, at, count, decoding);
  if (before === 0) return list;
  const wanted = BigInt(bytesBefore(before));
  const start = at < wanted ? 0n : at - wanted;
  const earlier = await readableBefore(memory, start, at);
  return [...decoder.before(earlier, bits, at - BigInt(earlier.length), before, decoding), ...list];
}

/** Up to `length` bytes at `at`: what lies before the first page that can't be read. */
async function readable(memory: LinearMemory, at: bigint, length: number): Promise<Uint8Array> {
  try {
    return await memory.read(at, length);
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    const inPage = PAGE - Number(at & BigInt(PAGE - 1));
    if (inPage >= length) throw error;
    const parts: Uint8Array[] = [await memory.read(at, inPage)];
    let done = inPage;
    while (done < length) {
      const size = Math.min(PAGE, length - done);
      try {
        parts.push(await memory.read(at + BigInt(done), size));
      } catch (later) {
        if (!(later instanceof FaultError)) throw later;
        break;
      }
      done += size;
    }
    return join(parts);
  }
}

/** The bytes right before `end`, back to `start` or to the last page that can't be read. */
async function readableBefore(memory: LinearMemory, start: bigint, end: bigint): Promise<Uint8Array> {
  for (let from = start; from < end; from = (from | BigInt(PAGE - 1)) + 1n) {
    try {
      return await memory.read(from, Number(end - from));
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
  }
  return new Uint8Array();
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function whole(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > COUNT_LIMIT) {
    throw new InputError(`${name} is a whole number from 0 to ${COUNT_LIMIT}, not ${value}`);
  }
  return value;
}
