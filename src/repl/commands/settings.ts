/** set NAME VALUE and show. */
import type { Syntax } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import type { Session } from "../session.ts";
import { stateOf } from "./state.ts";

const SYNTAXES: readonly Syntax[] = ["intel", "att", "nasm", "masm"];

/** One thing that can be set. */
interface Setting {
  readonly name: string;
  readonly otherwise: string;
  readonly values: "on-off" | "count" | "syntax";
  readonly summary: string;
}

/** Every setting, with what holds when it was never set. */
export const SETTINGS: readonly Setting[] = [
  {
    name: "context",
    otherwise: "on at a terminal",
    values: "on-off",
    summary: "registers, code and stack at each stop",
  },
  { name: "context-code", otherwise: "6", values: "count", summary: "instructions in the context view" },
  { name: "context-stack", otherwise: "4", values: "count", summary: "stack words in the context view" },
  { name: "console", otherwise: "on", values: "on-off", summary: "the guest's console output between lines" },
  {
    name: "limit",
    otherwise: "10",
    values: "count",
    summary: "seconds that TypeScript may run without a pause",
  },
  {
    name: "confirm",
    otherwise: "off",
    values: "on-off",
    summary: "accepted for gdb's sake: hvsh never asks",
  },
  {
    name: "pagination",
    otherwise: "off",
    values: "on-off",
    summary: "accepted for gdb's sake: hvsh never pages",
  },
  {
    name: "listsize",
    otherwise: "10",
    values: "count",
    summary: "accepted for gdb's sake: hvsh reads no source lines",
  },
  { name: "height", otherwise: "0", values: "count", summary: "accepted for gdb's sake: hvsh never pages" },
  {
    name: "width",
    otherwise: "0",
    values: "count",
    summary: "accepted for gdb's sake: the terminal tells it",
  },
  {
    name: "disassembly-flavor",
    otherwise: "nasm",
    values: "syntax",
    summary: "how instructions are written: intel, att, nasm or masm",
  },
];

/** What a setting is now. */
export function setting(session: Session, name: string): string {
  if (name === "context") return session.contextShown ? "on" : "off";
  return session.settings.get(name) ?? SETTINGS.find((s) => s.name === name)?.otherwise ?? "";
}

/** The syntax in which instructions are written. */
export function syntaxSetting(session: Session): Syntax {
  const chosen = setting(session, "disassembly-flavor");
  return SYNTAXES.find((syntax) => syntax === chosen) ?? "nasm";
}

/** A setting that is a number. */
export function countSetting(session: Session, name: string): number {
  return Number(setting(session, name));
}

/** `set NAME VALUE`. @throws {InputError} */
export function changeSetting(session: Session, text: string): Answer {
  const [, name, value] = /^(\S+)\s*([^]*)$/.exec(text) ?? [];
  const known = SETTINGS.find((s) => s.name === name);
  if (known === undefined) {
    throw new InputError(`There is no setting "${name}"`, {
      remedy: `settings: ${SETTINGS.map((s) => s.name).join(", ")}; to set a register: set $${name} = VALUE`,
    });
  }
  const given = known.values === "on-off" ? onOff(known.name, value === "" ? "on" : value) : value;
  if (known.values === "count" && !/^\d{1,6}$/.test(given)) {
    throw new InputError(`${name} takes a number, not "${value}"`);
  }
  if (known.values === "syntax" && !SYNTAXES.some((syntax) => syntax === given)) {
    throw new InputError(`${name} is one of ${SYNTAXES.join(", ")}, not "${value}"`);
  }
  if (known.name === "context") session.contextShown = given === "on";
  else session.settings.set(known.name, given);
  return { text: "", data: { name, value: given } };
}

function onOff(name: string, value: string): string {
  if (/^(on|yes|1|enable)$/.test(value)) return "on";
  if (/^(off|no|0|disable)$/.test(value)) return "off";
  throw new InputError(`${name} is on or off, not "${value}"`);
}

/** `show [NAME]`: settings; `show version`, `show args`; `show values`, `show convenience`: what `print` and `set` made. */
export async function show(session: Session, words: readonly string[]): Promise<Answer> {
  const [name] = words;
  if (name === "version") {
    const text = await (await import("../usage.ts")).versionText();
    return { text, data: text.trim() };
  }
  if (name === "args") {
    return { text: "A kernel's arguments are given as it is opened: -append; run keeps them.\n", data: null };
  }
  if (name === "values") return values(session);
  if (name === "convenience" || name === "conv") return convenience(session);
  const shown = name === undefined ? SETTINGS : SETTINGS.filter((s) => s.name === name);
  if (shown.length === 0) {
    throw new InputError(`There is no setting "${name}"`, {
      remedy: "show lists them; also: show values, show convenience",
    });
  }
  const data = Object.fromEntries(shown.map((s) => [s.name, setting(session, s.name)]));
  const text = shown.map((s) =>
    `${s.name.padEnd(20)}${setting(session, s.name).padEnd(6)}  ${session.style.dim(s.summary)}\n`
  );
  return { text: text.join(""), data };
}

function values(session: Session): Answer {
  const { history } = stateOf(session);
  const first = Math.max(0, history.length - 10);
  const recent = history.slice(first);
  return {
    text: recent.map((v, i) => `$${first + i + 1} = ${v.value}\n`).join(""),
    data: recent.map((v, i) => ({ number: first + i + 1, value: v.value })),
  };
}

function convenience(session: Session): Answer {
  const { variables } = stateOf(session);
  if (variables.size === 0) {
    return { text: "No variables yet: set $NAME = EXPRESSION makes one.\n", data: {} };
  }
  return {
    text: [...variables].map(([name, value]) => `$${name} = ${value}\n`).join(""),
    data: Object.fromEntries(variables),
  };
}
