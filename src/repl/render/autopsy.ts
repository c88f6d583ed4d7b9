import type { Autopsy } from "../../dsl/mod.ts";
import { exceptionName } from "../../dsl/x86.ts";
import type { Style } from "../style.ts";
import { renderTrace } from "./trace.ts";
import { hex, table, wrap } from "./text.ts";

/** What is known after a triple fault: verdict first, evidence below. */
export function renderAutopsy(
  found: Autopsy,
  style: Style,
  width: number,
  symbol?: (address: bigint) => string | undefined,
): string {
  let out = wrap(`Probably: ${found.verdict}`, width).map((l) => `${l}\n`).join("");
  if (found.vector !== undefined) {
    const code = found.errorCode === undefined ? "" : `, error code ${hex(found.errorCode)}`;
    out += `Last exception: ${vectorName(found.vector)}${code}\n`;
  }
  out += `CR2 ${hex(found.cr2)}, IDT at ${hex(found.idtrBase)} limit ${hex(found.idtrLimit)}\n`;
  out += table(
    found.entries.map((e) => [
      `  ${style.symbol(vectorName(e.vector))}`,
      style.address(hex(e.address)),
      e.bytes === undefined
        ? style.error(e.error ?? "unreadable")
        : Array.from(e.bytes, (b) => b.toString(16).padStart(2, "0")).join(" "),
    ]),
    width,
  );
  if (found.lastAccesses.length === 0) return out;
  return `${out}Last accesses:\n${renderTrace(found.lastAccesses, style, width, symbol)}`;
}

function vectorName(vector: number): string {
  const name = exceptionName(vector);
  return name === undefined ? `vector ${hex(vector, 2)}` : `${vector} ${name}`;
}
