import type { Style } from "../style.ts";
import { ascii, bare } from "./text.ts";

/** Rows of bytes with their characters, as many bytes a row as fit: 16, 8 or 4. */
export function hexdump(
  start: bigint,
  bytes: Uint8Array,
  style: Style,
  width = 80,
  previous?: Uint8Array,
): string {
  const digits = (start + BigInt(bytes.length)) >> 32n ? 16 : 8;
  const per = [16, 8].find((n) => digits + 2 + n * 3 + 1 + n + 2 <= width) ?? 4;
  let out = "";
  for (let row = 0; row < bytes.length; row += per) {
    const line = bytes.subarray(row, row + per);
    const cells = Array.from(line, (byte, i) => {
      const text = bare(byte, 2);
      if (previous !== undefined && previous[row + i] !== byte) return style.changed(text);
      return byte === 0 ? style.dim(text) : text;
    });
    const gap = per === 16 && line.length > 8 ? 8 : Infinity;
    let columns = "";
    cells.forEach((cell, i) => columns += (i === 0 ? "" : i === gap ? "  " : " ") + cell);
    const missing = (per - line.length) * 3 + (per === 16 && line.length <= 8 ? 1 : 0);
    out += `${style.address(bare(start + BigInt(row), digits))}  ${columns}${" ".repeat(missing)}  |${
      Array.from(line, ascii).join("")
    }|\n`;
  }
  return out;
}
