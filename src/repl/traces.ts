/** `hvsh trace GUEST -o FILE` and `hvsh diff`: programs of their own on the command line. */
import type { BackendName, GuestMachine } from "../dsl/mod.ts";
import { unwritable } from "../dsl/file_error.ts";
import type { Verdict } from "../dsl/traces.ts";
import { planGuest } from "./boot.ts";
import { reportError, ShellError } from "./error.ts";
import { parseOptions } from "./options.ts";
import { StandardOutput, writeError } from "./output.ts";

const DEFAULT_COUNT = 100_000;
const USAGE = "Write hvsh trace GUEST -o FILE, hvsh diff A B, or hvsh diff --backends A,B GUEST; --count N.";

/** What stands on such a command line. */
interface TraceLine {
  output?: string;
  backends?: string[];
  count: number;
  rest: string[];
}

/** Runs it; gives the exit status: 0, 1 for a difference, 2 for what can't be done. */
export async function runTraces(verb: "trace" | "diff", args: readonly string[]): Promise<number> {
  if (args.some((word) => ["-h", "-help", "--help"].includes(word))) {
    new StandardOutput().write(`${USAGE}\n`);
    return 0;
  }
  try {
    const line = parse(args);
    if (verb === "trace") return await trace(line);
    return line.backends === undefined ? await diffFiles(line) : await diffBackends(line, line.backends);
  } catch (error) {
    const { message, remedy } = reportError(error);
    writeError(`hvsh: ${message}\n${remedy === undefined ? "" : `${remedy}\n`}`);
    return 2;
  }
}

function parse(args: readonly string[]): TraceLine {
  const line: TraceLine = { count: DEFAULT_COUNT, rest: [] };
  for (let i = 0; i < args.length; i++) {
    const word = args[i];
    if (!["-o", "--backends", "--count"].includes(word)) {
      line.rest.push(word);
      continue;
    }
    const value = args[++i];
    if (value === undefined) throw new ShellError(`${word} lacks its value`, USAGE);
    if (word === "-o") line.output = value;
    else if (word === "--backends") line.backends = value.split(",");
    else line.count = Number(value);
  }
  if (!Number.isSafeInteger(line.count) || line.count < 1) {
    throw new ShellError("--count is a number of instructions", USAGE);
  }
  return line;
}

/** The guest of a command line, opened anew by each call: on its own backend, or on the one that is named. */
async function opener(rest: readonly string[]): Promise<(backend?: string) => Promise<GuestMachine>> {
  const line = parseOptions(rest);
  if (line.cwd !== undefined && line.cwd !== "") Deno.chdir(line.cwd);
  const { options, plug } = await planGuest(line);
  const { open } = await import("../dsl/open.ts");
  const { plugByName } = await import("./commands/plug.ts");
  return async (backend) => {
    const vm = await open({ ...options, ...(backend !== undefined && { backend: backend as BackendName }) });
    await using cleanup = new AsyncDisposableStack();
    cleanup.use(vm);
    for (const text of plug) await plugByName(vm, text);
    cleanup.move();
    return vm;
  };
}

async function trace({ output, count, rest }: TraceLine): Promise<number> {
  if (output === undefined) throw new ShellError("trace needs a file to write to", USAGE);
  const { traceLines } = await import("../dsl/traces.ts");
  await using vm = await (await opener(rest))();
  using file = await create(output);
  const writer = new TextEncoder();
  const lines = traceLines(vm, count);
  let written = 0;
  let waiting = "";
  const flush = async () => {
    for (let rest = writer.encode(waiting); rest.length > 0;) rest = rest.subarray(await file.write(rest));
    waiting = "";
  };
  for (;;) {
    const { value, done } = await lines.next();
    if (done) {
      await flush();
      const why = value === undefined ? "" : `; the guest stopped by ${value}`;
      new StandardOutput().write(`${written - 1} instructions on ${vm.backend} in ${output}${why}\n`);
      return 0;
    }
    waiting += `${value}\n`;
    written++;
    if (waiting.length > 1 << 16) await flush();
  }
}

async function create(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { write: true, create: true, truncate: true });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

async function diffFiles({ rest }: TraceLine): Promise<number> {
  const files = rest.filter((word) => !word.startsWith("--cwd="));
  const cwd = rest.find((word) => word.startsWith("--cwd="))?.slice(6);
  if (cwd !== undefined && cwd !== "") Deno.chdir(cwd);
  if (files.length !== 2) throw new ShellError("diff compares two traces", USAGE);
  const { compareFiles } = await import("../dsl/traces.ts");
  return tell(await compareFiles(files[0], files[1]), files);
}

async function diffBackends({ rest, count }: TraceLine, backends: readonly string[]): Promise<number> {
  if (backends.length !== 2) throw new ShellError("--backends names two: kvm,qemu", USAGE);
  const { compareMachines } = await import("../dsl/traces.ts");
  const open = await opener(rest);
  await using a = await open(backends[0]);
  await using b = await open(backends[1]);
  return tell(await compareMachines(a, b, count), backends);
}

/** Says what came of it. */
function tell({ same, devices = 0, difference, ended }: Verdict, [a, b]: readonly string[]): number {
  const output = new StandardOutput();
  const count = same === 1 ? "1 instruction is" : `${same} instructions are`;
  output.write(`${count} the same on both sides${ended ? `; ${ended}` : ""}\n`);
  if (devices > 0) output.write(`(memory that a device wrote was taken over ${devices} times)\n`);
  if (difference === undefined) return ended === undefined || ended.startsWith("both") ? 0 : 1;
  for (const line of difference.before) output.write(`   ${line}\n`);
  output.write(`=> 0x${difference.address.toString(16)}: ${difference.text}\n`);
  for (const { what, a: left, b: right } of difference.in) {
    output.write(`   ${what}: ${left} (${a}), ${right} (${b})\n`);
  }
  return 1;
}
