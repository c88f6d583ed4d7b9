import type { ExitStatistics, TraceEntry } from "../../dsl/mod.ts";
import type { Style } from "../style.ts";
import { count, hex, table } from "./text.ts";

/** Accesses, one a line: number, time, where from, what. */
export function renderTrace(
  entries: readonly TraceEntry[],
  style: Style,
  width: number,
  symbol?: (address: bigint) => string | undefined,
): string {
  const rows = entries.map((e) => [
    style.dim(`#${e.sequence}`),
    `${e.time.toFixed(3)} ms`,
    `vcpu ${e.vcpu}`,
    style.address(symbol?.(e.rip) ?? hex(e.rip)),
    accessText(e),
    style.symbol(e.device ?? (e.kind === "other" ? "" : "-")),
  ]);
  return table(rows, width);
}

function accessText(e: TraceEntry): string {
  if (e.kind === "other") return e.name;
  if (e.request !== undefined) return requestText(e.request);
  const times = e.count > 1 ? ` x${e.count}` : "";
  const value = hex(e.value, Math.min(8, e.size) * 2);
  const at = hex(e.address, e.kind === "port" ? 4 : 8);
  return `${e.kind} ${e.write ? "write" : "read "} ${at} ${e.write ? "<-" : "->"} ${value}${times}`;
}

/** What a request in a queue asks for. */
export function requestText({ queue, given, room, what }: NonNullable<TraceEntry["request"]>): string {
  return `queue ${queue}: ${what ?? `${given} bytes given, room for ${room}`}`;
}

/** How often the guest was left, by kind and by address, busiest first. */
export function renderStatistics(
  statistics: ExitStatistics,
  style: Style,
  width: number,
  lines = 20,
): string {
  const kinds = Object.entries(statistics.kinds).sort((a, b) => b[1] - a[1]);
  let out = `${style.heading(count(statistics.total, "exit"))}\n${
    table(kinds.map(([kind, n]) => [`  ${kind}`, String(n)]), width)
  }`;
  const busiest = statistics.addresses.slice(0, lines);
  if (busiest.length === 0) return out;
  out += `${style.heading("by address")}\n`;
  out += table(
    busiest.map((a) => [
      `  ${a.kind}`,
      style.address(hex(a.address, a.kind === "port" ? 4 : 8)),
      `${a.reads} reads`,
      `${a.writes} writes`,
      style.symbol(a.device ?? "-"),
    ]),
    width,
  );
  const left = statistics.addresses.length - busiest.length;
  return left === 0 ? out : `${out}${style.dim(`  ... and ${left} more`)}\n`;
}
