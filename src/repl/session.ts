import type { Backtrace, GuestMachine, OpenOptions, Stop } from "../dsl/mod.ts";
import type { Command } from "./command.ts";
import type { Keyboard } from "./keyboard.ts";
import type { Style } from "./style.ts";

/** What help shows of a command: the printable part of its row. */
export interface CommandHelp {
  readonly names: readonly string[];
  readonly group: string;
  readonly summary: string;
  readonly usage: readonly string[];
  readonly details?: string;
}

/** What commands share: the guest, the current vCPU, where output goes. One for each shell. */
export interface Session {
  /** The guest that is open, if any. */
  vm: GuestMachine | undefined;
  /** Index of the vCPU that commands speak of. */
  vcpu: number;
  /** Which frame of the backtrace is looked at; 0 is the innermost. */
  frame: number;
  /** The newest backtrace, for `frame`, `up` and `down`. */
  backtrace: Backtrace | undefined;
  /** How the next guest is opened: from the command line, changed by `backend`, `file` and so on. */
  options: OpenOptions;
  /** Colours, or none. */
  readonly style: Style;
  /** Columns of the terminal; 80 where there is none. */
  readonly width: number;
  /** Whether answers are printed as JSON lines. */
  readonly json: boolean;
  /** Whether stops show the context view. */
  contextShown: boolean;
  /** The keyboard, where somebody types. */
  readonly keyboard?: Keyboard;
  /** Settings changed by `set NAME VALUE`, shown by `show`. */
  readonly settings: Map<string, string>;
  /** Prints text above the prompt. */
  print(text: string): void;
  /** Opens a guest with `options` (closing the present one). */
  open(): Promise<GuestMachine>;
  /** Evaluates TypeScript in the session's scope. */
  evaluate(source: string): Promise<unknown>;
  /** Runs one line as if typed: prints answers, throws the error of the first command that fails. */
  execute(line: string): Promise<void>;
  /**
   * Runs one line as `execute` does, for someone who is not at the prompt.
   *
   * @returns What it printed, without colours.
   */
  capture(line: string): Promise<string>;
  /** Runs a file: commands, or (by its ending, .ts or .js) a TypeScript module. Relative to the current directory. */
  source(path: string): Promise<void>;
  /** Adds a command of the user's own, or replaces one. @throws {InputError} If hvsh itself has one of that name. */
  define(command: Command): void;
  /** A command of the user's own. */
  defined(name: string): Command | undefined;
  /** Every command there is, in the order of help. */
  readonly help: readonly CommandHelp[];
  /** Lets the guest run or step by `go`, with Ctrl-C pausing it, console output shown, then shows the stop. */
  resume(go: (vm: GuestMachine) => Promise<Stop>): Promise<Stop>;
  /** Leaves the shell after this command. */
  quit(code?: number): void;
}
