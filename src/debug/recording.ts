import type { Machine } from "../vm/machine.ts";
import { FaultError } from "../vm/errors.ts";
import type { RegisterName, Registers } from "../vm/registers.ts";
import { GENERAL } from "../vm/registers.ts";
import type { Stop } from "../vm/stop.ts";
import { type Bitness, bitness, linearRip } from "../x86/mode.ts";
import { CarriedCaches } from "./carried.ts";
import { type Disassembler, disassembler } from "./disassembler.ts";
import { type Instruction, LONGEST_INSTRUCTION } from "./instruction.ts";
import { loadOperands, type MemoryOperand, type MemoryOperands } from "./memory_operands.ts";

/** The registers that a recording follows. */
export const RECORDED: readonly RegisterName[] = [
  ...GENERAL,
  ...["cs", "ds", "es", "fs", "gs", "ss", "cr0", "cr2", "cr3", "cr4", "efer"] as const,
];

/** More than any instruction touches at once, but for those that save a whole state. */
export const OPERAND_LIMIT = 4096;

/** Bytes of what a REP instruction reads or writes that are recorded at most; of more nothing is. */
const REPEATED_LIMIT = 256n << 10n;
/** RFLAGS: interrupts are let in; string instructions go down. */
const IF = 1n << 9n;
const DF = 1n << 10n;

/** Decoded instructions that are kept: loops find theirs again. */
const DECODED = 4096;

/** One instruction that was run, and what it changed. */
export interface RecordedStep {
  /** Linear address. */
  readonly address: bigint;
  /** Its bytes. */
  readonly code: Uint8Array;
  /** Bits of the code it was decoded in. */
  readonly bitness: 16 | 32 | 64;
  /** Recorded registers that have another value now. */
  readonly registers: ReadonlyMap<RegisterName, bigint>;
  /** Memory that it read: linear addresses, bytes. */
  readonly reads: readonly { readonly address: bigint; readonly size: number }[];
  /** Memory that it wrote, as it is now: linear addresses. */
  readonly writes: readonly { readonly address: bigint; readonly bytes: Uint8Array }[];
}

/** The instruction that a guest is about to run. */
export interface Upcoming {
  /** Linear address. */
  readonly address: bigint;
  readonly bitness: Bitness;
  /** Its bytes; none where no code can be read. */
  readonly code: Uint8Array;
  /** Undefined where no code can be read: the step is a fault, or an instruction out of a ROM that is no memory. */
  readonly instruction: Instruction | undefined;
}

/** Steps a guest, and tells after each instruction what it changed. */
export class Recorder {
  /** The recorded registers as they are now. */
  readonly state: Map<RegisterName, bigint>;
  readonly #vm: Machine;
  readonly #decode: Disassembler;
  readonly #operands: MemoryOperands;
  readonly #decoded = new Map<string, Instruction>();
  readonly #caches: CarriedCaches;
  /** Instructions of another recording that stand here too. */
  readonly #shared = new WeakSet<Instruction>();
  #registers: Registers;

  private constructor(vm: Machine, registers: Registers, decode: Disassembler, operands: MemoryOperands) {
    this.#vm = vm;
    this.#caches = new CarriedCaches(registers);
    this.#registers = this.#caches.over(registers);
    this.#decode = decode;
    this.#operands = operands;
    this.state = stateOf(registers);
  }

  /** Begins where the guest's first vCPU stands. */
  static async of(vm: Machine): Promise<Recorder> {
    return new Recorder(vm, await vm.vcpus[0].registers(), await disassembler(), await loadOperands());
  }

  #decodedAt(code: Uint8Array, bitness: Bitness, address: bigint): Instruction | undefined {
    if (code.length === 0) return undefined;
    const key = `${address.toString(16)} ${bitness} ${code.toHex()}`;
    const known = this.#decoded.get(key);
    if (known !== undefined) return known;
    const instruction = this.#decode.decode(code, bitness, address);
    if (this.#decoded.size >= DECODED) this.#decoded.clear();
    this.#decoded.set(key, instruction);
    return instruction;
  }

  /** Takes registers over from another recording of the same guest. */
  async adopt(values: readonly (readonly [RegisterName, bigint])[]): Promise<void> {
    if (values.length === 0) return;
    await this.#vm.vcpus[0].setRegisters(Object.fromEntries(values));
    // None of them is part of a descriptor cache.
    this.#registers = this.#caches.over(await this.#vm.vcpus[0].registers());
    for (const [name, value] of values) this.state.set(name, value);
  }

  /**
   * A REP instruction to its end: how many iterations one step does is up to the processor, or to who emulates it. No
   * interrupt comes between them, as none comes with a step.
   */
  async #repeated({ rflags }: Registers): Promise<Stop> {
    const [vcpu] = this.#vm.vcpus;
    const open = (rflags & IF) !== 0n;
    if (open) await vcpu.setRegisters({ rflags: rflags & ~IF });
    const stop = await this.#vm.stepOver({ vcpu: 0 });
    if (open && this.#vm.state === "paused") {
      await vcpu.setRegisters({ rflags: (await vcpu.registers()).rflags | IF });
    }
    return stop;
  }

  /**
   * What the next step will run.
   *
   * @param expected What another recording of the same guest is about to run. Found here once, it is not read again:
   * behind a stub that takes as long as a quarter of the step. `withCode` looks again.
   */
  async next(expected?: Upcoming): Promise<Upcoming> {
    const address = linearRip(this.#registers);
    const bits = bitness(this.#registers);
    const same = expected?.address === address && expected.bitness === bits;
    if (same && expected.instruction !== undefined && this.#shared.has(expected.instruction)) return expected;
    const bytes = await read(this.#vm.vcpus[0].memory, address, LONGEST_INSTRUCTION);
    const instruction = this.#decodedAt(bytes, bits, address);
    const code = bytes.slice(0, instruction?.length ?? 0);
    if (same && expected.instruction !== undefined && expected.code.toHex() === code.toHex()) {
      this.#shared.add(expected.instruction);
    }
    return { address, bitness: bits, code, instruction };
  }

  /** A step with the code that stands there now. */
  async withCode(step: RecordedStep): Promise<RecordedStep> {
    return { ...step, code: await read(this.#vm.vcpus[0].memory, step.address, step.code.length) };
  }

  /** Runs one instruction. Gives a text instead if the guest stopped for another reason, or can't go on. */
  async step(upcoming?: Upcoming): Promise<RecordedStep | string> {
    const { address, bitness: bits, code, instruction } = upcoming ?? await this.next();
    const [vcpu] = this.#vm.vcpus;
    const before = this.#registers;
    const touched = instruction === undefined || instruction.memory.length === 0
      ? []
      : this.#operands(code, bits, address, before).filter(({ size }) => size <= OPERAND_LIMIT);
    // The vCPU that stopped last, as it will be but for the first time, is stepped by a shorter way.
    const stop = instruction?.rep === undefined
      ? await this.#vm.step(this.#vm.lastStop?.vcpu.index === 0 ? 1 : { vcpu: 0 })
      : await this.#repeated(before);
    if (stop.kind !== "step") return "reason" in stop ? `${stop.kind}: ${stop.reason}` : stop.kind;
    const now = instruction?.rep === undefined ? stop.registers : await vcpu.registers();
    const iterations = instruction?.rep === undefined ? 1n : before.rcx - now.rcx;
    this.#registers = this.#caches.after(instruction, now);
    const registers = new Map<RegisterName, bigint>();
    for (const name of RECORDED) {
      const value = now[name];
      if (this.state.get(name) === value) continue;
      registers.set(name, value);
      this.state.set(name, value);
    }
    const operands = touched.flatMap((operand) =>
      stretched(operand, iterations, (before.rflags & DF) !== 0n)
    );
    const writes = [];
    for (const { address: at, size, write } of operands) {
      if (write) writes.push({ address: at, bytes: await read(vcpu.memory, at, size) });
    }
    const reads = operands.filter(({ read }) => read).map(({ address, size }) => ({ address, size }));
    return { address, code, bitness: bits, registers, reads, writes };
  }
}

/** A REP instruction's operand over all its iterations; none where there was no iteration, or far too much. */
function stretched(operand: MemoryOperand, iterations: bigint, down: boolean): MemoryOperand[] {
  const size = BigInt(operand.size) * iterations;
  if (size <= 0n || size > REPEATED_LIMIT) return [];
  const address = down ? operand.address - size + BigInt(operand.size) : operand.address;
  return [{ ...operand, address, size: Number(size) }];
}

/** The instruction of a step; undefined where no code could be read. */
export function instructionOf(
  { code, bitness, address }: RecordedStep,
  decode: Disassembler,
): Instruction | undefined {
  return code.length === 0 ? undefined : decode.decode(code, bitness, address);
}

function stateOf(registers: Registers): Map<RegisterName, bigint> {
  return new Map(RECORDED.map((name) => [name, registers[name]]));
}

/** What can be read of a range: less where it leaves memory. */
async function read(memory: Machine["vcpus"][0]["memory"], at: bigint, length: number): Promise<Uint8Array> {
  const toPageEnd = Number(4096n - (at & 4095n));
  for (const size of length > toPageEnd ? [length, toPageEnd] : [length]) {
    try {
      return await memory.read(at, size);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
  }
  return new Uint8Array();
}
