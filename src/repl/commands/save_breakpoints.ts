/** `save breakpoints FILE`: the lines that make today's breakpoints again. */
import type { Breakpoint, GuestMachine } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import { unwritable } from "../../dsl/file_error.ts";
import type { Answer, Invocation } from "../command.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { noteOf } from "./breakpoint_list.ts";
import type { BreakpointNote } from "./state.ts";
import { guest } from "./selected.ts";

/** Saves what `source FILE` brings back; gdb's command of that name. @throws {InputError} */
export async function saveBreakpoints(session: Session, { rest }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [, what, file] = /^(b\w*)?\s*([^]*)$/.exec(rest.trim()) ?? [];
  if (what === undefined || !"breakpoints".startsWith(what) || file === "") {
    throw new InputError("save takes what is to be saved, and a file", { remedy: "save breakpoints FILE" });
  }
  const list = [...vm.breakpoints];
  if (list.length === 0) throw new InputError("Nothing to save: there are no breakpoints.");
  const left: number[] = [];
  const seen = new Set<string>();
  const lines = list.flatMap((breakpoint) => {
    const found = linesOf(vm, breakpoint);
    // `break on DEVICE WHAT` makes one for each of the device's places.
    if (found !== undefined && /^t?break on /.test(found[0])) {
      if (seen.has(found[0])) return [];
      seen.add(found[0]);
    }
    if (found === undefined) left.push(breakpoint.id);
    return found ?? [`# Breakpoint ${breakpoint.id} has a condition that a script set: it is not here.`];
  });
  try {
    await Deno.writeTextFile(file, lines.map((line) => `${line}\n`).join(""));
  } catch (cause) {
    throw unwritable(file, cause);
  }
  const saved = list.length - left.length;
  const note = left.length === 0 ? "" : ` Left out, since a script set the condition: ${left.join(", ")}.`;
  return {
    text: `Saved ${saved} breakpoint${saved === 1 ? "" : "s"} to file '${file}'.${note}\n`,
    data: { file, saved, left },
  };
}

/** The commands that make it; undefined if a function that no line can name is its condition. */
function linesOf(vm: GuestMachine, breakpoint: Breakpoint): string[] | undefined {
  const note = noteOf(vm, breakpoint);
  if (breakpoint.condition !== undefined && note.condition === undefined && !note.readOnly) return undefined;
  const lines = [
    `${placed(breakpoint, note)}${tail(breakpoint, note.condition)}`,
  ];
  if (breakpoint.ignore > 0) lines.push(`ignore $bpnum ${breakpoint.ignore}`);
  if (!breakpoint.enabled) lines.push("disable $bpnum");
  if (note.commands !== undefined) lines.push(`commands {${note.commands.join("; ")}}`);
  return lines;
}

function placed(breakpoint: Breakpoint, { catch: caught, readOnly, kind }: BreakpointNote): string {
  const { space, access, once } = breakpoint;
  const at = hex(BigInt.asUintN(64, breakpoint.address));
  if (space !== "gva" && space !== "gpa") {
    return accessLine(`${space} ${at}+${breakpoint.size}`, once, caught);
  }
  const place = space === "gpa" ? `phys(${at})` : at;
  if (access === "execute") {
    const means = kind === undefined ? "" : `/${kind[0]}`;
    return `${once ? "t" : ""}break${means} ${space === "gva" ? "*" : ""}${place}`;
  }
  const command = readOnly ? "rwatch" : access === "write" ? "watch" : "awatch";
  return `${command}/${breakpoint.size} ${place}`;
}

/** `catch`, or `break on` for what a device names itself. */
function accessLine(plain: string, once: boolean, caught = plain): string {
  const device = /^(?!port |mmio |msr )(.*) \([^)]*\)$/.exec(caught);
  return device === null
    ? `${once ? "tcatch" : "catch"} ${caught}`
    : `${once ? "t" : ""}break on ${device[1]}`;
}

function tail({ vcpu, cr3 }: Breakpoint, condition: string | undefined): string {
  return [
    vcpu === undefined ? "" : ` thread ${vcpu}`,
    cr3 === undefined ? "" : ` cr3 ${hex(cr3)}`,
    condition === undefined ? "" : ` if ${condition}`,
  ].join("");
}
