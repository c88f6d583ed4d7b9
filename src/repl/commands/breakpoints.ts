/** break, tbreak, hbreak, thbreak and what is done with breakpoints once they are there. */
import type { Breakpoint, BreakpointOptions, GuestMachine } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { parsePrefix } from "../expression.ts";
import type { Session } from "../session.ts";
import { breakpointData, breakpointTable, howWords, keepNote, noteOf, whereOf } from "./breakpoint_list.ts";
import { accessCondition, breakpointCondition } from "./condition.ts";
import { type BreakpointNote, guestState, stateOf } from "./state.ts";
import { guest } from "./selected.ts";
import { evaluate, evaluateAddress, evaluateCount } from "./values.ts";

/** What may follow a location. */
export interface Tail {
  readonly vcpu?: number;
  readonly cr3?: bigint;
  readonly condition?: string;
}

/** Reads `thread N`, `cr3 EXPRESSION` and `if CONDITION` behind a location. @throws {InputError} */
export async function readTail(session: Session, text: string): Promise<Tail> {
  let vcpu: number | undefined;
  let cr3: bigint | undefined;
  let rest = text.trim();
  while (rest !== "") {
    const word = /^(if|thread|vcpu|cr3)(?=[\s(!$])\s*/.exec(rest);
    if (word === null) {
      throw new InputError(`"${rest}" is not understood behind a location`, {
        remedy: "what may follow: if CONDITION, thread N, cr3 EXPRESSION",
      });
    }
    const after = rest.slice(word[0].length);
    if (word[1] === "if") return { vcpu, cr3, condition: after };
    const { node, end } = parsePrefix(after);
    const { value } = await evaluate(session, node);
    if (word[1] === "cr3") cr3 = BigInt.asUintN(64, value);
    else vcpu = vcpuIndex(guest(session), value);
    rest = after.slice(end).trim();
  }
  return { vcpu, cr3 };
}

/** A vCPU's index. @throws {InputError} If there is none of that number. */
export function vcpuIndex(vm: GuestMachine, value: bigint): number {
  const index = Number(value);
  if (vm.vcpus[index] !== undefined) return index;
  throw new InputError(`There is no vCPU ${value}`, { remedy: `this guest has 0 to ${vm.vcpus.length - 1}` });
}

/** Cuts a location from what follows it. `*ADDRESS` is gdb's way to say "at this address". @throws {InputError} */
export function splitLocation(rest: string): { location: string; tail: string } {
  const text = rest.replace(/^\*\s*/, "");
  if (text !== rest && (text === "" || /^(if|thread|vcpu|cr3)\b/.test(text))) {
    throw new InputError("An address is missing behind the *", {
      remedy: "write *0x7c00 or *$rip+4; the command alone takes the current instruction",
    });
  }
  if (text === "" || /^(if|thread|vcpu|cr3)\b/.test(text)) return { location: "", tail: text };
  const { end } = parsePrefix(text);
  return { location: text.slice(0, end).trim(), tail: text.slice(end).trim() };
}

/** gdb's FILE:LINE. @throws {InputError} */
function refuseSourceLine(rest: string): void {
  const [line] = /^[\w/+-]*\.[A-Za-z]\w*:\d+/.exec(rest) ?? [];
  if (line === undefined) return;
  throw new InputError(`${line} is a source line, and hvsh reads symbols, not debug information`, {
    remedy: "name a function or an address; gdbserver serves the guest to gdb, which knows lines",
  });
}

/** `break [LOCATION] [thread N] [cr3 X] [if CONDITION]` and its kin. */
export async function breakAt(session: Session, invocation: Invocation): Promise<Answer> {
  const vm = guest(session);
  const on = /^on\s+([^]+)$/.exec(invocation.rest);
  if (on !== null) return await (await import("./catch.ts")).breakOn(session, invocation.name, on[1]);
  refuseSourceLine(invocation.rest);
  const { location, tail } = splitLocation(invocation.rest);
  const place = await evaluateAddress(session, location === "" ? "$pc" : location);
  const { condition, ...where } = await readTail(session, tail);
  const hardware = /^t?h/.test(invocation.name);
  const kind = hardware || invocation.format === "h"
    ? "hardware"
    : invocation.format === "s"
    ? "software"
    : undefined;
  const options: BreakpointOptions = {
    ...where,
    kind: kind ?? "auto",
    once: /^t/.test(invocation.name),
    condition: condition === undefined ? undefined : await breakpointCondition(session, condition),
  };
  const made = await vm.breakpoints.add(place.address, options);
  keepNote(session, vm, made.id, { what: location, condition, ...(kind && { kind }) });
  const head = hardware
    ? "Hardware assisted breakpoint"
    : options.once
    ? "Temporary breakpoint"
    : "Breakpoint";
  return {
    text: `${head} ${made.id} at ${session.style.address(whereOf(session, made))} (${howWords(made)})\n`,
    data: breakpointData(vm, made),
  };
}

/** The breakpoints that "1 3-5" or "$bpnum", the newest, names; all when it names none. @throws {InputError} */
export function chosen(session: Session, words: readonly string[]): Breakpoint[] {
  const vm = guest(session);
  if (words.length === 0) return [...vm.breakpoints];
  const found: Breakpoint[] = [];
  for (const given of words.flatMap((w) => w.split(",")).filter((w) => w !== "")) {
    const word = given === "$bpnum" ? String(stateOf(session).variables.get("bpnum") ?? given) : given;
    const range = /^\$?(\d+)(?:-(\d+))?$/.exec(word);
    const [from, to] = range === null ? [NaN, NaN] : [Number(range[1]), Number(range[2] ?? range[1])];
    if (!(from <= to && to - from < 10_000)) {
      throw new InputError(`"${word}" is not a breakpoint number`, {
        remedy: "examples: 1, 2-4; info breakpoints lists them",
      });
    }
    // A range may have gaps, as numbers are not given twice.
    const those = [...vm.breakpoints].filter(({ id }) => id >= from && id <= to);
    if (those.length === 0) {
      throw new InputError(
        from === to ? `No breakpoint number ${from}.` : `No breakpoints with numbers ${from} to ${to}.`,
        { remedy: "info breakpoints lists them" },
      );
    }
    found.push(...those);
  }
  return found;
}

/** `delete [N ...]`, `clear LOCATION`. */
export async function remove(session: Session, { words, name, rest }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const list = name === "clear"
    ? await atLocation(session, vm, rest)
    : chosen(session, words[0] === "breakpoints" ? words.slice(1) : words);
  for (const breakpoint of list) {
    await breakpoint.remove();
    guestState(vm).notes.delete(breakpoint.id);
  }
  const ids = list.map((b) => b.id);
  const text = name === "clear" ? `Deleted breakpoint${ids.length === 1 ? "" : "s"} ${ids.join(" ")}\n` : "";
  return { text, data: { deleted: ids } };
}

async function atLocation(session: Session, vm: GuestMachine, rest: string): Promise<Breakpoint[]> {
  const { location } = splitLocation(rest);
  const place = await evaluateAddress(session, location === "" ? "$pc" : location);
  const list = [...vm.breakpoints].filter((b) =>
    b.space === place.space && BigInt.asUintN(64, b.address) === place.at
  );
  if (list.length === 0) {
    throw new InputError(`No breakpoint at ${location === "" ? "the current instruction" : location}.`);
  }
  return list;
}

/** `enable [once|delete|count COUNT] [N ...]`, `disable [N ...]`. */
export async function enable(session: Session, { words, name }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const on = !name.startsWith("dis");
  const given = words[0] === "breakpoints" ? words.slice(1) : words;
  const [after, numbers] = on ? afterwards(given) : [undefined, given];
  if (after !== undefined && numbers.length === 0) {
    throw new InputError("Argument required (breakpoint numbers).", { remedy: "enable once 1 2" });
  }
  const list = chosen(session, numbers);
  for (const breakpoint of list) {
    await breakpoint.enable(on);
    noteOf(vm, breakpoint).after = after && { ...after };
  }
  return { text: "", data: list.map((b) => breakpointData(vm, b)) };
}

/** What `once`, `delete` or `count N` says, and the words behind it. @throws {InputError} */
function afterwards(words: readonly string[]): [BreakpointNote["after"], readonly string[]] {
  switch (words[0]) {
    case "once":
      return [{ stops: 1, then: "disable" }, words.slice(1)];
    case "delete":
      return [{ stops: 1, then: "delete" }, words.slice(1)];
    case "count": {
      const stops = Number(words[1]);
      if (!Number.isInteger(stops) || stops < 1) {
        throw new InputError("enable count takes a number of stops", { remedy: "enable count 3 1" });
      }
      return [{ stops, then: "disable" }, words.slice(2)];
    }
    default:
      return [undefined, words];
  }
}

/** `condition N [EXPRESSION]`. */
export async function condition(session: Session, { rest }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [, id, text] = /^(\S+)\s*([^]*)$/.exec(rest) ?? [];
  if (id === undefined) {
    throw new InputError("Argument required (breakpoint number).", { remedy: "condition N EXPRESSION" });
  }
  const [breakpoint] = chosen(session, [id]);
  const note = noteOf(vm, breakpoint);
  note.condition = text === "" ? undefined : text;
  if (breakpoint.space !== "gva" && breakpoint.space !== "gpa") {
    breakpoint.condition = text === "" ? undefined : await accessCondition(session, text);
  } else {
    const asked = text === "" ? undefined : await breakpointCondition(session, text);
    const watching = breakpoint.access !== "execute" && (asked !== undefined || note.readOnly);
    breakpoint.condition = watching
      ? (await import("./watchpoints.ts")).following(note, breakpoint.address, Number(breakpoint.size), asked)
      : asked;
  }
  const said = text === "" ? `Breakpoint ${breakpoint.id} now unconditional.\n` : "";
  return { text: said, data: breakpointData(vm, breakpoint) };
}

/** `ignore N COUNT`. */
export async function ignore(session: Session, { words }: Invocation): Promise<Answer> {
  const vm = guest(session);
  if (words.length < 2) {
    throw new InputError("ignore takes a breakpoint number and a count", { remedy: "ignore N COUNT" });
  }
  const [breakpoint] = chosen(session, [words[0]]);
  const crossings = await evaluateCount(session, words.slice(1).join(" "), "The count");
  breakpoint.ignore = crossings;
  const text = crossings === 0
    ? `Will stop next time breakpoint ${breakpoint.id} is reached.\n`
    : `Will ignore next ${crossings} crossings of breakpoint ${breakpoint.id}.\n`;
  return { text, data: breakpointData(vm, breakpoint) };
}

/** `commands N {LINE; LINE}`, or lines up to `end` as gdb has it: what is run when it stops the guest. */
export function commands(session: Session, { rest }: Invocation): Answer {
  const vm = guest(session);
  const match = /^(\d+)?\s*(?:\{([^]*)\}|"([^]*)"|(\w[^]*))?$/.exec(rest.trim());
  if (match === null) {
    throw new InputError("commands takes a number and lines in braces", {
      remedy: "commands 1 {regs; x/4i $pc}",
    });
  }
  const id = match[1] ?? String(Math.max(0, ...[...vm.breakpoints].map((b) => b.id)));
  const [breakpoint] = chosen(session, [id]);
  const body = match[2] ?? match[3] ?? match[4] ?? "";
  const lines = body.split(/[;\n]/).map((l) => l.trim()).filter((l) => l !== "");
  noteOf(vm, breakpoint).commands = lines.length === 0 ? undefined : lines;
  return { text: "", data: { id: breakpoint.id, commands: lines } };
}

/** `info breakpoints [N ...]`. */
export function infoBreakpoints(session: Session, words: readonly string[]): Answer {
  const vm = guest(session);
  const list = chosen(session, words);
  return { text: breakpointTable(session, vm, list), data: list.map((b) => breakpointData(vm, b)) };
}

/** `info watchpoints [N ...]`. */
export function infoWatchpoints(session: Session, words: readonly string[]): Answer {
  const vm = guest(session);
  const list = chosen(session, words).filter((b) =>
    (b.space === "gva" || b.space === "gpa") && b.access !== "execute"
  );
  const text = list.length === 0 ? "No watchpoints.\n" : breakpointTable(session, vm, list);
  return { text, data: list.map((b) => breakpointData(vm, b)) };
}
