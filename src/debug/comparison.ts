/** Two recordings of one guest, instruction by instruction: where do they first differ? */
import type { RegisterName } from "../vm/registers.ts";
import type { Instruction } from "./instruction.ts";
import { ExcusedMemory } from "./excused_memory.ts";
import { RECORDED, type RecordedStep } from "./recording.ts";
import { flagMask, undefinedFlags } from "./undefined_flags.ts";

/** Instructions whose results are the host's or a device's, not the program's. */
const FOREIGN =
  /^(rdtscp?|cpuid|rdrand|rdseed|rdpmc|rdmsr|in|insb|insw|insd|xgetbv|rdpid|sgdt|sidt|smsw|str|sldt)$/;
/** RF is set and cleared by debuggers and interrupts: which step shows it is no part of the program (SDM vol. 3B, 17.3.1.1). */
const RF = 1n << 16n;

/** What one side did, as the comparison wants it. */
export interface Side {
  readonly step: RecordedStep;
  /** Recorded registers behind the step. */
  readonly state: ReadonlyMap<RegisterName, bigint>;
}

/** One thing in which two steps differ. */
export interface Difference {
  /** A register, "address", or "memory 0x...". */
  readonly what: string;
  /** The first side's value. */
  readonly a: string;
  /** The second side's. */
  readonly b: string;
}

/** Compares steps in their order, and remembers what may differ for a reason that is known. */
export class Comparison {
  /** Registers that differ because of an instruction that is allowed to. */
  readonly excused = new Set<string>();
  /** Memory that differs because an excused register or result was stored there. */
  readonly #memory = new ExcusedMemory();
  #flags = 0n;

  /** Registers that differ from the start are excused. */
  constructor(a: ReadonlyMap<RegisterName, bigint>, b: ReadonlyMap<RegisterName, bigint>) {
    for (const name of RECORDED) {
      if (a.get(name) !== b.get(name) && name !== "rip" && name !== "rflags") this.excused.add(name);
    }
  }

  /** Whether an instruction's results are the host's or a device's. */
  isForeign(instruction: Instruction | undefined): boolean {
    return instruction !== undefined && FOREIGN.test(instruction.mnemonic);
  }

  /** How the bytes of two instructions differ, if they do. */
  code({ code: a }: RecordedStep, { code: b }: RecordedStep): Difference | undefined {
    // One and the same where the second was not read.
    const same = a === b || a.length === b.length && a.every((byte, i) => byte === b[i]);
    return same ? undefined : { what: "code", a: a.toHex(), b: b.toHex() };
  }

  /** The differences of one step; empty if there are none that count. */
  next(a: Side, b: Side, instruction: Instruction | undefined): Difference[] {
    const found: Difference[] = [];
    if (a.step.address !== b.step.address) {
      return [{ what: "address", a: hex(a.step.address), b: hex(b.step.address) }];
    }
    const code = this.code(a.step, b.step);
    if (code !== undefined) return [code];
    const spreads = this.isForeign(instruction) ||
      instruction?.registersRead.some((name) => this.excused.has(full(name))) ||
      [...a.step.reads, ...b.step.reads].some((range) => this.#memory.holds(range));
    const written = new Set(instruction?.registersWritten.map(full));
    if (instruction !== undefined) {
      const undefinedNow = undefinedFlags(instruction.mnemonic);
      this.#flags = this.#flags & ~flagMask(instruction.flagsWritten) | undefinedNow;
      if (spreads) this.#flags |= flagMask(instruction.flagsWritten);
    }
    for (const name of RECORDED) {
      const [left, right] = [a.state.get(name) ?? 0n, b.state.get(name) ?? 0n];
      if (name === "rflags") {
        const differing = (left ^ right) & ~(this.#flags | RF);
        if (differing !== 0n) found.push({ what: name, a: hex(left), b: hex(right) });
      } else if (left === right) this.excused.delete(name);
      else if (spreads && written.has(name)) this.excused.add(name);
      else if (!this.excused.has(name)) found.push({ what: name, a: hex(left), b: hex(right) });
    }
    // What PUSHF stores are the flags, those that may differ among them.
    const storesFlags = instruction !== undefined && /^pushf/.test(instruction.mnemonic) &&
      this.#flags !== 0n;
    if (spreads || storesFlags) this.#memory.excuse(a.step, b.step);
    else {
      found.push(...writesDiffer(a.step, b.step));
      this.#memory.forget(a.step);
    }
    return found;
  }
}

function writesDiffer(a: RecordedStep, b: RecordedStep): Difference[] {
  const found: Difference[] = [];
  a.writes.forEach(({ address, bytes }, i) => {
    const other = b.writes.find((write, j) => write.address === address || i === j);
    const [left, right] = [bytes.toHex(), other?.address === address ? other.bytes.toHex() : "not written"];
    if (left !== right) found.push({ what: `memory 0x${address.toString(16)}`, a: left, b: right });
  });
  return found;
}

function hex(value: bigint | undefined): string {
  return value === undefined ? "nothing" : `0x${value.toString(16)}`;
}

/** The 64-bit register that a name is a part of. */
function full(name: string): string {
  const lower = name.toLowerCase();
  const byte = /^([abcd])[lh]$/.exec(lower);
  if (byte !== null) return `r${byte[1]}x`;
  const low = /^(?:e|r)?(ax|bx|cx|dx|si|di|sp|bp)l?$/.exec(lower);
  if (low !== null) return `r${low[1]}`;
  return /^(r\d+)[bwdl]$/.exec(lower)?.[1] ?? lower;
}
