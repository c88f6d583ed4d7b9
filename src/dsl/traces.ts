/** Runs recorded instruction by instruction, and two of them compared. */
import { Comparison, type Difference } from "../debug/comparison.ts";
import { disassembler } from "../debug/disassembly.ts";
import { type RecordedStep, Recorder } from "../debug/recording.ts";
import { headerLine, readHeader, readStep, stepLine } from "../debug/recording_file.ts";
import { InputError } from "../vm/errors.ts";
import type { Machine } from "../vm/machine.ts";
import type { RegisterName } from "../vm/registers.ts";

/** How many instructions are shown before a difference. */
const SHOWN = 5;
/** How often the event loop gets its turn, at least. */
const TURN_MS = 5;
const FILE_LIMIT = 2 ** 31;

/** What came of a comparison. */
export interface Verdict {
  /** Instructions that were the same. */
  readonly same: number;
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
  yield headerLine(vm.backend, recorder.state);
  for (let i = 0; i < count; i++) {
    const step = await recorder.step();
    if (typeof step === "string") return step;
    yield stepLine(step);
    await breathe();
  }
  return undefined;
}

/** Compares two files of traces. @throws {InputError} If one makes no sense. */
export async function compareFiles(a: string, b: string): Promise<Verdict> {
  const [left, right] = [await lines(a), await lines(b)];
  const [one, other] = [readHeader(left[0] ?? ""), readHeader(right[0] ?? "")];
  const comparison = new Comparison(one.state, other.state);
  const decode = await disassembler();
  const before: string[] = [];
  const most = Math.min(left.length, right.length);
  for (let i = 1; i < most; i++) {
    const steps = [readStep(left[i], i + 1), readStep(right[i], i + 1)] as const;
    apply(one.state, steps[0]);
    apply(other.state, steps[1]);
    const { code, bitness, address } = steps[0];
    const instruction = decode.decode(code, bitness, address);
    const found = comparison.next(
      { step: steps[0], state: one.state },
      { step: steps[1], state: other.state },
      instruction,
    );
    if (found.length > 0) {
      return { same: i - 1, difference: { address, text: instruction.text, in: found, before } };
    }
    remember(before, address, instruction.text);
  }
  const ended = left.length === right.length
    ? undefined
    : `${left.length < right.length ? a : b} ends before the other`;
  return { same: most - 1, ...(ended && { ended }) };
}

/**
 * Runs the same guest on two machines in lock step. What an instruction gets from the host or a device (RDTSC,
 * CPUID, IN and their like) the second takes over from the first.
 *
 * @param count The most instructions.
 */
export async function compareMachines(a: Machine, b: Machine, count: number): Promise<Verdict> {
  const [one, other] = [await Recorder.of(a), await Recorder.of(b)];
  const comparison = new Comparison(one.state, other.state);
  const before: string[] = [];
  for (let i = 0; i < count; i++) {
    const [left, right] = await Promise.all([one.step(), other.step()]);
    if (typeof left === "string" || typeof right === "string") {
      if (left === right) return { same: i, ended: `both: ${left}` };
      const said = (name: string, step: RecordedStep | string) =>
        `${name} ${typeof step === "string" ? `stopped by ${step}` : "went on"}`;
      return { same: i, ended: `${said(a.backend, left)}, ${said(b.backend, right)}` };
    }
    const instruction = one.instruction(left);
    const found = comparison.next(
      { step: left, state: one.state },
      { step: right, state: other.state },
      instruction,
    );
    if (found.length > 0) {
      return { same: i, difference: { address: left.address, text: instruction.text, in: found, before } };
    }
    if (comparison.isForeign(instruction)) await other.adopt(differing(left, other.state));
    remember(before, left.address, instruction.text);
    await breathe();
  }
  return { same: count };
}

/** What the first side's step set, where the other has something else. */
function differing(left: RecordedStep, state: ReadonlyMap<RegisterName, bigint>): Map<RegisterName, bigint> {
  return new Map([...left.registers].filter(([name, value]) => name !== "rip" && state.get(name) !== value));
}

function apply(state: Map<RegisterName, bigint>, step: RecordedStep): void {
  for (const [name, value] of step.registers) state.set(name, value);
}

function remember(before: string[], address: bigint, text: string): void {
  before.push(`0x${address.toString(16)}: ${text}`);
  if (before.length > SHOWN) before.shift();
}

async function lines(path: string): Promise<string[]> {
  try {
    if ((await Deno.stat(path)).size > FILE_LIMIT) {
      throw new InputError(`${path} has more than 2 GiB`, { remedy: "trace fewer instructions (--count)" });
    }
    return (await Deno.readTextFile(path)).trimEnd().split("\n");
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${path} can't be read`, { cause, remedy: "check the path" });
  }
}

let turned = 0;

/** A turn of the event loop, if it is time for one. */
async function breathe(): Promise<void> {
  if (performance.now() - turned < TURN_MS) return;
  await new Promise((resolve) => setImmediate(resolve));
  turned = performance.now();
}
