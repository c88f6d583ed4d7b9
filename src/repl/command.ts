import { ShellError } from "./error.ts";
import type { Session } from "./session.ts";

/** What a command gives back: text for a person, and the same as data for `--json` and for scripts. */
export interface Answer {
  /** Ready to print; lines end with "\n" except perhaps the last. Colours only through `session.style`. */
  readonly text: string;
  /** Plain data; `bigint`s are printed as "0x..." strings. */
  readonly data?: unknown;
}

/** What stands behind the command's name on a line. */
export interface Invocation {
  /** The name as it was typed. */
  readonly name: string;
  /** gdb's format suffix, without the slash: `x/16xb` gives "16xb"; empty if none. */
  readonly format: string;
  /** The rest of the line, trimmed, as typed. */
  readonly rest: string;
  /** `rest` cut into words; quotes group and are gone, brackets and parentheses keep blanks inside together. */
  readonly words: readonly string[];
}

/** Refuses what stands behind a command that takes nothing: ignored in silence it would look obeyed. @throws {ShellError} */
export function refuseMore(command: string, rest: string): void {
  if (rest.trim() === "") return;
  throw new ShellError(
    `\`${command}\` takes nothing behind it, and there is "${rest.trim()}"`,
    `Write ${command} alone.`,
  );
}

/** A command is a row of a table: help, completion and dispatch read the same row. */
export interface Command {
  /** First the full name, then its aliases. Any unambiguous prefix of the full name works too. */
  readonly names: readonly string[];
  /** Heading under which `help` lists it. */
  readonly group:
    | "running"
    | "breakpoints"
    | "data"
    | "x86"
    | "devices"
    | "guest"
    | "trace"
    | "shell"
    | "user";
  /** One line. */
  readonly summary: string;
  /** Forms, one a line: "x/FORMAT ADDRESS". */
  readonly usage: readonly string[];
  /** Details and examples for `help NAME`. */
  readonly details?: string;
  /** Whether it needs an open guest; then the shell refuses it with a clear sentence if there is none. */
  readonly needsGuest: boolean;
  /** Whether an empty line repeats it (step, next ...); "bare": without its arguments, since it goes on (x). */
  readonly repeats?: boolean | "bare";
  /** Whether lines up to one that says `end` belong to it, where its own line has none in braces, as in gdb. */
  readonly block?: boolean;
  /** Completions for the last word of `rest`. */
  complete?(session: Session, invocation: Invocation): Promise<readonly string[]> | readonly string[];
  /**
   * Does it.
   *
   * @throws {InputError} For arguments that make no sense; its message names the usage.
   */
  run(session: Session, invocation: Invocation): Promise<Answer | void> | Answer | void;
}
