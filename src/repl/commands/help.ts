import type { Answer } from "../command.ts";
import { ShellError } from "../error.ts";
import { nearest } from "../nearest.ts";
import type { CommandHelp, Session } from "../session.ts";

/** Groups in the order of `help`, with their headings. */
const GROUPS: Readonly<Record<string, string>> = {
  running: "Running",
  breakpoints: "Breakpoints",
  data: "Registers, memory, code",
  x86: "x86",
  devices: "Devices",
  guest: "Guest",
  trace: "Exits and trace",
  shell: "Shell",
  user: "Your own",
};

const TYPESCRIPT = `Commands and TypeScript share the prompt:
- A line whose first word is a command (or its alias, or an unambiguous abbreviation), followed by a blank, a
  /format or the line's end, is that command.
- Everything else is TypeScript, and so is \`name = value\`, and a line that begins with \`=\`: \`= s\` shows the
  variable \`s\` although \`s\` is a command. A variable goes before an abbreviation of the same name.
- \`!COMMAND\` is \`shell COMMAND\`, unless a variable or a word of TypeScript follows: \`!done\`, \`!(x)\`.
- \`;\` separates commands. From the first piece on that is TypeScript, the line belongs to it.
- \`await\` works anywhere; const and let can be declared again; imports are relative to the current directory.
- \`vm\` is the guest, \`_\` the last value, \`$rip\`, \`$eax\`, ... the current vCPU's registers: \`$rax = 5n\` sets one.
- Unfinished TypeScript goes on in the next line; an empty line or Ctrl-C ends it.
- \`COMMAND &\` leaves the prompt usable while the guest runs; Ctrl-C on an empty line pauses it.
`;

/** What `help` can be asked for. */
export function helpTopics(session: Session): string[] {
  return [...session.help.flatMap((row) => row.names), ...Object.keys(GROUPS), "typescript"];
}

/** `help`, `help COMMAND`, `help GROUP`, `help typescript`. */
export function help(session: Session, topic: string): Answer {
  if (topic === "") return { text: overview(session), data: session.help.map(asData) };
  if (topic === "typescript") return { text: TYPESCRIPT, data: TYPESCRIPT };
  const rows = session.help;
  const exact = rows.find((row) => row.names.includes(topic));
  if (exact) return { text: explain(session, exact), data: asData(exact) };
  const group = rows.filter((row) => row.group === topic);
  if (group.length > 0) return { text: list(session, group), data: group.map(asData) };
  const begun = rows.filter((row) => row.names[0].startsWith(topic));
  if (begun.length === 1) return { text: explain(session, begun[0]), data: asData(begun[0]) };
  if (begun.length > 1) return { text: list(session, begun), data: begun.map(asData) };
  const near = nearest(topic, helpTopics(session));
  throw new ShellError(
    `There is no command \`${topic}\``,
    near === undefined ? "`help` lists them; `apropos WORD` searches." : `Did you mean \`help ${near}\`?`,
  );
}

/** Commands whose help has the word in it. */
export function apropos(session: Session, word: string): Answer {
  if (word === "") throw new ShellError("`apropos` lacks its word", "For example: apropos page");
  const wanted = word.toLowerCase();
  const found = session.help.filter((row) =>
    [...row.names, row.summary, ...row.usage, row.details ?? ""].some((text) =>
      text.toLowerCase().includes(wanted)
    )
  );
  return {
    text: found.length === 0 ? `No command speaks of \`${word}\`.\n` : list(session, found),
    data: found.map(asData),
  };
}

function asData(row: CommandHelp): CommandHelp {
  const { names, group, summary, usage, details } = row;
  return { names, group, summary, usage, ...(details === undefined ? {} : { details }) };
}

function overview(session: Session): string {
  const parts: string[] = [];
  for (const group of new Set([...Object.keys(GROUPS), ...session.help.map((row) => row.group)])) {
    const rows = session.help.filter((row) => row.group === group);
    if (rows.length > 0) {
      parts.push(`${session.style.heading(GROUPS[group] ?? group)}\n${list(session, rows)}`);
    }
  }
  return `${
    parts.join("\n")
  }\n\`help COMMAND\` explains one; \`help typescript\` tells which lines are TypeScript.\n`;
}

function list(session: Session, rows: readonly CommandHelp[]): string {
  const left = (row: CommandHelp) => row.names.join(", ");
  const width = Math.min(26, Math.max(...rows.map((row) => left(row).length)));
  return rows.map((row) => `  ${session.style.symbol(left(row).padEnd(width))}  ${row.summary}\n`).join("");
}

function explain(session: Session, row: CommandHelp): string {
  const [name, ...aliases] = row.names;
  const also = aliases.length === 0 ? "" : `  (also ${aliases.join(", ")})`;
  const usage = row.usage.map((form) => `  ${form}\n`).join("");
  const details = row.details === undefined ? "" : `\n${row.details.trimEnd()}\n`;
  return `${session.style.heading(name)}${also}: ${row.summary}\n${usage}${details}`;
}
