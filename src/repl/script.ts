import { ShellError } from "./error.ts";

/** What runs a script: the shell. */
export interface ScriptRunner {
  /** The guest that a module's default export is called with. */
  readonly vm: unknown;
  /** Set once a line said `quit`. */
  readonly exitCode: number | undefined;
  /** Shows a line before it runs; a comment or a blank line too. Undefined: nothing is shown. */
  readonly echo?: (line: string) => void;
  execute(line: string): Promise<void>;
  foreground<T>(work: () => Promise<T>): Promise<T>;
  isUnfinished(text: string): Promise<boolean>;
  /** Puts `vm` and the library on the global object. */
  engine(): Promise<unknown>;
}

/** Largest file of commands; more is not one. */
const SIZE_LIMIT = 16 * 1024 * 1024;

let loads = 0;

/**
 * Runs a file of commands, or a TypeScript module with the session's `vm` on its global object.
 *
 * @param path Relative to `base`; `~/` is the home directory.
 * @param setBase Told the file's own place, against which imports in it are resolved.
 * @throws {ShellError} If the file can't be read, or a command in it fails; names file and line.
 */
export async function runFile(
  shell: ScriptRunner,
  path: string,
  base: URL,
  setBase: (url: URL) => void,
): Promise<void> {
  const home = Deno.env.get("HOME");
  const full = path.startsWith("~/") && home !== undefined ? `${home}${path.slice(1)}` : path;
  const url = new URL(full.split("/").map(encodeURIComponent).join("/"), base);
  if (/\.[mc]?[tj]s$/.test(path)) return await runModule(shell, url, path);
  const lines = (await readText(url, path)).split(/\r?\n/);
  setBase(url);
  await runLines(shell, lines, (error, _, line) => {
    throw atPlace(error, `${path}:${line}`);
  });
}

/**
 * Runs lines as if typed; TypeScript may go on over several.
 *
 * @param failed Told what failed and where the input began; it throws to stop, or returns to go on.
 */
export async function runLines(
  shell: ScriptRunner,
  lines: Iterable<string> | AsyncIterable<string>,
  failed: (error: unknown, input: string, line: number) => void,
): Promise<void> {
  let pending = "";
  let first = 0;
  let number = 0;
  const run = async () => {
    const input = pending;
    pending = "";
    shell.echo?.(input);
    try {
      await shell.foreground(() => shell.execute(input));
    } catch (error) {
      failed(error, input, first);
    }
  };
  for await (const line of lines) {
    number++;
    if (pending === "") {
      if (line.trim() === "" || line.trimStart().startsWith("#")) {
        shell.echo?.(line);
        continue;
      }
      first = number;
      pending = line;
    } else {
      pending += `\n${line}`;
    }
    if (await shell.isUnfinished(pending)) continue;
    await run();
    if (shell.exitCode !== undefined) return;
  }
  if (pending !== "") await run();
}

/** The lines of standard input, as they come. */
export async function* standardInputLines(): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  for (;;) {
    const length = await Deno.stdin.read(buffer);
    text += length === null ? decoder.decode() : decoder.decode(buffer.subarray(0, length), { stream: true });
    const lines = text.split(/\r?\n/);
    text = lines.pop() ?? "";
    yield* lines;
    if (length === null) break;
  }
  if (text !== "") yield text;
}

async function runModule(shell: ScriptRunner, url: URL, path: string): Promise<void> {
  // Defines `vm` and the library's names, which a module may use without importing them.
  await shell.engine();
  // A second `source` of the same file runs it as it is then.
  url.search = `?run=${++loads}`;
  const module: { default?: unknown } = await import(url.href).catch((error) => {
    if (error instanceof TypeError && error.message.startsWith("Module not found")) {
      const missing = /^Module not found "([^"]*)"/.exec(error.message)?.[1];
      if (missing === undefined || missing === url.href) {
        throw new ShellError(`There is no file ${path}`, "Paths are relative to the current directory.");
      }
      throw new ShellError(
        `${path} imports ${missing}, which is not there`,
        "Imports are relative to the file that has them.",
      );
    }
    throw error;
  });
  if (typeof module.default === "function") await module.default(shell.vm);
}

async function readText(url: URL, path: string): Promise<string> {
  try {
    const { isDirectory } = await Deno.stat(url);
    if (isDirectory) throw new ShellError(`${path} is a directory`, "Name a file of commands or a .ts file.");
    const file = await Deno.open(url);
    if (file.isTerminal()) {
      file.close();
      // What is typed would go there from now on, and not to the prompt, Ctrl-C or not.
      throw new ShellError(
        `${path} is a terminal`,
        "Type the commands at the prompt, or name a file of them.",
      );
    }
    const decoder = new TextDecoder();
    let text = "";
    let length = 0;
    // A pipe or a device tells no size before its end.
    for await (const bytes of file.readable) {
      length += bytes.length;
      if (length > SIZE_LIMIT) {
        throw new ShellError(
          `${path} is longer than ${SIZE_LIMIT} bytes, too much for a file of commands`,
          "Name a file of commands or a .ts file.",
        );
      }
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof ShellError) throw error;
    const reason = error instanceof Deno.errors.NotFound ? "there is no such file" : (error as Error).message;
    throw new ShellError(`${path} can't be read: ${reason}`, "Paths are relative to the current directory.");
  }
}

/** Says where in the file it happened; the error's own sentence and remedy stay. */
function atPlace(error: unknown, place: string): unknown {
  if (!(error instanceof Error)) return error;
  const named = new ShellError(`${place}: ${error.message}`, (error as { remedy?: string }).remedy);
  named.cause = error;
  return named;
}
