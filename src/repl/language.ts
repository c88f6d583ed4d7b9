/**
 * Which language a line is in. The rule, as `help typescript` tells it:
 *
 * 1. A line that begins with `=` is TypeScript.
 * 2. A line whose first word is the name or alias of a command, followed by a blank, a `/format` or the line's
 *    end, is that command, unless an assignment follows (`s = 5`), or an operator while there is a variable of
 *    that name (`n + 1`).
 * 3. So is an unambiguous abbreviation of a command's name, unless there is a variable of that name.
 * 4. So is `!` and a word that is neither a variable nor one of TypeScript's: the rest is for the system's shell.
 * 5. Everything else is TypeScript.
 *
 * `;` separates commands; from the first piece on that is TypeScript, the rest of the line belongs to it.
 */

import type { Command, Invocation } from "./command.ts";
import { ShellError } from "./error.ts";
import { firstCommand, invocation, words } from "./lexer.ts";
import type { CommandTable } from "./table.ts";

/** One step of a line. */
export type Step =
  | {
    readonly kind: "command";
    readonly text: string;
    readonly command: Command;
    readonly invocation: Invocation;
  }
  | { readonly kind: "typescript"; readonly text: string };

/** Words that begin TypeScript statements; an abbreviation never shadows them. */
const RESERVED = new Set(
  ("abstract async await break case catch class const continue debugger declare default do enum export false for " +
    "function if import interface let namespace new null return super switch this throw true try type typeof " +
    "using var void while with yield").split(" "),
);

/** `!ls` is for the system's shell. */
const SYSTEM = /^!\s*([A-Za-z_.~/][\w-]*)/;
/** What `!` denies in TypeScript and is no variable. */
const VALUES = new Set(["true", "undefined", "NaN", "globalThis"]);

const ASSIGNMENT = /^(=(?!=)|=>|(?:[-+*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)=(?!=))/;
const OPERATOR = /^(?:[-+*/%<>&|^?:]{1,3}\s|[=!]==?\s|\?\.|instanceof\s|in\s|as\s|satisfies\s)/;

/**
 * Decides what the first step of `line` is.
 *
 * @param line Trimmed, not empty.
 * @param hasVariable Whether TypeScript has a variable of that name at the prompt.
 * @returns The step and what is left of the line.
 * @throws {ShellError} If the first word abbreviates more than one command.
 */
export function firstStep(
  line: string,
  table: CommandTable,
  hasVariable: (name: string) => boolean,
): { step: Step; rest: string } {
  const typescript = (text: string) => ({ step: { kind: "typescript" as const, text }, rest: "" });
  if (/^=(?![=>])/.test(line)) return typescript(line.slice(1).trim());
  const system = SYSTEM.exec(line);
  const shell = table.exact("shell");
  if (system && shell && !RESERVED.has(system[1]) && !VALUES.has(system[1]) && !hasVariable(system[1])) {
    const command = line.slice(1).trim();
    const call = { name: "shell", format: "", rest: command, words: words(command) };
    return { step: { kind: "command", text: line, command: shell, invocation: call }, rest: "" };
  }
  const { command: text, rest } = firstCommand(line);
  const call = invocation(text);
  if (!call) return typescript(line);
  if (ASSIGNMENT.test(call.rest)) return typescript(line);
  let command = table.exact(call.name);
  if (command) {
    if (OPERATOR.test(call.rest) && hasVariable(call.name)) return typescript(line);
  } else {
    if (RESERVED.has(call.name) || hasVariable(call.name)) return typescript(line);
    const candidates = table.startingWith(call.name);
    if (candidates.length > 1) {
      const names = candidates.map((c) => c.names[0]).join(", ");
      throw new ShellError(`\`${call.name}\` can mean ${names}`, "Type a longer abbreviation.");
    }
    command = candidates[0];
  }
  if (!command) return typescript(line);
  const block = command.block ? blockOf(line, call) : undefined;
  if (block) {
    return { step: { kind: "command", text, command, invocation: block.invocation }, rest: block.rest };
  }
  return { step: { kind: "command", text, command, invocation: withFormat(command, call) }, rest };
}

/** Whether a line of a command that takes a block goes on in the next one. */
export function isOpenBlock(command: Command, text: string): boolean {
  if (command.block !== true) return false;
  const [first, ...lines] = text.split("\n");
  return !/[{"]/.test(first) && !lines.some((line) => line.trim() === "end");
}

/** The lines that belong to a command with a block, and what follows its `end`. */
function blockOf(line: string, call: Invocation): { invocation: Invocation; rest: string } | undefined {
  const [first, ...lines] = line.split("\n");
  if (lines.length === 0 || /[{"]/.test(first)) return undefined;
  const end = lines.findIndex((text) => text.trim() === "end");
  const body = end < 0 ? lines : lines.slice(0, end);
  const rest = end < 0 ? "" : lines.slice(end + 1).join("\n").trim();
  const head = first.slice(call.name.length).trim();
  return { invocation: { ...call, rest: `${head} {${body.join("\n")}}` }, rest };
}

/** gdb also takes a blank before the format: `x /16xb $rip`. Only for commands whose usage shows a format. */
function withFormat(command: Command, call: Invocation): Invocation {
  if (call.format !== "" || !command.usage.some((form) => /^\w+\/[A-Z]/.test(form))) return call;
  const match = /^\/(-?[0-9A-Za-z]+)(?=\s|$)/.exec(call.rest);
  if (!match) return call;
  const again = invocation(`${call.name}/${match[1]} ${call.rest.slice(match[0].length)}`);
  return again ?? call;
}
