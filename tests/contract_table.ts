import type { ContractResult } from "./backend_contract.ts";

const MARKS = { passed: "ok", failed: "FAILED", skipped: "skip" } as const;

/** Contract x backend as text: a line a case, a column a backend, then the reasons for skips. */
export function contractTable(results: readonly ContractResult[]): string {
  const columnOf = (r: ContractResult) => `${r.backend} (${r.place}; ${r.mode})`;
  const columns = [...new Set(results.map(columnOf))];
  const rows = new Map<string, Map<string, ContractResult>>();
  for (const result of results) {
    const key = `${result.group}: ${result.name}`;
    if (!rows.has(key)) rows.set(key, new Map());
    rows.get(key)?.set(columnOf(result), result);
  }
  const width = Math.max(...[...rows.keys()].map((k) => k.length), 8);
  const cell = (text: string, i: number) => text.padEnd(Math.max(columnMark(i).length, 6));
  const lines = columns.map((c, i) => `${columnMark(i)} = ${c}`);
  lines.push("", `${"contract".padEnd(width)}  ${columns.map((_, i) => cell(columnMark(i), i)).join("  ")}`);
  for (const [key, byColumn] of rows) {
    const cells = columns.map((c, i) => cell(markOf(byColumn.get(c)), i));
    lines.push(`${key.padEnd(width)}  ${cells.join("  ")}`.trimEnd());
  }
  const skipped = results.filter((r) => r.outcome === "skipped");
  const reasons = new Map<string, number>();
  for (const { reason = "no reason given" } of skipped) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  for (const [reason, count] of reasons) lines.push(`skipped ${count}: ${reason}`);
  return lines.join("\n");
}

/** A dash where a case has no place in a column: it is for another mode. */
const markOf = (result: ContractResult | undefined) => result === undefined ? "-" : MARKS[result.outcome];

const columnMark = (index: number) => `[${index + 1}]`;

/** The same as data, for `build/contract.json`. */
export function contractJson(results: readonly ContractResult[]): string {
  const count = (outcome: ContractResult["outcome"]) => results.filter((r) => r.outcome === outcome).length;
  const summary = { passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
  return JSON.stringify({ summary, results }, undefined, 1);
}

/** Writes the JSON into the git-ignored build folder. */
export async function writeContractJson(results: readonly ContractResult[]): Promise<URL> {
  const file = new URL("../build/contract.json", import.meta.url);
  await Deno.mkdir(new URL(".", file), { recursive: true });
  await Deno.writeTextFile(file, contractJson(results) + "\n");
  return file;
}
