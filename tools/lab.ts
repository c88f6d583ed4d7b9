/**
 * `deno task lab`: an ordinary kvm_amd host, or a Xen host, for one command or for longer. See docs/labs.md.
 */
import { parseArgs } from "node:util";
import { LAB_FAILED, LabError, TIMED_OUT } from "../tests/lab/errors.ts";
import { folderNames, labsFolder, qemuProcess, readRecord, sweep } from "../tests/lab/folder.ts";
import { Lab } from "../tests/lab/lab.ts";
import type { LabKind } from "../tests/lab/qemu.ts";
import { startLab } from "../tests/lab/start.ts";
import { forwardSignals, runHere } from "./lab_terminal.ts";

const USAGE =
  `deno task lab kvm [OPTIONS] -- COMMAND ...   run COMMAND as root on a kvm_amd host, in this folder
deno task lab xen [OPTIONS] -- COMMAND ...   the same in dom0 of a Xen host
deno task lab exec NAME [OPTIONS] -- COMMAND ...
deno task lab stop NAME ... | --all
deno task lab list

  --shell            an interactive shell in place of COMMAND, or COMMAND on a terminal
  --keep             leave the lab up: prints its name, for "lab exec" and "lab stop"
  --name NAME        its name, in place of kvm-1 and so on
  --share DIR        a folder that is writable inside; may be given more than once. All else that is written is lost
  --timeout SECONDS  for COMMAND: then it gets SIGTERM, 5 s later SIGKILL
  --boot-timeout SECONDS   for the lab to come up: 300
  --memory MIB       of the whole lab: 4096
  --cpus N           2
  --verbose          say what happens when

The exit code is COMMAND's; ${TIMED_OUT} when its time was over, ${LAB_FAILED} when the lab failed, 126 or 127 when COMMAND could not be run.`;

const OPTIONS = {
  shell: { type: "boolean" },
  keep: { type: "boolean" },
  all: { type: "boolean" },
  verbose: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  name: { type: "string" },
  share: { type: "string", multiple: true },
  timeout: { type: "string" },
  "boot-timeout": { type: "string" },
  memory: { type: "string" },
  cpus: { type: "string" },
} as const;

/** A call that can't be understood. */
class UsageError extends Error {}

type Values = ReturnType<typeof parse>["values"];

function parse(args: string[]) {
  const end = args.indexOf("--");
  const [own, command] = end < 0 ? [args, []] : [args.slice(0, end), args.slice(end + 1)];
  try {
    const { values, positionals } = parseArgs({ args: own, options: OPTIONS, allowPositionals: true });
    return { values, positionals, command };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** A positive number, or undefined when the option isn't there. */
function number(values: Values, name: "timeout" | "boot-timeout" | "memory" | "cpus"): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) {
    throw new UsageError(`--${name} takes a positive number, not "${text}".`);
  }
  return value;
}

/** What to run: COMMAND, or a shell. */
function commandLine(command: string[], values: Values): string[] {
  if (command.length > 0) return command;
  if (values.shell) return [Deno.env.get("SHELL") ?? "/bin/sh"];
  throw new UsageError("No command: give one after --, or --shell.");
}

async function boot(kind: LabKind, command: string[], values: Values): Promise<number> {
  const keepOnly = values.keep && command.length === 0 && !values.shell;
  const argv = keepOnly ? [] : commandLine(command, values);
  const started = performance.now();
  const terminal = Deno.stderr.isTerminal();
  const say = (text: string) => {
    const line = `lab ${kind}: ${text} (${((performance.now() - started) / 1000).toFixed(1)} s)`;
    if (values.verbose) console.error(line);
    else if (terminal) Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${line}`));
  };
  const clear = () => {
    if (terminal && !values.verbose) Deno.stderr.writeSync(new TextEncoder().encode("\r\x1b[K"));
  };
  const seconds = number(values, "boot-timeout");
  const abort = new AbortController();
  const signals = forwardSignals(() => abort.abort());
  let lab: Lab;
  try {
    lab = await startLab(kind, {
      memory: number(values, "memory"),
      cpus: number(values, "cpus"),
      shares: values.share,
      name: values.name,
      keep: values.keep,
      bootTimeoutMs: seconds && seconds * 1000,
      abort: abort.signal,
      progress: say,
    });
    say("up");
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    return 128 + 2;
  } finally {
    signals.remove();
    clear();
  }
  if (!lab.record.vouched) console.error(`lab ${kind}: ${lab.record.check}`);
  try {
    return keepOnly
      ? 0
      : await runHere(lab, argv, { shell: values.shell, timeout: number(values, "timeout") });
  } finally {
    if (values.keep) {
      console.error(`The lab ${lab.name} is up: deno task lab exec ${lab.name} -- COMMAND ...`);
      console.error(`               End it with: deno task lab stop ${lab.name}`);
    } else {
      await lab.stop();
      say("gone");
      clear();
    }
  }
}

async function stop(names: string[], values: Values): Promise<number> {
  const wanted = values.all ? folderNames() : names;
  if (wanted.length === 0 && !values.all) throw new UsageError("Which lab? deno task lab list shows them.");
  for (const name of wanted) {
    if (!values.all) Lab.find(name);
    await new Lab(name).stop();
  }
  return 0;
}

async function list(): Promise<number> {
  await sweep();
  for (const name of folderNames()) {
    const record = readRecord(`${labsFolder()}/${name}`);
    if (record === null) continue;
    const pid = qemuProcess(`${labsFolder()}/${name}`, record);
    const minutes = Math.round((Date.now() - record.started) / 60_000);
    const state = pid === null ? "not running" : `running as process ${pid} for ${minutes} min`;
    console.log(`${name}  ${record.kind}, ${state}${record.kept ? ", kept" : ""}  ${labsFolder()}/${name}`);
    if (record.check) console.log(`  ${record.check}`);
  }
  return 0;
}

async function main(args: string[]): Promise<number> {
  const { values, positionals: [verb, ...rest], command } = parse(args);
  if (values.help || verb === undefined) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  const none = (count: number) => {
    if (rest.length > count) throw new UsageError(`"${rest[count]}"? A command goes after --.`);
  };
  switch (verb) {
    case "kvm":
    case "xen":
      none(0);
      return await boot(verb, command, values);
    case "exec":
      none(1);
      if (rest[0] === undefined) throw new UsageError("In which lab? deno task lab list shows them.");
      return await runHere(Lab.find(rest[0]), commandLine(command, values), {
        shell: values.shell,
        timeout: number(values, "timeout"),
      });
    case "stop":
      return await stop(rest, values);
    case "list":
      none(0);
      return await list();
    default:
      throw new UsageError(`There is no "lab ${verb}".`);
  }
}

try {
  // deno task changes to the checkout's root; the command belongs where it was typed.
  Deno.chdir(Deno.env.get("INIT_CWD") ?? ".");
  Deno.exit(await main(Deno.args));
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`${error.message}\n\n${USAGE}`);
    Deno.exit(2);
  }
  console.error(error instanceof LabError ? error.report() : error);
  Deno.exit(LAB_FAILED);
}
