/** Runs recorded instruction by instruction, and two of them compared. */
import { Comparison, type Difference } from "../debug/comparison.ts";
import { disassembler } from "../debug/disassembler.ts";
import { instructionOf, type RecordedStep, Recorder } from "../debug/recording.ts";
import { headerLine, readHeader, readStep, stepLine } from "../debug/recording_file.ts";
import { gva } from "../vm/address.ts";
import { FaultError } from "../vm/errors.ts";
import type { Machine } from "../vm/machine.ts";
import { breather } from "../vm/promise.ts";
import type { RegisterName } from "../vm/registers.ts";
import { fileLines } from "./file_lines.ts";

/** How many instructions are shown before a difference. */
const SHOWN = 5;
/** Shown for an instruction whose code is in no memory. */
const NO_CODE = "(code that can't be read)";

/** What came of a comparison. */
export interface Verdict {
  /** Instructions that were the same. */
  readonly same: number;
  /** How often memory that a device had written, or answers for, was taken over; in lock step only. */
  readonly devices?: number;
  /** Where they differ; undefined if they don't. */
  readonly difference?: {
    readonly address: bigint;
    /** The instruction. */
    readonly text: string;
    readonly in: readonly Difference[];
    /** The instructions before it, oldest first. */
    readonly before: readonly string[];
  };
  /** Why a side ended before the other, or before it had all. */
  readonly ended?: string;
}

/**
 * Steps a guest and gives a line for each instruction, as a file of a trace has them.
 *
 * @param count The most instructions.
 * @returns Why it ended before, if it did.
 */
export async function* traceLines(vm: Machine, count: number): AsyncGenerator<string, string | undefined> {
  const recorder = await Recorder.of(vm);
  const breathe = breather();
  yield headerLine(vm.backend, recorder.state);
  for (let i = 0; i < count; i++) {
    const step = await recorder.step();
    if (typeof step === "string") return step;
    yield stepLine(step);
    await breathe();
  }
  return undefined;
}

/** Compares two files of traces. @throws {InputError} If one can't be read, or makes no sense. */
export async function compareFiles(a: string, b: string): Promise<Verdict> {
  const [left, right] = [fileLines(a), fileLines(b)];
  try {
    return await compareLines([a, left], [b, right]);
  } finally {
    await left.return(undefined);
    await right.return(undefined);
  }
}

type NamedLines = readonly [string, AsyncIterator<string, undefined>];

async function compareLines([a, left]: NamedLines, [b, right]: NamedLines): Promise<Verdict> {
  const [one, other] = [
    readHeader((await left.next()).value ?? ""),
    readHeader((await right.next()).value ?? ""),
  ];
  const comparison = new Comparison(one.state, other.state);
  const decode = await disassembler();
  const before: string[] = [];
  const breathe = breather();
  for (let same = 0;; same++) {
    const [x, y] = [(await left.next()).value, (await right.next()).value];
    if (x === undefined && y === undefined) return { same };
    if (x === undefined || y === undefined) {
      return { same, ended: `${x === undefined ? a : b} ends before the other` };
    }
    // The header is line 1.
    const [mine, its] = [readStep(x, same + 2), readStep(y, same + 2)];
    apply(one.state, mine);
    apply(other.state, its);
    const instruction = instructionOf(mine, decode);
    const text = instruction?.text ?? NO_CODE;
    const found = comparison.next(
      { step: mine, state: one.state },
      { step: its, state: other.state },
      instruction,
    );
    if (found.length > 0) return { same, difference: { address: mine.address, text, in: found, before } };
    remember(before, mine.address, text);
    await breathe();
  }
}

/**
 * Runs the same guest on two machines in lock step. What an instruction gets from the host or a device (RDTSC,
 * CPUID, IN and their like, and loads of what a device wrote) the second takes over from the first.
 *
 * @param count The most instructions.
 */
export async function compareMachines(a: Machine, b: Machine, count: number): Promise<Verdict> {
  const [one, other] = [await Recorder.of(a), await Recorder.of(b)];
  const comparison = new Comparison(one.state, other.state);
  const before: string[] = [];
  let devices = 0;
  const breathe = breather();
  for (let i = 0; i < count; i++) {
    const upcoming = await one.next();
    const its = await other.next(upcoming);
    let [left, right] = await Promise.all([one.step(upcoming), other.step(its)]);
    // QEMU's translator reports a step before a store into the page that runs, and does it with the next.
    if (moved(left) !== moved(right)) {
      if (moved(left)) right = await other.step();
      else left = await one.step();
    }
    if (typeof left === "string" || typeof right === "string") {
      // QEMU tells of what a device ended (the debug-exit port) a step later.
      if (typeof right !== "string") right = endOr(right, await other.step());
      else if (typeof left !== "string") left = endOr(left, await one.step());
      if (left === right) return { same: i, devices, ended: `both: ${left}` };
      const said = (name: string, step: RecordedStep | string) =>
        `${name} ${typeof step === "string" ? `stopped by ${step}` : "went on"}`;
      return { same: i, devices, ended: `${said(a.backend, left)}, ${said(b.backend, right)}` };
    }
    const { instruction } = upcoming;
    const text = instruction?.text ?? NO_CODE;
    if (instruction?.mnemonic === "pause") await catchUp(one, other);
    let found = comparison.next(
      { step: left, state: one.state },
      { step: right, state: other.state },
      instruction,
    );
    const fromDevice = found.length > 0 && await takeMemoryOver(left, a, b);
    if (fromDevice) devices++;
    if (found.length > 0 && !fromDevice) {
      const code = comparison.code(left, await other.withCode(right));
      if (code !== undefined) found = [code];
      return { same: i, devices, difference: { address: left.address, text, in: found, before } };
    }
    if (fromDevice) await other.adopt(found.flatMap(({ what }) => registerOf(what, one.state)));
    else if (comparison.isForeign(instruction)) await other.adopt(differing(left, other.state));
    remember(before, left.address, text);
    await breathe();
  }
  return { same: count, devices };
}

/** What ended the run in the step behind, or else the step before. */
function endOr(step: RecordedStep, next: RecordedStep | string): RecordedStep | string {
  return typeof next === "string" ? next : step;
}

/** Whether a step did something, or ended the run. */
function moved(step: RecordedStep | string): boolean {
  return typeof step === "string" || step.registers.has("rip");
}

/** QEMU's translator steps PAUSE and what follows as one (target/i386, do_pause): who is behind does one more. */
async function catchUp(one: Recorder, other: Recorder): Promise<void> {
  const [mine, its] = [one.state.get("rip")!, other.state.get("rip")!];
  if (mine !== its) await (mine < its ? one : other).step();
}

/**
 * Whether memory that a step read holds something else on the second machine, or is a device's: all that instructions
 * write is compared when they write it, so that a device wrote it. The second machine then gets what the first has.
 */
async function takeMemoryOver({ reads }: RecordedStep, a: Machine, b: Machine): Promise<boolean> {
  const [mine, its] = [a.vcpus[0].memory, b.vcpus[0].memory];
  let different = false;
  for (const { address, size } of reads) {
    try {
      const bytes = await mine.read(gva(address), size);
      if (bytes.toHex() === (await its.read(gva(address), size)).toHex()) continue;
      await its.write(gva(address), bytes);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
    different = true;
  }
  return different;
}

/** What the first side's step set, where the other has something else. */
function differing(left: RecordedStep, state: ReadonlyMap<RegisterName, bigint>): [RegisterName, bigint][] {
  return [...left.registers].filter(([name, value]) => name !== "rip" && state.get(name) !== value);
}

/** A register and its value, if `what` is one that can be taken over. */
function registerOf(what: string, state: ReadonlyMap<RegisterName, bigint>): [RegisterName, bigint][] {
  const value = what === "rip" ? undefined : state.get(what as RegisterName);
  return value === undefined ? [] : [[what as RegisterName, value]];
}

function apply(state: Map<RegisterName, bigint>, step: RecordedStep): void {
  for (const [name, value] of step.registers) state.set(name, value);
}

function remember(before: string[], address: bigint, text: string): void {
  before.push(`0x${address.toString(16)}: ${text}`);
  if (before.length > SHOWN) before.shift();
}
