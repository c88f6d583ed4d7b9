import { printable } from "../dsl/printable.ts";

/**
 * Answers and errors, made safe for a terminal: whatever of a guest's is in them (names of symbols, text of its
 * console), of control sequences only the colours that we put there get through.
 *
 * @param colors Whether there are any.
 */
export function safeAnswer(text: string, colors: boolean): string {
  if (!colors) return printable(text);
  // deno-lint-ignore no-control-regex -- SGR sequences are what is kept
  return text.split(/(\x1b\[[0-9;]*m)/).map((piece, i) => (i % 2 === 1 ? piece : printable(piece))).join("");
}

/**
 * What a guest prints, made safe for a terminal.
 *
 * The guest is hostile: an escape sequence of its can rename the window, write the clipboard or make the
 * terminal answer as if the user had typed. Text, line ends, tabs, backspace and (where wanted) colours get
 * through; every other control sequence is dropped.
 */
export class GuestText {
  #decoder = new TextDecoder("utf-8");
  #colors: boolean;
  #held = "";

  /** @param colors Whether colour sequences (SGR) are kept. */
  constructor(colors: boolean) {
    this.#colors = colors;
  }

  /** The next bytes as text; a sequence that is cut off at their end is held back for the next call. */
  push(bytes: Uint8Array): string {
    const text = this.#held + this.#decoder.decode(bytes, { stream: true });
    this.#held = "";
    let out = "";
    let i = 0;
    while (i < text.length) {
      const escape = nextControl(text, i);
      out += text.slice(i, escape);
      if (escape === text.length) break;
      const end = sequenceEnd(text, escape);
      if (end === undefined) {
        // Bounded: a sequence that does not end is no sequence.
        if (text.length - escape < HELD_LIMIT) this.#held = text.slice(escape);
        break;
      }
      const sequence = text.slice(escape, end);
      // deno-lint-ignore no-control-regex -- control characters are what this is about
      if (this.#colors && /^\x1b\[[0-9;:]*m$/.test(sequence)) out += sequence;
      i = end;
    }
    return out;
  }
}

/** Longest cut-off sequence kept until more comes. */
const HELD_LIMIT = 256;

/** Where the next character stands that must not reach the terminal as it is. */
function nextControl(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x20 ? c !== 0x0a && c !== 0x0d && c !== 0x09 && c !== 0x08 : c >= 0x7f && c < 0xa0) return i;
  }
  return text.length;
}

/** Where the control sequence (ECMA-48, 5.4 and 5.6) at `at` ends; undefined if it is cut off. */
function sequenceEnd(text: string, at: number): number | undefined {
  if (text[at] !== "\x1b") return at + 1;
  const kind = text[at + 1];
  if (kind === undefined) return undefined;
  if (kind === "[") {
    for (let i = at + 2; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x40 && c <= 0x7e) return i + 1;
      if (c < 0x20 || c > 0x7e) return i;
    }
    return undefined;
  }
  if ("]PX^_".includes(kind)) {
    // A string that BEL or ESC \ ends; a line end shows that it was none.
    for (let i = at + 2; i < text.length; i++) {
      if (text[i] === "\x07") return i + 1;
      if (text[i] === "\x1b") return text[i + 1] === undefined ? undefined : text[i + 1] === "\\" ? i + 2 : i;
      if (text[i] === "\n") return i;
    }
    return undefined;
  }
  // Intermediate bytes, then one final byte: "ESC ( B" and the like.
  let i = at + 1;
  while (i < text.length && text.charCodeAt(i) >= 0x20 && text.charCodeAt(i) <= 0x2f) i++;
  return i < text.length ? i + 1 : undefined;
}
