/**
 * Cuts lines into commands and commands into words.
 *
 * - `;` ends a command, `#` after a blank (or at the start) begins a comment.
 * - `"..."` groups and knows `\"  \\  \n  \r  \t  \0  \xNN`; `'...'` groups and takes everything as it is.
 * - `(...)`, `[...]` and `{...}` keep what is inside together, as typed: it is TypeScript or an expression.
 * - A quote or bracket that is never closed is an ordinary character, or goes on to the end of the line.
 */

import type { Invocation } from "./command.ts";

const BLANK = /[ \t\r\n\v\f]/;
const QUOTES = "\"'`";
const OPEN = "([{";
const CLOSE = ")]}";

/** Finds where a quote that opens at `at` closes; -1 if it never does. */
function closing(text: string, at: number, raw: boolean): number {
  const quote = text[at];
  if (raw && quote === "'") return text.indexOf("'", at + 1);
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === quote) return i;
  }
  return -1;
}

/** A stretch of a command: plain text, a quoted group at depth 0, a blank, `;` or the start of a comment. */
interface Stretch {
  readonly kind: "text" | "quoted" | "blank" | "end" | "comment";
  /** Where it begins in the line, and where the next one begins. */
  readonly from: number;
  readonly to: number;
}

/** Cuts a line into stretches, once through, whatever is in it. */
function* stretches(line: string): Generator<Stretch> {
  let depth = 0;
  // Quotes that are known never to close any more, so that each is looked for once only.
  const open = new Set<string>();
  let i = 0;
  let wasBlank = true;
  while (i < line.length) {
    const from = i;
    const c = line[i];
    let kind: Stretch["kind"] = "text";
    if (QUOTES.includes(c) && !open.has(c)) {
      const close = closing(line, i, depth === 0);
      if (close < 0) {
        open.add(c);
        i++;
      } else {
        i = close + 1;
        // A template is TypeScript's: it keeps its backquotes, and nothing inside it ends a word.
        if (depth === 0 && c !== "`") kind = "quoted";
      }
    } else if (OPEN.includes(c)) {
      depth++;
      i++;
    } else if (CLOSE.includes(c)) {
      depth = Math.max(0, depth - 1);
      i++;
    } else if (depth === 0 && BLANK.test(c)) {
      kind = "blank";
      i++;
    } else if (depth === 0 && c === ";") {
      kind = "end";
      i++;
    } else if (depth === 0 && c === "#" && wasBlank) {
      kind = "comment";
      i = line.length;
    } else {
      i++;
    }
    yield { kind, from, to: i };
    wasBlank = kind === "blank" || kind === "end";
  }
}

/**
 * Cuts off the first command of a line.
 *
 * @returns The command, trimmed and without its comment, and what stands behind the `;`.
 */
export function firstCommand(line: string): { command: string; rest: string } {
  for (const { kind, from, to } of stretches(line)) {
    if (kind === "end") return { command: line.slice(0, from).trim(), rest: line.slice(to).trim() };
    if (kind === "comment") return { command: line.slice(0, from).trim(), rest: "" };
  }
  return { command: line.trim(), rest: "" };
}

/** Whether a `{` in the line is still open, so that a closure goes on in the next line. */
export function hasOpenBrace(line: string): boolean {
  let depth = 0;
  for (const { kind, from, to } of stretches(line)) {
    if (kind !== "text" || to !== from + 1) continue;
    if (line[from] === "{") depth++;
    else if (line[from] === "}") depth--;
  }
  return depth > 0;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  "0": "\0",
  '"': '"',
  "\\": "\\",
};

/** What a double-quoted group says; escapes that it does not know stay as they are, so that `"\d+"` works. */
function unescape(text: string): string {
  return text.replace(/\\(?:x([0-9A-Fa-f]{2})|([^]))/g, (all, hex: string | undefined, other: string) => {
    if (hex !== undefined) return String.fromCharCode(parseInt(hex, 16));
    return ESCAPES[other] ?? all;
  });
}

/** Cuts a command's arguments into words. */
export function words(text: string): string[] {
  const found: string[] = [];
  let word: string | undefined;
  for (const { kind, from, to } of stretches(text)) {
    if (kind === "blank" || kind === "end") {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else if (kind === "comment") {
      break;
    } else if (kind === "quoted") {
      const inside = text.slice(from + 1, to - 1);
      word = (word ?? "") + (text[from] === '"' ? unescape(inside) : inside);
    } else {
      word = (word ?? "") + text.slice(from, to);
    }
  }
  if (word !== undefined) found.push(word);
  return found;
}

/** Writes a word so that `words` gives it back. */
export function quoteWord(word: string): string {
  if (/^[\w$%+\-.,:/=@*&^~<>!|]+$/.test(word)) return word;
  const inside = word.replace(/["\\\n\r\t\0]/g, (c) => {
    if (c === "\n") return "\\n";
    if (c === "\r") return "\\r";
    if (c === "\t") return "\\t";
    if (c === "\0") return "\\x00";
    return `\\${c}`;
  });
  return `"${inside}"`;
}

/**
 * Reads a command's name, format and arguments: `x/16xb $rip` is {name "x", format "16xb", rest "$rip"}.
 *
 * @returns undefined if the text does not begin as a command does: a name, then a blank, a `/format` or the end;
 * `c&` is `c &`, as in gdb.
 */
export function invocation(command: string): Invocation | undefined {
  const match = /^([A-Za-z_?][\w-]*)(?:\/(-?[0-9A-Za-z]*))?(?=[ \t\r\n\v\f]|&?$)/.exec(command);
  if (!match) return undefined;
  const rest = command.slice(match[0].length).trim();
  return { name: match[1], format: match[2] ?? "", rest, words: words(rest) };
}
