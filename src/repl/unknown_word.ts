import { ShellError } from "./error.ts";
import { invocation } from "./lexer.ts";
import { nearest } from "./nearest.ts";
import type { CommandTable } from "./table.ts";

/** Words that others have for what hvsh calls otherwise. */
const MEANT: Readonly<Record<string, string>> = {
  breakpoint: "break",
  breakpoints: "info breakpoints",
  watchpoint: "watch",
  registers: "regs",
  memory: "x",
  bp: "break",
  bl: "info breakpoints",
  bc: "delete",
  xinfo: "pt",
  distance: "print",
};

/** Words of gdb and QEMU's monitor for what hvsh does not do, and what there is instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  checkpoint: "A guest that QEMU replays (--replay) is gone back in by reverse-stepi and reverse-continue.",
  record: "QEMU records (--record FOLDER) and replays a guest; `hvsh trace` writes down what runs.",
  handle: "Guests have no signals; `irq` and `nmi` send interrupts, `catch` stops at accesses.",
  signal: "Guests have no signals; `irq` and `nmi` send interrupts.",
  target: "`attach gdb:HOST:PORT` goes to a stub; `gdbserver` is one.",
  gcore: "`dump --elf FILE` saves all of memory with the registers.",
  "generate-core-file": "`dump --elf FILE` saves all of memory with the registers.",
  "dump-guest-memory": "`dump --elf FILE` saves all of memory with the registers.",
  python: "hvsh is scripted in TypeScript, at the prompt and by `source FILE.ts`.",
};

/** What to do about a word that is no command. */
function remedyFor(word: string, table: CommandTable): string {
  const instead = INSTEAD[word] ?? (word.startsWith("reverse-") ? INSTEAD.checkpoint : undefined);
  if (instead !== undefined) return instead;
  const other = nearest(word, Object.keys(MEANT));
  const near = table.nearest(word) ?? (other && MEANT[other]);
  return near === undefined
    ? "`help` lists the commands."
    : `Did you mean \`${near}\`? \`help\` lists the commands.`;
}

/** A clearer error for a line whose first word nobody knows. */
export function unknownWord(
  source: string,
  error: unknown,
  table: CommandTable,
  hasVariable: (name: string) => boolean,
): ShellError | undefined {
  const word = /^[A-Za-z_][\w-]*(?=\s|$)/.exec(source)?.[0] ?? /^[A-Za-z_]\w*/.exec(source)?.[0];
  if (word === undefined || hasVariable(word) || !(error instanceof Error)) return undefined;
  // `reverse-step` is a subtraction to TypeScript, but hardly to who types it.
  const parts = word.split("-");
  if (parts.some((part) => hasVariable(part))) return undefined;
  const missing = error.name === "ReferenceError" &&
    parts.some((part) => error.message === `${part} is not defined`);
  if (!missing && !(error instanceof SyntaxError && invocation(source))) return undefined;
  if (
    /^(?:await|const|let|var|function|class|if|for|while|return|new|import|export|throw|try)$/.test(word)
  ) return;
  return new ShellError(`\`${word}\` is neither a command nor a variable`, remedyFor(word, table));
}
