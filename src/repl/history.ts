/** Lines kept, newest first, as node:readline wants them. */
export const HISTORY_LIMIT = 2000;

/** Longest line that is kept; longer ones are pasted data. */
const LINE_LIMIT = 4096;

/** The history's file: XDG_STATE_HOME/hvsh/history, by default under ~/.local/state; undefined without a home. */
export function historyPath(): string | undefined {
  const state = Deno.env.get("XDG_STATE_HOME");
  const home = Deno.env.get("HOME");
  // The XDG base directory specification: a relative path is to be ignored.
  if (state?.startsWith("/")) return `${state}/hvsh/history`;
  return home ? `${home}/.local/state/hvsh/history` : undefined;
}

/** Reads the history, newest first; empty if there is none or it can't be read. */
export function readHistory(path: string | undefined): string[] {
  if (path === undefined) return [];
  try {
    return trim(Deno.readTextFileSync(path).split("\n").reverse());
  } catch {
    return [];
  }
}

function trim(lines: readonly string[]): string[] {
  return lines.filter((line) => line !== "" && line.length <= LINE_LIMIT && !line.includes("\0"))
    .slice(0, HISTORY_LIMIT);
}

/**
 * Writes the history, readable by its owner only: a new file takes the old one's place, so that a crash or a
 * second shell never leaves half of one. What another shell wrote meanwhile is kept: `added` goes on top of it.
 *
 * @param added Lines of this session, newest first.
 * @returns Whether it was written; a history that can't be kept is no reason to fail.
 */
export function appendHistory(path: string | undefined, added: readonly string[]): boolean {
  if (path === undefined || added.length === 0) return false;
  const seen = new Set<string>();
  const lines = trim([...added, ...readHistory(path)]).filter((line) => !seen.has(line) && seen.add(line));
  const fresh = `${path}.${Deno.pid}`;
  try {
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
    Deno.writeTextFileSync(fresh, `${lines.reverse().join("\n")}\n`, { mode: 0o600 });
    Deno.renameSync(fresh, path);
    return true;
  } catch {
    try {
      Deno.removeSync(fresh);
    } catch {
      // It never came to be.
    }
    return false;
  }
}
