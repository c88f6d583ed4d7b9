/** The view of everything at a stop: registers, code, stack, backtrace. */
import type { Registers } from "../../dsl/mod.ts";
import { REGISTER_GROUPS } from "../../dsl/nouns.ts";
import { bitness, linearRip, linearStack } from "../../dsl/modes.ts";
import type { Instruction } from "../../dsl/x86.ts";
import { frameLine } from "../commands/frames.ts";
import { registerView } from "../commands/registers.ts";
import { countSetting, syntaxSetting } from "../commands/settings.ts";
import { readSlots } from "../commands/stack.ts";
import { guest, symbolAt } from "../commands/selected.ts";
import { reportError } from "../error.ts";
import type { Session } from "../session.ts";
import { branchHint, instructionLines } from "./disassembly.ts";
import { registerGroup } from "./registers.ts";
import { stackLines } from "./stack.ts";
import { clip } from "./text.ts";

/** Frames in the view; `bt` shows them all. */
const FRAMES = 4;

/** The sections that make sense now, each at most `session.width` wide. */
export async function contextView(session: Session, registers: Registers): Promise<string> {
  let out = section(session, "registers") + registerGroup("general", registers, registerView(session));
  if (REGISTER_GROUPS.segment.some((n) => /^[c-gs]s$/.test(n) && changed(session, n, registers))) {
    out += registerGroup("segment", registers, registerView(session));
  }
  out += section(session, "code") + await guarded(session, () => code(session, registers));
  out += section(session, "stack") + await guarded(session, () => words(session, registers));
  out += await guarded(session, () => frames(session, bitness(registers) === 64 ? 16 : 8));
  return out;
}

function section(session: Session, title: string): string {
  const line = `── ${title} `;
  return `${session.style.heading(line + "─".repeat(Math.max(0, session.width - line.length)))}\n`;
}

function changed(session: Session, name: keyof Registers, registers: Registers): boolean {
  const before = registerView(session).previous?.[name];
  return before !== undefined && before !== registers[name];
}

/** A part that can't be shown must not hide the others. */
async function guarded(session: Session, part: () => Promise<string>): Promise<string> {
  try {
    return await part();
  } catch (error) {
    return `${clip(session.style.error(reportError(error).message), session.width)}\n`;
  }
}

async function code(session: Session, registers: Registers): Promise<string> {
  return (await codeAround(session, registers, countSetting(session, "context-code"))).text;
}

/** `count` instructions from RIP (or another address) on and two before it, with RIP and breakpoints marked. */
export async function codeAround(
  session: Session,
  registers: Registers,
  count: number,
  at?: bigint,
): Promise<{ text: string; list: Instruction[] }> {
  const vm = guest(session);
  const pc = linearRip(registers);
  const list = await vm.disassemble(at ?? pc, {
    before: 2,
    count,
    vcpu: session.vcpu,
    syntax: syntaxSetting(session),
  });
  const current = list.find((i) => i.address === pc);
  const stops = new Set(
    [...vm.breakpoints].filter((b) => b.space === "gva" && b.access === "execute").map((b) =>
      BigInt.asUintN(64, b.address)
    ),
  );
  const text = instructionLines(list, {
    style: session.style,
    pc,
    symbol: (address) => symbolAt(vm, address),
    bytes: session.width >= 80,
    width: session.width,
    marked: (address) => stops.has(address),
    hint: current === undefined ? undefined : branchHint(current.text, registers),
  });
  return { text, list };
}

async function words(session: Session, registers: Registers): Promise<string> {
  const { slots, word } = await readSlots(
    session,
    linearStack(registers),
    countSetting(session, "context-stack"),
  );
  return stackLines(slots, word * 2, session.style, session.width);
}

async function frames(session: Session, digits: number): Promise<string> {
  const trace = await guest(session).backtrace({ vcpu: session.vcpu, limit: FRAMES });
  // One frame says nothing that the code above does not.
  if (trace.frames.length < 2) return "";
  const lines = trace.frames.map((frame, i) =>
    `${clip(frameLine(session, frame, i, digits), session.width)}\n`
  );
  return section(session, "backtrace") + lines.join("");
}
