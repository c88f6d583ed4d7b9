import type { ConsoleEnd, ConsoleInput } from "../vm/console.ts";
import { checkBytes, checkTimeout } from "../vm/check.ts";
import { TimeoutError, UnsupportedError } from "../vm/errors.ts";
import type { Console } from "../vm/machine.ts";
import { printable } from "../vm/printable.ts";
import { find, searching } from "./pattern.ts";

/** Characters kept. */
const LIMIT = 1 << 20;
const DEFAULT_TIMEOUT_MS = 30_000;
/** How often a full UART is offered the rest. */
const RETRY_MS = 5;
/** How far in front of new text a match may begin: looking at everything again would be quadratic. */
const WINDOW = 1 << 16;

export type { ConsoleEnd, ConsoleInput };

/** A pattern that is waited for. */
interface Wanted {
  /** With flag g: matching begins at `lastIndex`, and what `^` and lookbehind see does not depend on that. */
  readonly regexp: RegExp;
  /** Up to where it has been looked for, counted from the first character ever printed. */
  done: number;
}

/** What the guest printed, and waiting for it. */
export class GuestConsole implements Console, ConsoleEnd {
  #text = "";
  /** Where the part begins that no `expect` has matched yet. */
  #cursor = 0;
  /** Characters that are kept no more. */
  #dropped = 0;
  readonly #decoder = new TextDecoder("utf-8", { fatal: false });
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  readonly #waiting = new Set<() => void>();
  #soon: ReturnType<typeof setImmediate> | undefined;
  /** The newest last. */
  #inputs: { readonly take: ConsoleInput }[] = [];
  #closed = false;

  get text(): string {
    return this.#text;
  }

  /** Whether code of the user's hears what the guest prints, at once. */
  get heard(): boolean {
    return this.#listeners.size > 0;
  }

  /** Takes what the guest printed. */
  print(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const excess = this.#text.length - LIMIT;
    if (excess > LIMIT / 4) {
      this.#text = this.#text.slice(excess);
      this.#dropped += excess;
      this.#cursor = Math.max(0, this.#cursor - excess);
    }
    for (const listener of this.#listeners) listener(bytes);
    // A UART prints byte by byte: looking for the pattern once a turn keeps a long wait from being quadratic.
    if (this.#waiting.size > 0) this.#soon ??= setImmediate(() => this.#check());
  }

  #check(): void {
    this.#soon = undefined;
    for (const check of this.#waiting) check();
  }

  connect(input: ConsoleInput): Disposable {
    const entry = { take: input };
    this.#inputs.push(entry);
    return { [Symbol.dispose]: () => void (this.#inputs = this.#inputs.filter((other) => other !== entry)) };
  }

  /** Ends every wait: nothing more will be printed. */
  close(): void {
    this.#closed = true;
    if (this.#soon !== undefined) clearImmediate(this.#soon);
    this.#check();
  }

  async expect(
    pattern: RegExp | string,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<RegExpMatchArray> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    checkTimeout(timeoutMs);
    const wanted: Wanted = { regexp: searching(pattern), done: 0 };
    const present = this.#match(wanted);
    if (present !== undefined) return present;
    return await new Promise((resolve, reject) => {
      const finish = () => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        signal?.removeEventListener("abort", abort);
      };
      const abort = () => {
        finish();
        reject(signal?.reason);
      };
      const check = () => {
        let match: RegExpMatchArray | undefined;
        try {
          match = this.#match(wanted);
        } catch (error) {
          finish();
          return reject(error);
        }
        if (match !== undefined) {
          finish();
          resolve(match);
        } else if (this.#closed) {
          finish();
          reject(this.#missing(pattern, "before the machine was closed"));
        }
      };
      const timer = setTimeout(() => {
        finish();
        reject(this.#missing(pattern, `within ${timeoutMs} ms`));
      }, Math.min(timeoutMs, 0x7fff_ffff));
      this.#waiting.add(check);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) abort();
      else check();
    });
  }

  async send(text: string | Uint8Array): Promise<void> {
    let rest = typeof text === "string" ? new TextEncoder().encode(text) : checkBytes(text);
    if (this.#inputs.length === 0 && !this.#closed) {
      throw new UnsupportedError("typing at this console", "nothing that hvsh has reads it", {
        remedy: "an attached guest's console is where its hypervisor was told to put it; others need a UART",
      });
    }
    while (rest.length > 0 && !this.#closed) {
      rest = rest.subarray(this.#inputs.at(-1)?.take(rest) ?? rest.length);
      if (rest.length > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  onOutput(listener: (bytes: Uint8Array) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** The newest `count` lines. */
  lastLines(count: number): string[] {
    return this.#text.trimEnd().split(/\r?\n/).slice(-count);
  }

  #match(wanted: Wanted): RegExpMatchArray | undefined {
    const { regexp } = wanted;
    const text = this.#text.slice(this.#cursor);
    regexp.lastIndex = Math.max(0, wanted.done - this.#dropped - this.#cursor - WINDOW);
    wanted.done = this.#dropped + this.#text.length;
    const match = find(regexp, text);
    if (match === undefined) return undefined;
    this.#cursor += (match.index ?? 0) + match[0].length;
    return match;
  }

  #missing(pattern: RegExp | string, when: string): TimeoutError {
    const tail = this.lastLines(5).map((line) => `\n  | ${printable(line)}`).join("");
    return new TimeoutError(
      `the console did not show ${pattern} ${when}; its last lines:${tail || " none"}`,
      {
        remedy: "check that the guest runs: expect() does not resume it, call continue() beside it",
      },
    );
  }
}
