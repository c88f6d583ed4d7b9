import type { Key } from "./keyboard.ts";

/** The part of node:readline's interface that the search works on. */
export interface SearchedLine {
  line: string;
  cursor: number;
  /** Newest first. */
  history?: string[];
  getPrompt(): string;
  setPrompt(prompt: string): void;
  prompt(preserveCursor?: boolean): void;
}

interface Search {
  query: string;
  /** Place in the history of the line that is shown; -1 before the first is found. */
  at: number;
  failed: boolean;
  /** What is put back if the search is given up. */
  readonly before: { readonly prompt: string; readonly line: string; readonly cursor: number };
}

/**
 * Ctrl-R as in bash and gdb: each key narrows the search for the newest line with that text, Ctrl-R goes on to
 * older ones, Ctrl-G and Ctrl-C give it up, any other key takes the line found and does to it what it does.
 */
export class ReverseSearch {
  readonly #line: SearchedLine;
  #search: Search | undefined;

  constructor(line: SearchedLine) {
    this.#line = line;
  }

  /** Takes a key if it is the search's. @returns False if it is to be handled as always. */
  take(text: string | undefined, key: Key): boolean {
    const search = this.#search;
    if (!search) {
      if (!key.ctrl || key.name !== "r") return false;
      const { line, cursor } = this.#line;
      this.#search = {
        query: "",
        at: -1,
        failed: false,
        before: { prompt: this.#line.getPrompt(), line, cursor },
      };
      this.#show(this.#search);
      return true;
    }
    if (key.ctrl && key.name === "r") this.#find(search, search.query, search.at + 1);
    else if (key.ctrl && (key.name === "g" || key.name === "c")) {
      this.#end(search);
      this.#line.line = search.before.line;
      this.#line.cursor = search.before.cursor;
      this.#line.prompt(true);
      return true;
    } else if (key.name === "backspace") {
      this.#find(search, [...search.query].slice(0, -1).join(""), 0);
    } else if (text !== undefined && text >= " " && text !== "\x7f" && !key.ctrl && !key.meta) {
      this.#find(search, search.query + text, Math.max(0, search.at));
    } else {
      this.#end(search);
      // Escape only ends the search.
      return key.name === "escape";
    }
    this.#show(search);
    return true;
  }

  #find(search: Search, query: string, from: number): void {
    search.query = query;
    const history = this.#line.history ?? [];
    const found = query === "" ? -1 : history.findIndex((line, i) => i >= from && line.includes(query));
    search.failed = query !== "" && found < 0;
    if (found < 0) return;
    search.at = found;
    this.#line.line = history[found];
    this.#line.cursor = history[found].indexOf(query);
  }

  #show({ query, failed }: Search): void {
    this.#line.setPrompt(`(${failed ? "failed " : ""}reverse-i-search)\`${query}': `);
    this.#line.prompt(true);
  }

  #end({ before }: Search): void {
    this.#search = undefined;
    this.#line.setPrompt(before.prompt);
    this.#line.prompt(true);
  }
}
