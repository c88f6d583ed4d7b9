/** The shell's own commands: help, apropos, source, quit. */

import type { Command } from "../command.ts";

/** Rows of the shell's own commands. */
export const SHELL_COMMANDS: readonly Command[] = [
  {
    names: ["help", "h", "?"],
    group: "shell",
    summary: "lists the commands, or explains one",
    usage: ["help", "help COMMAND", "help GROUP", "help typescript"],
    needsGuest: false,
    complete: async (session) => (await import("./help.ts")).helpTopics(session),
    run: async (session, { words }) => (await import("./help.ts")).help(session, words.join(" ")),
  },
  {
    names: ["apropos"],
    group: "shell",
    summary: "finds commands by a word in their help",
    usage: ["apropos WORD"],
    needsGuest: false,
    run: async (session, { rest }) => (await import("./help.ts")).apropos(session, rest),
  },
  {
    names: ["source"],
    group: "shell",
    summary: "runs a file of commands, or a TypeScript module",
    usage: ["source FILE", "source FILE.ts"],
    details:
      "A file of commands holds lines as they are typed; `#` begins a comment; the first that fails ends it.\n" +
      "A module finds the session's guest as `vm` on the global object, and may import the library as it likes.\n" +
      "If its default export is a function, that is called with the guest and awaited.",
    needsGuest: false,
    complete: async (_, { words }) => (await import("./files.ts")).completePath(words.at(-1) ?? ""),
    run: async (session, { words, rest }) => {
      const { ShellError } = await import("../error.ts");
      if (words.length !== 1) {
        throw new ShellError(
          rest === "" ? "`source` lacks its file" : "`source` takes one file",
          "Write source FILE.",
        );
      }
      await session.source(words[0]);
    },
  },
  {
    names: ["quit", "q", "exit"],
    group: "shell",
    summary: "closes the guest and leaves",
    usage: ["quit", "quit CODE"],
    needsGuest: false,
    run: async (session, { rest }) => {
      if (rest !== "" && !(/^\d+$/.test(rest) && Number(rest) <= 255)) {
        const { ShellError } = await import("../error.ts");
        throw new ShellError(`\`${rest}\` is no exit code`, "It is a number from 0 to 255.");
      }
      session.quit(Number(rest));
    },
  },
];
