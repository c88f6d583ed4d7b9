import type { Backtrace, GuestMachine, OpenOptions, Stop } from "../dsl/mod.ts";
import { Captures } from "./captures.ts";
import { type Answer, type Command, type Invocation, refuseMore } from "./command.ts";
import { reportError, ShellError } from "./error.ts";
import { JsonLines } from "./json_lines.ts";
import { Foreground } from "./foreground.ts";
import { firstStep, isOpenBlock, type Step } from "./language.ts";
import { hasOpenBrace, invocation } from "./lexer.ts";
import { safeAnswer } from "./guest_text.ts";
import { GuestWatch } from "./guest_watch.ts";
import type { Keyboard } from "./keyboard.ts";
import type { Output } from "./output.ts";
import type { CommandHelp, Session } from "./session.ts";
import type { Style } from "./style.ts";
import type { CommandTable } from "./table.ts";
import { type Prepared, TypeScript } from "./typescript.ts";
import { unknownWord } from "./unknown_word.ts";

/** What a shell is made of; tests give their own. */
export interface ShellParts {
  readonly options: OpenOptions;
  readonly table: CommandTable;
  readonly style: Style;
  readonly output: Output;
  readonly json: boolean;
  /** Most characters of a guest's output in one JSON line, of which the newest are kept; 1 Mi if left out. */
  readonly jsonConsoleLimit?: number;
  /** Whether lines of files are shown before they run. */
  readonly echo?: boolean;
  /** Opens a guest. */
  open(options: OpenOptions): Promise<GuestMachine>;
  /** What TypeScript at the prompt finds by name. */
  library(): Promise<Record<string, unknown>>;
  /** Called before TypeScript runs for the first time: to end it from outside, should it never give a turn. */
  guard?(): Promise<void>;
  /** How a stop is told. */
  describeStop(session: Session, stop: Stop): Promise<Answer>;
  /** Where an error is printed; standard error for scripts, above the prompt for people. */
  printError(text: string): void;
}

/** Seconds that evaluated code may run without giving the event loop a turn, unless `set limit` says otherwise. */
const DEFAULT_LIMIT = 10;

/** The shell: one session of commands and TypeScript over the guests it opened. */
export class Shell implements Session {
  vcpu = 0;
  frame = 0;
  backtrace: Backtrace | undefined;
  options: OpenOptions;
  contextShown: boolean;
  readonly settings = new Map<string, string>();
  /** Shows a line of a file before it runs, if that was asked for. */
  readonly echo?: (line: string) => void;
  /** Set by a prompt at a terminal. */
  keyboard?: Keyboard;
  /** Set once the shell shall be left: with this exit code. */
  exitCode: number | undefined;
  #parts: ShellParts;
  /** Devices that each guest gets before it starts, as `device_add` names them. */
  plug: readonly string[] = [];
  #vm: GuestMachine | undefined;
  #guests = new Map<GuestMachine, GuestWatch>();
  #typescript: TypeScript;
  #base: URL | undefined;
  readonly #foreground = new Foreground();
  readonly #lines: JsonLines;
  #told = new WeakMap<Stop, Promise<void>>();
  #stopAnswer: Answer | undefined;
  #sourceDepth = 0;
  #evaluating = 0;
  #warm = false;
  #hooking = false;
  /** Told once the guest was made to go. */
  #resumed: (() => void) | undefined;
  readonly #captures = new Captures();

  constructor(parts: ShellParts) {
    this.#parts = parts;
    this.#lines = new JsonLines((text) => parts.output.write(text), parts.jsonConsoleLimit);
    this.options = parts.options;
    this.contextShown = parts.output.terminal && !parts.json;
    if (parts.echo) {
      this.echo = (line) => {
        const comment = line.trim() === "" || line.startsWith("#");
        parts.output.write(`${comment ? this.style.heading(line) : this.prompt + line}\n`);
      };
    }
    this.#typescript = new TypeScript({
      host: this,
      library: () => parts.library(),
      guard: async () => await parts.guard?.(),
      base: () => this.#base ?? currentDirectory(),
      limitMs: () => 1000 * Number(this.settings.get("limit") ?? DEFAULT_LIMIT),
    });
  }

  get style(): Style {
    return this.#parts.style;
  }

  get width(): number {
    return this.#parts.output.width;
  }

  get json(): boolean {
    return this.#parts.json;
  }

  get help(): readonly CommandHelp[] {
    return this.#parts.table.rows;
  }

  define(command: Command): void {
    if (this.hasVariable(command.names[0])) {
      throw new ShellError(`${command.names[0]} is a variable`, "Choose another name.");
    }
    this.#parts.table.add(command);
  }

  defined(name: string): Command | undefined {
    return this.#parts.table.added(name);
  }

  /** The table behind `help`, for completion. */
  get table(): CommandTable {
    return this.#parts.table;
  }

  get vm(): GuestMachine | undefined {
    return this.#vm;
  }

  /** A guest that becomes the session's is watched (console, stops) and closed with it. */
  set vm(vm: GuestMachine | undefined) {
    if (vm !== this.#vm) {
      this.vcpu = 0;
      this.frame = 0;
      this.backtrace = undefined;
    }
    this.#vm = vm;
    if (vm && !this.#guests.has(vm)) this.#guests.set(vm, this.#watch(vm));
  }

  #watch(vm: GuestMachine): GuestWatch {
    return new GuestWatch(vm, {
      colors: this.style.color,
      print: (text) => {
        if (this.json) this.#lines.gather(text);
        else if (this.settings.get("console") !== "off") this.#parts.output.write(text);
      },
      stopped: async (stop) => {
        // Stops of foreground work are that work's to tell.
        if (this.#foreground.busy || this.#evaluating > 0 || this.#told.has(stop)) return;
        await this.#tell(stop);
      },
    });
  }

  /** The prompt: which guest, and whether it runs. */
  get prompt(): string {
    const vm = this.#vm;
    if (!vm) return "hvsh> ";
    const vcpu = vm.vcpus.length > 1 ? `:${this.vcpu}` : "";
    const state = vm.state === "paused" ? "" : ` ${vm.state}`;
    return `hvsh[${vm.backend}${vcpu}${state}]> `;
  }

  print(text: string): void {
    if (text === "") return;
    if (this.#captures.take(text.endsWith("\n") ? text : `${text}\n`)) return;
    if (this.json) return;
    const { output } = this.#parts;
    // The guest's last line may be unfinished; ours begins on a new one.
    if (!output.atLineStart) output.write("\n");
    const safe = safeAnswer(text, this.style.color);
    output.write(safe.endsWith("\n") ? safe : `${safe}\n`);
  }

  async open(): Promise<GuestMachine> {
    const present = this.#vm;
    if (present) await this.#forget(present);
    const vm = await this.#parts.open(this.options);
    try {
      if (this.plug.length > 0) {
        const { plugByName } = await import("./commands/plug.ts");
        for (const text of this.plug) await plugByName(vm, text);
      }
    } catch (error) {
      await vm.close();
      throw error;
    }
    this.vm = vm;
    return vm;
  }

  async #forget(vm: GuestMachine): Promise<void> {
    const watch = this.#guests.get(vm);
    this.#guests.delete(vm);
    if (this.#vm === vm) this.vm = undefined;
    try {
      await vm.close();
    } finally {
      watch?.[Symbol.dispose]();
    }
  }

  async resume(go: (vm: GuestMachine) => Promise<Stop>): Promise<Stop> {
    const vm = this.#vm;
    if (!vm) throw noGuest();
    await this.#warmUp(vm);
    const going = go(vm);
    this.#resumed?.();
    const stop = await going;
    // Of a guest that is closed there is none to tell.
    if (this.#guests.has(vm)) await this.#tell(stop);
    return stop;
  }

  /**
   * Describes a stop that nobody sees, before the first run: that loads the disassembler and all else that it
   * takes, some 200 ms that a Ctrl-C shall not wait for.
   */
  async #warmUp(vm: GuestMachine): Promise<void> {
    const vcpu = vm.vcpus[this.vcpu];
    if (this.#warm || vcpu === undefined || vm.state !== "paused") return;
    this.#warm = true;
    try {
      const registers = await vcpu.registers();
      await this.#parts.describeStop(this, { kind: "pause", vcpu, registers, rip: registers.rip });
    } catch {
      // What fails here fails again, and is told, when it matters.
    }
  }

  /** Tells a stop once: work in the background, whoever waits for it and whoever paused the guest all come here. */
  #tell(stop: Stop): Promise<void> {
    const telling = this.#told.get(stop);
    // A hook that runs at this stop can't wait for itself.
    if (telling !== undefined) return this.#hooking ? Promise.resolve() : telling;
    const told = this.#describe(stop);
    this.#told.set(stop, told);
    return told;
  }

  async #describe(stop: Stop): Promise<void> {
    if (this.#vm?.vcpus.includes(stop.vcpu)) this.vcpu = stop.vcpu.index;
    this.frame = 0;
    this.backtrace = undefined;
    const answer = await this.#parts.describeStop(this, stop);
    if (this.json) this.#stopAnswer = answer;
    else this.print(answer.text);
    await this.#runHook();
  }

  /** gdb's `define hook-stop`: runs at each stop, but for those of its own making. */
  async #runHook(): Promise<void> {
    if (this.#hooking || this.defined("hook-stop") === undefined) return;
    this.#hooking = true;
    try {
      await this.execute("hook-stop");
    } finally {
      this.#hooking = false;
    }
  }

  quit(code = 0): void {
    this.exitCode = code;
  }

  // ---- lines ----

  async execute(line: string): Promise<void> {
    let rest = line.trim();
    while (rest !== "" && this.exitCode === undefined) {
      if (rest.startsWith("#")) return;
      if (rest.startsWith(";")) {
        rest = rest.slice(1).trim();
        continue;
      }
      const { step, rest: next } = firstStep(rest, this.table, (name) => this.hasVariable(name));
      await this.#perform(step);
      rest = next;
    }
  }

  capture(line: string): Promise<string> {
    return this.#captures.run(() => this.execute(line));
  }

  async #perform(step: Step): Promise<void> {
    if (step.kind === "typescript") return await this.#performTypeScript(step.text);
    const { command, invocation: call } = step;
    const background = /(?:^|\s)&$/.exec(call.rest);
    if (!background) return await this.#performCommand(step.text, command, call);
    const again = invocation(
      `${call.name}${call.format && `/${call.format}`} ${call.rest.slice(0, background.index)}`,
    );
    const vm = this.#vm;
    const resumed = new Promise<void>((resolve) => this.#resumed = resolve);
    const work = this.#performCommand(step.text, command, again ?? call).catch((error) => {
      // A guest that was closed meanwhile took its work with it: that is no news.
      if (vm === undefined || this.#guests.has(vm)) this.report(error, step.text);
    });
    // What is typed next shall meet a guest that runs, not one that is about to.
    if (command.group === "running") await Promise.race([resumed, work]);
  }

  async #performCommand(text: string, command: Command, call: Invocation): Promise<void> {
    if (command.needsGuest && !this.#vm) throw noGuest(command.names[0]);
    // What the user defined may pass on whatever stands there.
    if (command.group !== "user" && command.usage.every((form) => command.names.includes(form))) {
      refuseMore(call.name, call.rest);
    }
    this.#stopAnswer = undefined;
    const answer = await command.run(this, call);
    this.#answer(text, answer ?? this.#stopAnswer ?? { text: "" }, answer === undefined);
  }

  async #performTypeScript(source: string): Promise<void> {
    const { engine } = await this.#typescript.open();
    const before = engine.variables();
    let value: unknown;
    this.#evaluating++;
    try {
      value = await this.evaluate(source);
    } catch (error) {
      throw unknownWord(source, error, this.table, (name) => this.hasVariable(name)) ?? error;
    } finally {
      this.#evaluating--;
    }
    if (isStop(value) && value === this.#vm?.lastStop && !this.#told.has(value)) {
      await this.#tell(value);
      this.#answer(source, this.#stopAnswer ?? { text: "" }, true);
    } else if (isStop(value)) {
      this.#answer(source, await this.#parts.describeStop(this, value), false);
    } else {
      const { plainData, valueText } = await import("./values.ts");
      const text = value === undefined ? "" : valueText(value, this.style.color);
      this.#answer(source, { text, data: this.json ? plainData(value) : undefined }, false);
    }
    const hidden = engine.variables().find((name) =>
      !before.includes(name) && this.table.exact(name) !== undefined
    );
    if (hidden !== undefined) {
      this.print(this.style.dim(`\`${hidden}\` is also a command; \`= ${hidden}\` shows the variable.`));
    }
  }

  /** Prints one answer. `told`: its text has been printed while the command ran. */
  #answer(command: string, answer: Answer, told: boolean): void {
    if (!this.json || this.#captures.open) {
      if (!told) this.print(answer.text);
      return;
    }
    const data = answer.data !== undefined ? answer.data : answer.text === "" ? null : answer.text;
    this.#lines.print({ command, data });
  }

  /** Tells an error, with what the user can do about it. */
  report(error: unknown, command?: string): void {
    const { message, remedy, frames } = reportError(error);
    if (this.json) {
      this.#lines.print({
        command: command ?? null,
        error: message,
        ...(remedy === undefined ? {} : { remedy }),
      });
      return;
    }
    const lines = [this.style.error(message), ...frames.map((f) => this.style.dim(`    ${f}`))];
    if (remedy !== undefined) lines.push(remedy);
    if (!this.#parts.output.atLineStart) this.#parts.output.write("\n");
    this.#parts.printError(`${safeAnswer(lines.join("\n"), this.style.color)}\n`);
  }

  // ---- TypeScript ----

  evaluate(source: string): Promise<unknown> {
    return this.#typescript.evaluate(source);
  }

  /** Whether TypeScript has a variable of that name now. */
  hasVariable(name: string): boolean {
    return this.#typescript.hasVariable(name);
  }

  /** Whether `text` goes on in the next line. */
  async isUnfinished(text: string): Promise<boolean> {
    let step: Step;
    try {
      step = firstStep(text.trim(), this.table, (name) => this.hasVariable(name)).step;
    } catch {
      return false;
    }
    if (step.kind === "command") return isOpenBlock(step.command, text) || hasOpenBrace(text);
    return (await this.#typescript.open()).engine.isUnfinished(step.text);
  }

  /** The engine, for completion. */
  engine(): Promise<Prepared> {
    return this.#typescript.open();
  }

  async source(path: string): Promise<void> {
    const { runFile } = await import("./script.ts");
    if (this.#sourceDepth >= 16) {
      throw new ShellError(`${path} sources itself`, "Sixteen files deep is the limit.");
    }
    this.#sourceDepth++;
    const base = this.#base;
    try {
      await runFile(this, path, base ?? currentDirectory(), (url) => this.#base = url);
    } finally {
      this.#base = base;
      this.#sourceDepth--;
    }
  }

  // ---- Ctrl-C ----

  /** Runs work that Ctrl-C interrupts: it pauses a running guest, and lets go of work that does not end. */
  foreground<T>(work: () => Promise<T>): Promise<T> {
    return this.#foreground.run(work);
  }

  /**
   * Ctrl-C.
   *
   * @returns Whether there was something to interrupt.
   */
  interrupt(): boolean {
    const vm = this.#vm;
    const running = vm?.state === "running";
    if (running) vm.pause().catch((error) => this.report(error));
    return this.#foreground.interrupt(running) || running;
  }

  /** Closes every guest and ends TypeScript. Errors are told, not thrown: there is nobody to catch them. */
  async close(): Promise<void> {
    const guests = [...this.#guests.keys()];
    for (const result of await Promise.allSettled(guests.map((vm) => this.#forget(vm)))) {
      if (result.status === "rejected") this.report(result.reason);
    }
    await this.#typescript.close();
  }
}

function currentDirectory(): URL {
  return new URL(`file://${encodeURI(Deno.cwd()).replace(/[?#]/g, encodeURIComponent)}/`);
}

function noGuest(command?: string): ShellError {
  return new ShellError(
    `There is no guest${command === undefined ? "" : ` for \`${command}\``}`,
    "Start hvsh with -bios, -kernel or a file, or open one: `await open({ boot: bootSector(FILE) })`.",
  );
}

/** Whether a value is what `continue()` and its like resolve with. */
function isStop(value: unknown): value is Stop {
  return typeof value === "object" && value !== null && "kind" in value && "vcpu" in value &&
    "registers" in value &&
    "rip" in value;
}
