import type { Completion } from "./editor.ts";
import { firstCommand, invocation } from "./lexer.ts";
import type { Shell } from "./shell.ts";

/** Most candidates offered; more would scroll the screen away. */
const LIMIT = 200;

/**
 * What can stand at the end of `line`: commands, a command's own arguments, registers after `$`, symbols, and
 * TypeScript names and members. Looking never changes anything.
 */
export async function complete(shell: Shell, line: string): Promise<Completion> {
  // Only the last command of the line is being typed.
  let text = line.trimStart();
  for (let cut = firstCommand(text); cut.rest !== "" && invocation(cut.command); cut = firstCommand(text)) {
    const call = invocation(cut.command);
    if (!call || !shell.table.resolve(call.name)) break;
    text = cut.rest;
  }
  const word = /[^\s"'`()[\]{},;]*$/.exec(text)?.[0] ?? "";
  if (word.startsWith("$")) return [await registers(word), word];
  if (/^[\w?]*$/.test(text) && !text.includes(".")) {
    const names = shell.table.names().filter((name) => name.startsWith(text) && name.length > 1);
    const values = text === "" ? [] : await typescriptNames(shell, text);
    return [limited([...names, ...values]), text];
  }
  const call = invocation(text);
  const command = call && shell.table.resolve(call.name);
  if (call && command && !/^\s*=/.test(call.rest)) {
    // A line that ends in a blank completes a new word.
    const begun = /\s$/.test(text) || call.rest === "" ? "" : call.words.at(-1) ?? "";
    const own =
      await command.complete?.(shell, begun === "" ? { ...call, words: [...call.words, ""] } : call) ?? [];
    if (own.length > 0) return [limited(own.filter((candidate) => candidate.startsWith(begun))), begun];
    return [limited(symbols(shell, word)), word];
  }
  return await member(shell, text);
}

function limited(candidates: readonly string[]): string[] {
  return [...new Set(candidates)].sort().slice(0, LIMIT);
}

async function registers(word: string): Promise<string[]> {
  const { registerAliases } = await import("./expression/registers.ts");
  return limited(registerAliases().map((name) => `$${name}`).filter((name) => name.startsWith(word)));
}

function symbols(shell: Shell, prefix: string): string[] {
  // A guest without symbols, or a backend's machine without the table, has nothing to offer.
  return prefix === "" ? [] : [...(shell.vm?.symbols?.complete(prefix) ?? [])];
}

async function typescriptNames(shell: Shell, prefix: string): Promise<string[]> {
  const { engine, scope } = await shell.engine();
  return [...engine.variables(), ...scope.names()].filter((name) => name.startsWith(prefix));
}

/** `vm.vcpus[0].reg` offers the members of `vm.vcpus[0]`, if looking at it has no side effect. */
async function member(shell: Shell, text: string): Promise<Completion> {
  const match = /((?:[A-Za-z_$][\w$]*|\[\d+\]|\?)(?:\??\.[A-Za-z_$][\w$]*|\[\d+\])*)\??\.([\w$]*)$/.exec(
    text,
  );
  if (!match) {
    const word = /[A-Za-z_$][\w$]*$/.exec(text)?.[0] ?? "";
    return [word === "" ? [] : limited(await typescriptNames(shell, word)), word];
  }
  const { engine } = await shell.engine();
  const names = await engine.members(match[1]);
  return [
    limited(names.filter((name) => name.startsWith(match[2]) && /^[A-Za-z_$][\w$]*$/.test(name))),
    match[2],
  ];
}
