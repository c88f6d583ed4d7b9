/** Laying out text whose parts may carry colour codes. */
import { builtin } from "../../dsl/builtin.ts";

/** Columns that `text` takes on a terminal, colour codes left out. */
export function visible(text: string): number {
  // node:util takes a tenth of what the shell takes to start, and text without an escape has nothing to leave out.
  if (!text.includes("\x1b") && !text.includes("\x9b")) return text.length;
  return builtin("node:util").stripVTControlCharacters(text).length;
}

/** Pads with blanks to `width` columns. */
export function pad(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - visible(text)));
}

/** Pads with blanks on the left to `width` columns. */
export function padLeft(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - visible(text))) + text;
}

/** Cuts a line to `width` columns, ending in "…" where something is missing; colours are closed properly. */
export function clip(line: string, width: number): string {
  if (visible(line) <= width) return line;
  let left = Math.max(0, width - 1);
  let out = "";
  // deno-lint-ignore no-control-regex -- SGR sequences are what we look for
  for (const piece of line.split(/(\x1b\[[0-9;]*m)/)) {
    if (piece.startsWith("\x1b[")) out += piece;
    else {
      out += piece.slice(0, left);
      left -= Math.min(left, piece.length);
    }
  }
  return `${out}…`;
}

/** Hexadecimal with `0x`, padded with zeros to `digits`. Negative numbers as their low 64 bits. */
export function hex(value: bigint | number, digits = 1): string {
  return `0x${bare(value, digits)}`;
}

/** Hexadecimal without `0x`. */
export function bare(value: bigint | number, digits = 1): string {
  const n = BigInt(value);
  return (n < 0n ? BigInt.asUintN(64, n) : n).toString(16).padStart(digits, "0");
}

/** `FFFF:OOOO` as real-mode people write it. */
export function far(selector: bigint | number, offset: bigint | number): string {
  return `${bare(selector, 4)}:${bare(offset, 4)}`;
}

/** Cells in as many columns as fit, row by row; every column is as wide as the widest cell. */
export function grid(cells: readonly string[], width: number, gap = 2): string {
  if (cells.length === 0) return "";
  const cell = Math.max(...cells.map(visible));
  const columns = Math.max(1, Math.floor((width + gap) / (cell + gap)));
  let out = "";
  for (let i = 0; i < cells.length; i += columns) {
    const row = cells.slice(i, i + columns);
    out += row.map((c, n) => (n === row.length - 1 ? c : pad(c, cell + gap))).join("") + "\n";
  }
  return out;
}

/** Narrowest last column that is worth wrapping; below it the line is left to the terminal. */
const NARROWEST = 16;

/** Rows with aligned columns. What of the last column does not fit `width` goes on below it. */
export function table(rows: readonly (readonly string[])[], width = Infinity, gap = 2): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      if (i < row.length - 1) widths[i] = Math.max(widths[i] ?? 0, visible(cell));
    });
  }
  return rows.map((row) => {
    const start = row.slice(0, -1).map((cell, i) => pad(cell, widths[i] + gap)).join("");
    const indent = visible(start);
    const last = row.at(-1) ?? "";
    const room = width - indent;
    const lines = room < NARROWEST || visible(last) <= room ? [last] : wrap(last, room);
    return lines.map((line, i) => (i === 0 ? start : " ".repeat(indent)) + line).map((l) =>
      `${l.trimEnd()}\n`
    ).join("");
  }).join("");
}

/** Cuts text at blanks into lines of at most `width` columns; a longer word is a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && visible(last) + 1 + visible(word) <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

/** "1 byte", "2 bytes". */
export function count(n: number | bigint, noun: string): string {
  return `${n} ${noun}${BigInt(n) === 1n ? "" : "s"}`;
}

/** Bytes in the unit in which they are a short number: "64 MiB", "4 KiB", "100 bytes". */
export function size(bytes: bigint | number): string {
  const n = BigInt(bytes);
  for (const [unit, shift] of [["GiB", 30n], ["MiB", 20n], ["KiB", 10n]] as const) {
    if (n >= 1n << shift && (n & (1n << shift) - 1n) === 0n) return `${n >> shift} ${unit}`;
  }
  return count(n, "byte");
}

/** A printable ASCII character, or a dot. */
export function ascii(byte: number): string {
  return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".";
}
