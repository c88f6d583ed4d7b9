/** Recordings in files: a line of JSON for each instruction, numbers in hexadecimal. */
import { InputError } from "../vm/errors.ts";
import type { RegisterName } from "../vm/registers.ts";
import { OPERAND_LIMIT, RECORDED, type RecordedStep } from "./recording.ts";

/** The first line of a file. */
export interface RecordingHeader {
  readonly hvsh: "trace";
  readonly version: 1;
  /** Through which hypervisor it was made. */
  readonly backend: string;
  /** The registers before the first instruction. */
  readonly start: Readonly<Record<string, string>>;
}

/** The first line. */
export function headerLine(backend: string, state: ReadonlyMap<RegisterName, bigint>): string {
  const start = Object.fromEntries([...state].map(([name, value]) => [name, value.toString(16)]));
  return JSON.stringify({ hvsh: "trace", version: 1, backend, start } satisfies RecordingHeader);
}

/** An instruction's line. */
export function stepLine({ address, code, bitness, registers, reads, writes }: RecordedStep): string {
  return JSON.stringify({
    at: address.toString(16),
    code: code.toHex(),
    bits: bitness,
    regs: Object.fromEntries([...registers].map(([name, value]) => [name, value.toString(16)])),
    ...(reads.length > 0 && { from: reads.map((r) => [r.address.toString(16), r.size]) }),
    ...(writes.length > 0 && { mem: writes.map((w) => [w.address.toString(16), w.bytes.toHex()]) }),
  });
}

/** Reads the first line. @throws {InputError} If it is none. */
export function readHeader(line: string): { backend: string; state: Map<RegisterName, bigint> } {
  const fields = parse(line, 1);
  if (fields.hvsh !== "trace" || fields.version !== 1) {
    throw new InputError("this is no trace of hvsh's", { remedy: "hvsh trace GUEST -o FILE makes one" });
  }
  return { backend: String(fields.backend), state: registersOf(fields.start, 1) };
}

/** Reads an instruction's line. @throws {InputError} If it makes no sense. */
export function readStep(line: string, number: number): RecordedStep {
  const { at, code, bits, regs, from = [], mem = [] } = parse(line, number);
  if (bits !== 16 && bits !== 32 && bits !== 64) throw wrong(number);
  if (!Array.isArray(mem) || !Array.isArray(from)) throw wrong(number);
  return {
    address: hex(at, number),
    code: bytes(code, number),
    bitness: bits,
    registers: registersOf(regs, number),
    reads: from.map((read) => {
      if (!Array.isArray(read)) throw wrong(number);
      return { address: hex(read[0], number), size: sizeOf(read[1], number) };
    }),
    writes: mem.map((write) => {
      if (!Array.isArray(write)) throw wrong(number);
      return { address: hex(write[0], number), bytes: bytes(write[1], number) };
    }),
  };
}

function parse(line: string, number: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (typeof value !== "object" || value === null) throw wrong(number);
  return value as Record<string, unknown>;
}

function registersOf(value: unknown, number: number): Map<RegisterName, bigint> {
  if (typeof value !== "object" || value === null) throw wrong(number);
  const known: ReadonlySet<string> = new Set(RECORDED);
  return new Map(
    Object.entries(value).map(([name, text]) => {
      if (!known.has(name)) throw wrong(number);
      return [name as RegisterName, hex(text, number)];
    }),
  );
}

function hex(value: unknown, number: number): bigint {
  if (typeof value !== "string" || !/^[0-9a-f]{1,16}$/.test(value)) throw wrong(number);
  return BigInt(`0x${value}`);
}

function sizeOf(value: unknown, number: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > OPERAND_LIMIT) {
    throw wrong(number);
  }
  return value;
}

function bytes(value: unknown, number: number): Uint8Array {
  if (typeof value !== "string" || !/^([0-9a-f]{2})*$/.test(value)) throw wrong(number);
  return Uint8Array.fromHex(value);
}

function wrong(number: number): InputError {
  return new InputError(`line ${number} of the trace makes no sense`, { remedy: "make the trace anew" });
}
