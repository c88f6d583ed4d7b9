import { complete } from "./completion.ts";
import { CANCELLED, Editor } from "./editor.ts";
import { JobControl } from "./job_control.ts";
import { appendHistory, HISTORY_LIMIT, historyPath, readHistory } from "./history.ts";
import { firstStep } from "./language.ts";
import type { Output } from "./output.ts";
import type { Shell } from "./shell.ts";
import { Watchdog } from "./watchdog.ts";

/** Output whose way is changed once there is an editor, so that the shell need not wait for one. */
export class Switch implements Output {
  #to: Output;

  constructor(to: Output) {
    this.#to = to;
  }

  get terminal(): boolean {
    return this.#to.terminal;
  }

  get width(): number {
    return this.#to.width;
  }

  get atLineStart(): boolean {
    return this.#to.atLineStart;
  }

  write(text: string): void {
    this.#to.write(text);
  }

  /** From now on output goes there. */
  redirect(to: Output): void {
    this.#to = to;
  }
}

/** The prompt at a terminal: from the first line typed to the last. */
export class Prompt {
  #shell: Shell;
  #output: Switch;
  #terminal: Output;
  #path = historyPath();
  #before: readonly string[] = readHistory(this.#path);
  #entered: string[] = [];
  #editor: Editor | undefined;
  #watchdog: Watchdog | undefined;
  #jobs: JobControl | undefined;
  #prompt = "";
  #promptTimer: ReturnType<typeof setInterval> | undefined;

  /** @param output What the shell prints through; it is led above the prompt while a line is typed. */
  constructor(shell: Shell, output: Switch, terminal: Output) {
    this.#shell = shell;
    this.#output = output;
    this.#terminal = terminal;
  }

  /** Reads and runs lines until the shell is left; Ctrl-D leaves too. */
  async run(): Promise<void> {
    const shell = this.#shell;
    // First: it saves how the terminal is, and what Deno prints when it loads a module must not come later.
    this.#watchdog = new Watchdog();
    await this.#watchdog.ready;
    const editor = await Editor.open({
      output: this.#terminal,
      history: this.#before,
      historyLimit: HISTORY_LIMIT,
      complete: (line) => complete(shell, line),
      interrupt: () => void shell.interrupt(),
      stop: () => jobs.stop(),
    });
    const jobs = this.#jobs = new JobControl({
      release: () => editor.release(),
      take: () => editor.take(),
      refuse: (text) => editor.write(text),
    });
    this.#editor = editor;
    shell.keyboard = editor;
    this.#output.redirect(editor);
    // The guest's state is in the prompt and may change while a line is typed.
    this.#promptTimer = setInterval(() => {
      const { prompt } = shell;
      editor.changePrompt(this.#prompt, prompt);
      this.#prompt = prompt;
    }, 100);
    let repeat = "";
    while (shell.exitCode === undefined) {
      const input = await this.#readInput(editor);
      if (input === undefined) {
        editor.write("\n");
        break;
      }
      if (input !== "") this.#remember(input);
      const line = input === "" ? repeat : input;
      repeat = repeatable(shell, line);
      await this.#perform(line);
    }
  }

  async #perform(line: string): Promise<void> {
    try {
      await this.#shell.foreground(() => this.#shell.execute(line));
    } catch (error) {
      this.#shell.report(error, line);
    }
  }

  /** One input: a line, or several while TypeScript is unfinished. undefined at the end. */
  async #readInput(editor: Editor): Promise<string | undefined> {
    let input = "";
    for (;;) {
      const continued = input !== "";
      this.#prompt = this.#shell.prompt;
      const line = await editor.readLine(continued ? "... " : this.#prompt);
      if (line === undefined) return continued ? "" : undefined;
      if (line === CANCELLED) {
        input = "";
        continue;
      }
      if (!continued && line.trim() === "") return "";
      input = continued ? `${input}\n${line}` : line;
      // An empty line ends an input that never would.
      if (continued && line.trim() === "") return input;
      if (!await this.#shell.isUnfinished(input).catch(() => false)) return input;
    }
  }

  #remember(input: string): void {
    // Inputs of several lines are kept as one line, which TypeScript mostly allows.
    const line = input.replace(/\s*\n\s*/g, " ");
    if (line.startsWith(" ") || line === this.#entered[0]) return;
    this.#entered.unshift(line);
    if (this.#entered.length > HISTORY_LIMIT) this.#entered.pop();
  }

  /** Gives the terminal back and saves the history. May be called at any time, and twice. */
  close(): void {
    clearInterval(this.#promptTimer);
    this.#output.redirect(this.#terminal);
    this.#jobs?.[Symbol.dispose]();
    this.#jobs = undefined;
    this.#editor?.close();
    this.#watchdog?.[Symbol.dispose]();
    this.#watchdog = undefined;
    appendHistory(this.#path, this.#entered);
    this.#entered = [];
  }
}

/** The line that an empty one repeats: the same, or its command without arguments, if it is one that says so. */
function repeatable(shell: Shell, line: string): string {
  if (line.trim() === "") return "";
  try {
    const { step, rest } = firstStep(line.trim(), shell.table, (name) => shell.hasVariable(name));
    if (step.kind !== "command" || rest !== "" || !step.command.repeats) return "";
    if (step.command.repeats !== "bare") return line;
    const { name, format } = step.invocation;
    return format === "" ? name : `${name}/${format}`;
  } catch {
    return "";
  }
}
