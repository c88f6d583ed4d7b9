/**
 * Descriptor caches from step to step. Behind a GDB stub they cost more than the step itself, and hardly any
 * instruction loads one: they are read anew where one may have been, and else taken over from before.
 */
import type { RegisterName, Registers } from "../vm/registers.ts";
import { SEGMENTS } from "../vm/registers.ts";
import type { Instruction } from "./instruction.ts";

const CACHES: readonly RegisterName[] = SEGMENTS.flatMap((name) =>
  [`${name}_base`, `${name}_limit`, `${name}_attributes`] as const
);
const SELECTORS: ReadonlySet<string> = new Set(SEGMENTS);
/** What loads a cache without naming its register, or may: far transfers, and bases that are MSRs. */
const LOADS =
  /^(l[defgs]s|retf|iret[dq]?|int.*|into|syscall|sysret[q]?|sysenter|sysexit[q]?|rsm|wrmsr.*|swapgs|wr[fg]sbase|lmsw|lldt|ltr|vm.*)$/;
/** Registers whose change decides what caches mean, or came with a load. */
const TELLTALE: readonly RegisterName[] = ["cs", "ds", "es", "fs", "gs", "ss", "cr0", "efer"];

/** Keeps descriptor caches over instructions that load none. */
export class CarriedCaches {
  #values: ReadonlyMap<RegisterName, bigint>;
  #last: Registers;

  constructor(now: Registers) {
    this.#values = read(now);
    this.#last = now;
  }

  /** The registers behind `instruction`, which ran from those of before; undefined if it is not known. */
  after(instruction: Instruction | undefined, now: Registers): Registers {
    if (this.#mayHaveLoaded(instruction, now)) this.#values = read(now);
    this.#last = now;
    return this.over(now);
  }

  /** `now`, its descriptor caches being those that are kept. */
  over(now: Registers): Registers {
    const values = this.#values;
    return new Proxy(now, {
      get: (target, name) => values.get(name as RegisterName) ?? Reflect.get(target, name, target),
    });
  }

  #mayHaveLoaded(instruction: Instruction | undefined, now: Registers): boolean {
    if (instruction === undefined) return true;
    const before = this.#last;
    if (instruction.far !== undefined || LOADS.test(instruction.mnemonic)) return true;
    if (/ far /.test(instruction.text)) return true;
    if (instruction.registersWritten.some((name) => SELECTORS.has(name))) return true;
    if (TELLTALE.some((name) => before[name] !== now[name])) return true;
    // Anywhere but behind it: an exception's handler, of a segment that its gate names.
    const length = BigInt(instruction.length);
    return instruction.flow === "next" && instruction.rep === undefined && now.rip !== before.rip + length;
  }
}

function read(registers: Registers): ReadonlyMap<RegisterName, bigint> {
  return new Map(CACHES.map((name) => [name, registers[name]]));
}
