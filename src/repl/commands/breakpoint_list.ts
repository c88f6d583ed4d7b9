/** How a breakpoint is written in lists and messages. */
import type { Breakpoint, GuestMachine } from "../../dsl/mod.ts";
import { placeWords } from "../render/access.ts";
import { bare, hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { type BreakpointNote, guestState, stateOf } from "./state.ts";
import { symbolAt } from "./selected.ts";

/** The note of a breakpoint; one made by a script has an empty one. */
export function noteOf(vm: GuestMachine, breakpoint: Breakpoint): BreakpointNote {
  const { notes } = guestState(vm);
  let note = notes.get(breakpoint.id);
  if (note === undefined) notes.set(breakpoint.id, note = { what: "" });
  return note;
}

/** Keeps how a new breakpoint was written; `$bpnum` is its number from now on. */
export function keepNote(session: Session, vm: GuestMachine, id: number, note: BreakpointNote): void {
  guestState(vm).notes.set(id, note);
  stateOf(session).variables.set("bpnum", BigInt(id));
}

/** "breakpoint", "hw watchpoint", "catch port", ... as `info breakpoints` heads them. */
export function typeOf(breakpoint: Breakpoint, note: BreakpointNote): string {
  if (breakpoint.space !== "gva" && breakpoint.space !== "gpa") return "catchpoint";
  const hardware = breakpoint.how === "hardware" ? "hw " : "";
  if (breakpoint.access === "execute") return `${hardware}breakpoint`;
  if (note.readOnly) return "read watchpoint";
  return breakpoint.access === "write" ? `${hardware}watchpoint` : "acc watchpoint";
}

const HOW: Readonly<Record<Breakpoint["how"], string>> = {
  hardware: "debug register",
  int3: "INT3",
  hlt: "HLT patch",
  out: "OUT patch",
  page: "read-only page",
  step: "stepping, slow",
  exit: "exit",
  remote: "remote stub",
};

/** How it is held, in words. */
export function howWords(breakpoint: Breakpoint): string {
  return HOW[breakpoint.how];
}

/** Its address with a symbol: `0x7c00 <start>`, `phys 0x1000`, `port 0x3f8`. */
export function whereOf(session: Session, breakpoint: Breakpoint): string {
  const at = BigInt.asUintN(64, breakpoint.address);
  if (breakpoint.space === "gva") {
    const symbol = symbolAt(session.vm, at);
    return `${hex(at)}${symbol === undefined ? "" : ` <${symbol}>`}`;
  }
  return breakpoint.space === "gpa" ? `phys ${hex(at)}` : placeWords(breakpoint.space, at);
}

/** gdb's table. */
export function breakpointTable(session: Session, vm: GuestMachine, list: readonly Breakpoint[]): string {
  if (list.length === 0) return "No breakpoints or watchpoints.\n";
  const { style } = session;
  const wide = Math.max(14, ...list.map((b) => typeOf(b, noteOf(vm, b)).length)) + 1;
  let out = style.dim(`Num     ${"Type".padEnd(wide)}Disp Enb Address            What`) + "\n";
  for (const b of list) {
    const note = noteOf(vm, b);
    const at = BigInt.asUintN(64, b.address);
    const linear = b.space === "gva" || b.space === "gpa";
    const what = linear
      ? [
        b.space === "gpa" ? "physical" : "",
        ...new Set([symbolAt(vm, at) ?? "", b.access === "execute" ? "" : note.what]),
      ]
      : [note.catch ?? `${b.space} ${hex(at)}`];
    out += `${String(b.id).padEnd(8)}${typeOf(b, note).padEnd(wide)}${disposition(b, note)} ${
      b.enabled ? "y" : "n"
    }   ${style.address(linear ? `0x${bare(at, 16)}` : "".padEnd(18))} ${
      [...what, `(${howWords(b)})`].filter((w) => w !== "").join(" ")
    }\n`;
    out += details(b, note);
  }
  return out;
}

/** What becomes of it when it stops the guest, in gdb's words. */
function disposition(b: Breakpoint, { after }: BreakpointNote): string {
  if (b.once || after?.then === "delete") return "del ";
  return after === undefined ? "keep" : "dis ";
}

/** Takes note of a stop: `enable once` and its kin end there. */
export async function stoppedAt(vm: GuestMachine, breakpoint: Breakpoint): Promise<void> {
  const note = noteOf(vm, breakpoint);
  if (note.after === undefined || --note.after.stops > 0) return;
  if (note.after.then === "delete") await breakpoint.remove();
  else await breakpoint.enable(false);
  note.after = undefined;
}

function details(b: Breakpoint, note: BreakpointNote): string {
  let out = "";
  const condition = note.condition ??
    (b.condition === undefined || note.readOnly ? undefined : "a condition set by a script");
  if (condition !== undefined) out += `\tstop only if ${condition}\n`;
  if (b.cr3 !== undefined) out += `\tstop only if CR3 is ${hex(b.cr3)}\n`;
  if (b.matches > 0) out += `\tbreakpoint already hit ${times(b.matches)}\n`;
  const others = b.hits - b.matches;
  if (others > 0) out += `\tcondition was false ${times(others)}\n`;
  if (note.after !== undefined && note.after.stops > 1) {
    out += `\tdisable after ${note.after.stops} more hits\n`;
  }
  if (b.ignore > 0) out += `\tignore next ${b.ignore} hits\n`;
  for (const line of note.commands ?? []) out += `        ${line}\n`;
  return out;
}

function times(count: number): string {
  return `${count} time${count === 1 ? "" : "s"}`;
}

/** A breakpoint as data. */
export function breakpointData(vm: GuestMachine, b: Breakpoint): Record<string, unknown> {
  const note = noteOf(vm, b);
  return {
    id: b.id,
    type: typeOf(b, note),
    space: b.space,
    address: BigInt.asUintN(64, b.address),
    size: Number(b.size),
    access: b.access,
    how: b.how,
    hits: b.hits,
    matches: b.matches,
    ignore: b.ignore,
    once: b.once,
    enabled: b.enabled,
    ...(b.cr3 === undefined ? {} : { cr3: b.cr3 }),
    ...(note.condition === undefined ? {} : { condition: note.condition }),
    ...(note.what === "" ? {} : { expression: note.what }),
  };
}
