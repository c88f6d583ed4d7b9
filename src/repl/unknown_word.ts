import { ShellError } from "./error.ts";
import { invocation } from "./lexer.ts";
import type { CommandTable } from "./table.ts";

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
  const near = table.nearest(word);
  return new ShellError(
    `\`${word}\` is neither a command nor a variable`,
    near === undefined
      ? "`help` lists the commands."
      : `Did you mean \`${near}\`? \`help\` lists the commands.`,
  );
}
