import type { Translation } from "../../dsl/mod.ts";
import type { Style } from "../style.ts";
import { hex, size, table } from "./text.ts";

/** A page walk, one level a line, and what came of it. */
export function renderWalk(at: bigint, walk: Translation, style: Style, width = 80): string {
  const head = `${style.heading(hex(at))}: ${
    walk.paging === "none" ? "no paging" : `${walk.paging} paging`
  }\n`;
  const rows = walk.steps.map((step) => [
    `  ${style.register(step.level)}`,
    style.address(hex(step.entryAddress)),
    hex(step.value, 16),
    step.flags.join(" "),
  ]);
  return `${head}${table(rows, width)}  ${outcome(walk, style)}\n`;
}

function outcome(walk: Translation, style: Style): string {
  if (walk.gpa === undefined) {
    const { level, reason } = walk.failure ?? { level: "", reason: "no reason given" };
    return style.error(`not mapped${level === "" ? "" : ` (${level})`}: ${reason}`);
  }
  const rights = walk.steps.length === 0 ? "" : `, ${rightsOf(walk)}`;
  const page = walk.pageSize === undefined || walk.steps.length === 0 ? "" : `, ${size(walk.pageSize)} page`;
  return `= ${style.address(`phys ${hex(walk.gpa)}`)}${page}${rights}`;
}

function rightsOf(walk: Translation): string {
  const who = walk.user === undefined ? "" : walk.user ? "user " : "supervisor ";
  return `${who}r${walk.writable ? "w" : "-"}${walk.executable === false ? "-" : "x"}`;
}
