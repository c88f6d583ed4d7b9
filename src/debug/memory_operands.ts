import type { SegmentName } from "../vm/registers.ts";
import type { RegisterName, Registers } from "../vm/registers.ts";
import { type Bitness, linear } from "../x86/mode.ts";

/** A stretch of linear memory that an instruction is about to touch. */
export interface MemoryOperand {
  readonly address: bigint;
  /** Bytes; for a REP instruction those of one iteration. */
  readonly size: number;
  /** Whether it may read there. */
  readonly read: boolean;
  /** Whether it may write there. */
  readonly write: boolean;
}

/**
 * The memory that the instruction in `code` at linear address `ip` will touch when it runs with `registers`;
 * pushes, pops and string operands included. Empty where nothing can be decoded.
 */
export type MemoryOperands = (
  code: Uint8Array,
  bitness: Bitness,
  ip: bigint,
  registers: Registers,
) => MemoryOperand[];

let loaded: Promise<MemoryOperands> | undefined;

/** Loads the instruction tables (150 ms, once). */
export function loadOperands(): Promise<MemoryOperands> {
  return loaded ??= load();
}

async function load(): Promise<MemoryOperands> {
  const iced = await import("npm:iced-x86@1.21.0");
  const { Decoder, DecoderOptions, InstructionInfoFactory, MemorySizeExt, OpAccess, Register } = iced;
  const names = new Map<number, RegisterName>();
  for (const [name, value] of Object.entries(Register)) {
    if (typeof value === "number") names.set(value, name.toLowerCase() as RegisterName);
  }
  const infos = new InstructionInfoFactory();
  const reads = new Set<number>([
    OpAccess.Read,
    OpAccess.CondRead,
    OpAccess.ReadWrite,
    OpAccess.ReadCondWrite,
  ]);
  const writes = new Set<number>([
    OpAccess.Write,
    OpAccess.CondWrite,
    OpAccess.ReadWrite,
    OpAccess.ReadCondWrite,
  ]);
  return (code, bitness, ip, registers) => {
    const decoder = new Decoder(bitness, code, DecoderOptions.None);
    decoder.ip = ip;
    const instruction = decoder.decode();
    const info = infos.info(instruction);
    const used = info.usedMemory();
    try {
      return used.filter((operand) => operand.access !== OpAccess.NoMemAccess).map((operand) => {
        const part = (register: number) => value(names.get(register), registers);
        const offset = BigInt.asUintN(
          widthOf(names.get(operand.base) ?? names.get(operand.index), bitness),
          part(operand.base) + part(operand.index) * BigInt(operand.scale) + operand.displacement,
        );
        const segment = (names.get(operand.segment) ?? "ds") as SegmentName;
        const address = linear(registers, segment, offset);
        return {
          address,
          size: MemorySizeExt.size(operand.memorySize) || 1,
          read: reads.has(operand.access),
          write: writes.has(operand.access),
        };
      });
    } finally {
      for (const operand of used) operand.free();
      info.free();
      instruction.free();
      decoder.free();
    }
  };
}

const HALF = /^e?(ax|bx|cx|dx|si|di|sp|bp)$/;

/** The value of an address register; RIP counts as 0, since iced has added it to the displacement already. */
function value(name: string | undefined, registers: Registers): bigint {
  if (name === undefined || name === "none" || name === "rip" || name === "eip") return 0n;
  const half = HALF.exec(name);
  if (half !== null) {
    return BigInt.asUintN(name.startsWith("e") ? 32 : 16, registers[`r${half[1]}` as RegisterName]);
  }
  const low = /^(r\d+)d$/.exec(name);
  if (low !== null) return BigInt.asUintN(32, registers[low[1] as RegisterName]);
  return registers[name as RegisterName] ?? 0n;
}

/** Bits of the effective address: those of its registers, else of the code. */
function widthOf(name: string | undefined, bitness: Bitness): number {
  if (name === undefined || name === "none") return bitness;
  if (/^(r\d+d|e..)$/.test(name)) return 32;
  return name.startsWith("r") ? 64 : 16;
}
