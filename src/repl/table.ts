import type { Command } from "./command.ts";
import { ShellError } from "./error.ts";
import { nearest } from "./nearest.ts";

/** The shell's commands by name, alias and abbreviation. */
export class CommandTable {
  #rows: readonly Command[];
  #byName = new Map<string, Command>();
  /** Names of rows that were added. */
  #added = new Set<string>();

  /** @param rows Where two rows claim one name, the first has it. */
  constructor(rows: readonly Command[]) {
    this.#rows = [...new Set(rows)].filter((row, i, all) =>
      all.findIndex((r) => r.names[0] === row.names[0]) === i
    );
    for (const row of this.rows) {
      for (const name of row.names) if (!this.#byName.has(name)) this.#byName.set(name, row);
    }
  }

  /** The rows, in the order in which `help` lists them. */
  get rows(): readonly Command[] {
    return this.#rows;
  }

  /** Adds a command of the user's own, or puts it in the place of one. @throws {ShellError} If the name is taken. */
  add(row: Command): void {
    const [name] = row.names;
    if (this.#byName.has(name) && !this.#added.has(name)) {
      throw new ShellError(`${name} is a command of hvsh's own`, "choose another name");
    }
    this.#rows = [...this.#rows.filter((other) => other.names[0] !== name), row];
    this.#added.add(name);
    this.#byName.set(name, row);
  }

  /** A command that was added. */
  added(name: string): Command | undefined {
    return this.#added.has(name) ? this.#byName.get(name) : undefined;
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
