import type nodeProcess from "node:process";
import type { Key, Keyboard } from "./keyboard.ts";
import type { Output } from "./output.ts";
import { ReverseSearch } from "./reverse_search.ts";

/** What is offered for a line, and how much of its end that replaces. */
export type Completion = [candidates: string[], replaced: string];

/** What the editor asks of the shell. */
export interface EditorParts {
  readonly output: Output;
  /** Newest first. */
  readonly history: readonly string[];
  readonly historyLimit: number;
  complete(line: string): Promise<Completion>;
  /** Ctrl-C on an empty line. */
  interrupt(): void;
  /** Ctrl-Z. */
  stop(): void;
}

type Interface = import("node:readline").Interface & {
  line: string;
  cursor: number;
  history?: string[];
  /** Takes each key; node:repl has its own in its place, too. */
  _ttyWrite(text: string | undefined, key: Key): void;
};

/** How long an unfinished line of background output waits for its rest, in milliseconds. */
const PARTIAL_LINE_WAIT = 150;

/** Longest background line that is held back. */
const PARTIAL_LINE_LIMIT = 4096;

/** Most keys that are kept for the next line while a command runs. */
const AHEAD_LIMIT = 4096;

/** Ctrl-\ and Ctrl-], which node:readline would put into the line. Ctrl-] may come late, to leave a `serial` that is over. */
const NO_TEXT: readonly unknown[] = ["\x1c", "\x1d"];

/**
 * Line editing over node:readline. Only while a line is being typed is Ctrl-C a key; while a command runs it is
 * a signal. What is printed while a line is typed goes above it; what is typed while a command runs is for the
 * lines that follow, or for whoever has grabbed the keyboard.
 */
export class Editor implements Output, Keyboard {
  readonly terminal = true;
  #parts: EditorParts;
  #readline: typeof import("node:readline");
  #process: typeof nodeProcess;
  #interface: Interface;
  #editKey: Interface["_ttyWrite"];
  #search: ReverseSearch;
  /** Keys for the lines that follow: read at once, since a Ctrl-C empties the terminal's own queue. */
  #ahead: [text: string | undefined, key: Key][] = [];
  #taker: ((bytes: string) => void) | undefined;
  #waiting: ((line: string | undefined) => void) | undefined;
  #ended = false;
  #partial = "";
  #partialTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    parts: EditorParts,
    readline: typeof import("node:readline"),
    process: typeof nodeProcess,
  ) {
    this.#parts = parts;
    this.#readline = readline;
    this.#process = process;
    this.#interface = readline.createInterface({
      input: process.stdin,
      output: process.stdout,
      terminal: true,
      history: [...parts.history],
      historySize: parts.historyLimit,
      removeHistoryDuplicates: true,
      tabSize: 8,
      completer: (line: string, done: (error: Error | null, completion: Completion) => void) => {
        parts.complete(line).then((found) => done(null, found), () => done(null, [[], line]));
      },
    }) as Interface;
    this.#interface.on("line", (line: string) => this.#take(line));
    this.#interface.on("close", () => this.#end());
    this.#interface.on("SIGINT", () => this.#interrupted());
    this.#interface.on("SIGTSTP", () => this.#parts.stop());
    this.#search = new ReverseSearch(this.#interface);
    this.#editKey = this.#interface._ttyWrite.bind(this.#interface);
    this.#interface._ttyWrite = (text, key) => this.#key(text, key);
    this.#suspend();
  }

  /** Loads node:readline, which scripts do without, and takes standard input. */
  static async open(parts: EditorParts): Promise<Editor> {
    const [readline, { default: process }] = await Promise.all([
      import("node:readline"),
      import("node:process"),
    ]);
    return new Editor(parts, readline, process);
  }

  get width(): number {
    return this.#parts.output.width;
  }

  get atLineStart(): boolean {
    return this.#waiting !== undefined || this.#parts.output.atLineStart;
  }

  /**
   * Reads one line.
   *
   * @returns undefined at the end of input (Ctrl-D, or the terminal is gone).
   */
  async readLine(prompt: string): Promise<string | undefined> {
    if (this.#ended) return undefined;
    this.#flushPartial();
    if (!this.#parts.output.atLineStart) this.#parts.output.write("\n");
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#waiting = resolve;
    this.#setMode("line");
    this.#interface.setPrompt(prompt);
    this.#interface.prompt();
    while (this.#waiting) {
      const key = this.#ahead.shift();
      if (key === undefined) break;
      this.#lineKey(...key);
    }
    return await promise;
  }

  #key(text: string | undefined, key: Key): void {
    if (this.#taker) this.#taker(key.sequence ?? text ?? "");
    else if (!this.#waiting || this.#ahead.length > 0) {
      if (this.#ahead.length < AHEAD_LIMIT) this.#ahead.push([text, key]);
    } else this.#lineKey(text, key);
  }

  #lineKey(text: string | undefined, key: Key): void {
    if (NO_TEXT.includes(key.sequence)) return;
    if (!this.#search.take(text, key)) this.#editKey(text, key);
  }

  grab(take: (bytes: string) => void): Disposable {
    for (const [text, key] of this.#ahead.splice(0)) take(key.sequence ?? text ?? "");
    this.#taker = take;
    this.#setMode("line");
    return {
      [Symbol.dispose]: () => {
        this.#taker = undefined;
        this.#setMode("command");
      },
    };
  }

  async lend<T>(work: () => Promise<T>): Promise<T> {
    this.#interface.pause();
    this.#setMode("none");
    try {
      return await work();
    } finally {
      this.#setMode("command");
      this.#interface.resume();
    }
  }

  /** Gives the terminal back for the time in which the process is stopped. */
  release(): void {
    this.#setMode("none");
  }

  /** Takes the terminal again, and shows the line that is being typed. */
  take(): void {
    this.#setMode(this.#waiting || this.#taker ? "line" : "command");
    if (this.#waiting) this.#interface.prompt(true);
  }

  /** Changes a prompt while its line is typed, as when the guest stops meanwhile. */
  changePrompt(from: string, prompt: string): void {
    if (!this.#waiting || from === prompt || this.#interface.getPrompt() !== from) return;
    this.#interface.setPrompt(prompt);
    this.#interface.prompt(true);
  }

  write(text: string): void {
    if (!this.#waiting) {
      this.#parts.output.write(text);
      return;
    }
    this.#partial += text;
    const end = this.#partial.lastIndexOf("\n") + 1;
    if (end > 0) {
      this.#above(this.#partial.slice(0, end));
      this.#partial = this.#partial.slice(end);
    }
    clearTimeout(this.#partialTimer);
    if (this.#partial.length > PARTIAL_LINE_LIMIT) this.#flushPartial();
    else if (this.#partial !== "") {
      this.#partialTimer = setTimeout(() => this.#flushPartial(), PARTIAL_LINE_WAIT);
    }
  }

  #flushPartial(): void {
    clearTimeout(this.#partialTimer);
    const text = this.#partial;
    this.#partial = "";
    if (text === "") return;
    if (this.#waiting) this.#above(`${text}\n`);
    else this.#parts.output.write(text);
  }

  /** Prints whole lines above the one that is being typed. */
  #above(text: string): void {
    const { stdout } = this.#process;
    // The line may have wrapped: go up to where its prompt begins.
    this.#readline.moveCursor(stdout, 0, -this.#interface.getCursorPos().rows);
    this.#readline.cursorTo(stdout, 0);
    this.#readline.clearScreenDown(stdout);
    this.#parts.output.write(text);
    this.#interface.prompt(true);
  }

  #take(line: string): void {
    const waiting = this.#waiting;
    this.#suspend();
    waiting?.(line);
  }

  #suspend(): void {
    this.#waiting = undefined;
    this.#setMode("command");
  }

  #end(): void {
    this.#ended = true;
    const waiting = this.#waiting;
    this.#flushPartial();
    this.#waiting = undefined;
    this.#setMode("none");
    waiting?.(undefined);
  }

  /** Ctrl-C gives the line up, the earlier lines of a longer input too. */
  #interrupted(): void {
    const waiting = this.#waiting;
    if (!waiting) return;
    if (this.#interface.line === "") this.#parts.interrupt();
    this.#parts.output.write("^C\n");
    this.#interface.write(null, { ctrl: true, name: "e" });
    this.#interface.write(null, { ctrl: true, name: "u" });
    this.#suspend();
    waiting(CANCELLED);
  }

  /**
   * "line": every key comes as it is. "command": nothing is echoed, what is typed ahead is kept, and Ctrl-C is a
   * signal. "none": as the terminal was.
   */
  #setMode(mode: "line" | "command" | "none"): void {
    try {
      this.#process.stdin.setRawMode?.(mode === "line");
      if (mode === "command") Deno.stdin.setRaw(true, { cbreak: true });
    } catch {
      // The terminal is gone; reading tells so.
    }
  }

  /** Lines entered in this session, newest first, history of before included. */
  get history(): readonly string[] {
    return this.#interface.history ?? [];
  }

  /** Gives the terminal back. */
  close(): void {
    clearTimeout(this.#partialTimer);
    this.#interface.close();
    this.#setMode("none");
  }
}

/** What `readLine` gives when Ctrl-C gave the line up. */
export const CANCELLED = "\0";
