/** define, alias and document: commands of the user's own. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Command, Invocation } from "../command.ts";
import type { Session } from "../session.ts";

/** How deep commands of the user's own may call each other. */
const DEEPEST = 100;

let depth = 0;

/** NAME and the lines behind it, in braces or up to `end`. @throws {InputError} */
function parts(verb: string, rest: string): { name: string; lines: string[] } {
  const match = /^([A-Za-z_][\w-]*)\s*(?:\{([^]*)\})?$/.exec(rest.trim());
  if (match === null) {
    throw new InputError(`${verb} takes a name, and lines up to end`, {
      remedy: `${verb} mine {regs; x/4i $pc}`,
    });
  }
  const lines = (match[2] ?? "").split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return { name: match[1], lines };
}

/** `define NAME`: lines that run as if typed, with $arg0, $arg1 ... and $argc replaced. */
export function define(session: Session, { rest }: Invocation): Answer {
  const { name, lines } = parts("define", rest);
  const row: Command = {
    names: [name],
    group: "user",
    summary: lines[0] ?? "does nothing",
    usage: [name],
    details: lines.join("\n"),
    needsGuest: false,
    run: (s, call) => perform(s, name, lines, call.words),
  };
  session.define(row);
  return { text: "", data: { name, lines } };
}

/** `alias NAME = COMMAND`: what follows the name when it is used follows the command. */
export function alias(session: Session, { rest }: Invocation): Answer {
  const [, name, line] = /^(?:-a\s+)?(?:--\s+)?([A-Za-z_][\w-]*)\s*=\s*(\S[^]*)$/.exec(rest.trim()) ?? [];
  if (line === undefined) {
    throw new InputError("alias takes a name, = and a command", { remedy: "alias here = x/4i $pc" });
  }
  session.define({
    names: [name],
    group: "user",
    summary: line,
    usage: [name],
    needsGuest: false,
    run: (s, call) => perform(s, name, [`${line} ${call.rest}`.trim()], []),
  });
  return { text: "", data: { name, line } };
}

/** `document NAME`: what `help NAME` says. */
export function document(session: Session, { rest }: Invocation): Answer {
  const { name, lines } = parts("document", rest);
  const row = session.defined(name);
  if (row === undefined) {
    throw new InputError(`${name} is no command of your own`, { remedy: `define ${name} first` });
  }
  session.define({ ...row, summary: lines[0] ?? row.summary, details: lines.join("\n") });
  return { text: "", data: { name, lines } };
}

async function perform(
  session: Session,
  name: string,
  lines: readonly string[],
  given: readonly string[],
): Promise<void> {
  if (depth >= DEEPEST) {
    throw new InputError(`${name} calls itself, ${DEEPEST} deep`, { remedy: "let it end some time" });
  }
  depth++;
  try {
    for (const line of lines) await session.execute(replaced(name, line, given));
  } finally {
    depth--;
  }
}

function replaced(name: string, line: string, given: readonly string[]): string {
  return line.replace(/\$arg(c|\d+)(?!\w)/g, (_, which: string) => {
    if (which === "c") return String(given.length);
    const argument = given[Number(which)];
    if (argument !== undefined) return argument;
    throw new InputError(`${name} uses $arg${which}, and got ${given.length} arguments`);
  });
}
