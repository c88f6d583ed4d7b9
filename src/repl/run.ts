import { colorStyle, plainStyle, wantsColor } from "./ansi.ts";
import { COMMANDS } from "./commands/index.ts";
import { SHELL_COMMANDS } from "./commands/shell.ts";
import { guardExits, leave, type Leaving } from "./leaving.ts";
import type { CommandLine } from "./options.ts";
import { type Output, StandardOutput, writeError } from "./output.ts";
import { Shell } from "./shell.ts";
import { CommandTable } from "./table.ts";

/** Runs a shell as the command line says, to its end. */
export async function runShell(line: CommandLine): Promise<void> {
  const terminal = new StandardOutput();
  const scripted = line.actions.length > 0 && !line.interactive;
  const prompts = !scripted && !line.batch && terminal.terminal && Deno.stdin.isTerminal();
  const interactive = prompts ? await import("./interactive.ts") : undefined;
  const output = interactive ? new interactive.Switch(terminal) : terminal;
  const shell = new Shell({
    options: {},
    table: new CommandTable([...SHELL_COMMANDS, ...COMMANDS]),
    style: wantsColor(terminal.terminal && !line.json) ? await colorStyle() : plainStyle,
    output,
    json: line.json,
    echo: line.echo,
    // Not all of the library: a start with a guest shall load only what opening one takes.
    open: async (options) => (await import("../dsl/open.ts")).open(options),
    library: async () => ({ ...await import("../dsl/mod.ts") }),
    // A prompt has its watchdog from the start.
    guard: async () => {
      if (!prompts) await new (await import("./watchdog.ts")).Watchdog("script").ready;
    },
    describeStop: async (session, stop) => (await import("./render/stop.ts")).describeStop(session, stop),
    printError: (text) => prompts ? output.write(text) : writeError(text),
  });
  const prompt = interactive
    ? new interactive.Prompt(shell, output as InstanceType<typeof interactive.Switch>, terminal)
    : undefined;
  const parts: Leaving = { restore: () => prompt?.close(), close: () => shell.close() };
  // Between two commands there is nothing to interrupt, and a shell that prompts is not left by Ctrl-C.
  guardExits(parts, () => shell.interrupt() || shell.keyboard !== undefined, (error) => {
    shell.report(error);
    return prompts;
  });

  let code = await prepare(shell, line, prompts, output);
  for (const action of line.actions) {
    if (code !== 0 || shell.exitCode !== undefined) break;
    const { kind, text } = action;
    code = await attempt(shell, text, () => kind === "file" ? shell.source(text) : shell.execute(text));
  }
  if (!scripted && shell.exitCode === undefined) {
    if (prompt) await prompt.run();
    else if (line.actions.length === 0) code = await readCommands(shell) || code;
  }
  await leave((shell.exitCode ?? (prompts ? 0 : code)) || Number(terminal.failed), parts);
}

/** Runs one piece of work; 1 if it failed. */
async function attempt(shell: Shell, text: string, work: () => Promise<void>): Promise<number> {
  try {
    await shell.foreground(work);
    return 0;
  } catch (error) {
    shell.report(error, text);
    return 1;
  }
}

/** Opens the guest that the command line asks for and runs the user's own start-up files. */
async function prepare(shell: Shell, line: CommandLine, prompts: boolean, output: Output): Promise<number> {
  const greeting: string[] = [];
  const { planGuest, wantsGuest } = await import("./boot.ts");
  let code = 0;
  if (line.attach !== undefined) {
    const { attach: address, qmp } = line;
    code = await attempt(shell, "attach", async () => {
      const { attach } = await import("../dsl/attach.ts");
      shell.vm = await attach({ backend: "gdb", address, ...(qmp !== undefined && { qmp }) });
      greeting.push(await describeGuest(shell.vm));
    });
  } else if (line.domain !== undefined) {
    code = await attempt(shell, "attach", () => shell.execute(`attach xen:${line.domain}`));
  } else if (wantsGuest(line)) {
    code = await attempt(shell, "open", async () => {
      const { options, plug, note } = await planGuest(line);
      shell.options = options;
      shell.plug = plug;
      const vm = await shell.open();
      if (line.quiet) return;
      const odd = vm.boot?.notes.map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`) ?? [];
      // QEMU that was not asked for: what is slow or not there has its reason.
      if (options.backend === undefined && vm.backend === "qemu") {
        odd.push("KVM can't be used here (`hosts` says why): the guest runs in QEMU, which translates it.");
      }
      if (!prompts) return odd.forEach((text) => writeError(`hvsh: ${text}\n`));
      greeting.push(...odd);
      if (note !== undefined) greeting.push(note);
      greeting.push(await describeGuest(vm));
    });
  }
  if (prompts && !line.quiet) {
    if (greeting.length === 0) {
      greeting.push("No guest yet: `await open({ boot: firmware(FILE) })`, or hvsh --help.");
    }
    greeting.push("`help` lists the commands; everything else is TypeScript.");
    output.write(`${greeting.join("\n")}\n`);
  }
  if (code === 0 && !line.norc && prompts) await runStartFiles(shell);
  const { gdb } = line;
  if (code === 0 && gdb !== undefined) {
    code = await attempt(shell, "--gdb", () => shell.execute(`gdbserver ${gdb}`));
  }
  if (code === 0 && line.start === "run") {
    code = await attempt(shell, "--run", () => shell.execute("continue"));
  }
  return code;
}

async function describeGuest(vm: NonNullable<Shell["vm"]>): Promise<string> {
  const bytes = vm.memory.regions.reduce((sum, region) => sum + Number(region.size), 0);
  const [vcpu] = vm.vcpus;
  const { cs, rip } = await vcpu.registers();
  const place = `${cs.toString(16).padStart(4, "0")}:${rip.toString(16).padStart(4, "0")}`;
  const count = vm.vcpus.length === 1 ? "1 vCPU" : `${vm.vcpus.length} vCPUs`;
  return `A guest on ${vm.backend}, ${count}, ${Math.round(bytes / 2 ** 20)} MiB, ${vm.state} at ${place}.`;
}

/** ~/.config/hvsh/hvshrc and init.ts, where they are. */
async function runStartFiles(shell: Shell): Promise<void> {
  const config = Deno.env.get("XDG_CONFIG_HOME");
  const home = Deno.env.get("HOME");
  const folder = config?.startsWith("/") ? config : home ? `${home}/.config` : undefined;
  if (folder === undefined) return;
  for (const name of ["hvshrc", "init.ts"]) {
    const path = `${folder}/hvsh/${name}`;
    const there = await Deno.stat(path).then((status) => status.isFile, () => false);
    if (there) await attempt(shell, path, () => shell.source(path));
  }
}

/** Runs what standard input holds, line by line, to its end. @returns 1 if any of it failed. */
async function readCommands(shell: Shell): Promise<number> {
  const { runLines, standardInputLines } = await import("./script.ts");
  let code = 0;
  await runLines(shell, standardInputLines(), (error, input) => {
    shell.report(error, input);
    code = 1;
  });
  return code;
}
