import type { Command } from "./command.ts";
import { nearest } from "./nearest.ts";

/** The shell's commands by name, alias and abbreviation. */
export class CommandTable {
  /** The rows, in the order in which `help` lists them. */
  readonly rows: readonly Command[];
  #byName = new Map<string, Command>();

  /** @param rows Where two rows claim one name, the first has it. */
  constructor(rows: readonly Command[]) {
    this.rows = [...new Set(rows)].filter((row, i, all) =>
      all.findIndex((r) => r.names[0] === row.names[0]) === i
    );
    for (const row of this.rows) {
      for (const name of row.names) if (!this.#byName.has(name)) this.#byName.set(name, row);
    }
  }

  /** The command whose full name or alias is `name`. */
  exact(name: string): Command | undefined {
    return this.#byName.get(name);
  }

  /** The commands whose full name begins with `prefix`. */
  startingWith(prefix: string): Command[] {
    return prefix === "" ? [] : this.rows.filter((row) => row.names[0].startsWith(prefix));
  }

  /** The command meant by a name, an alias or an unambiguous abbreviation. */
  resolve(name: string): Command | undefined {
    const found = this.exact(name);
    if (found) return found;
    const candidates = this.startingWith(name);
    return candidates.length === 1 ? candidates[0] : undefined;
  }

  /** Every full name and alias. */
  names(): string[] {
    return [...this.#byName.keys()];
  }

  /** The name that a mistyped one was probably meant to be. */
  nearest(name: string): string | undefined {
    // Aliases of one or two letters are near everything.
    return nearest(name, this.names().filter((known) => known.length > 2));
  }
}
