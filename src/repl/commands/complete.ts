/** What can stand at the end of a command's arguments. */
import { hosts } from "../../dsl/open.ts";
import { msrNames } from "../../dsl/x86.ts";
import type { Invocation } from "../command.ts";
import { registerAliases } from "../expression.ts";
import { groupWords } from "../render/registers.ts";
import type { Session } from "../session.ts";

/** Symbols and `$registers`; the last word is what counts, and the part of it behind an operator. */
export function locations(session: Session, { words }: Invocation): string[] {
  const word = words.at(-1) ?? "";
  const [, before, last] = /^(.*?)(\$?[\w.]*)$/.exec(word) ?? ["", "", word];
  const found = last.startsWith("$")
    ? registerAliases().map((name) => `$${name}`)
    : last === ""
    ? []
    : session.vm?.symbols.complete(last) ?? [];
  return found.filter((name) => name.startsWith(last)).map((name) => before + name);
}

/** Numbers of the breakpoints there are. */
export function breakpointIds(session: Session): string[] {
  return session.vm === undefined ? [] : [...session.vm.breakpoints].map((b) => String(b.id));
}

/** Register groups and names. */
export function registerWords(): string[] {
  return [...groupWords(), ...registerAliases()];
}

/** MSRs by name. */
export function msrWords(): string[] {
  return msrNames();
}

/** Backends by name. */
export async function backends(): Promise<string[]> {
  return (await hosts()).map((h) => h.backend);
}
