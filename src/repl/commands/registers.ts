/** regs and info registers. */
import type { RegisterGroup, RegisterName } from "../../dsl/mod.ts";
import { InputError, REGISTER_GROUPS } from "../../dsl/nouns.ts";
import { cpl, cpuMode } from "../../dsl/modes.ts";
import type { Answer } from "../command.ts";
import { partOf, registerPart } from "../expression/registers.ts";
import { formatNumber, type Letter } from "../render/number.ts";
import {
  gdbRegisters,
  groupsNamed,
  groupWords,
  registerData,
  registerGroup,
  type RegisterView,
} from "../render/registers.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guestState } from "./state.ts";
import { guest, registersOf, symbolAt } from "./selected.ts";

/** How this session shows registers: colours, width, what changed since the stop before. */
export function registerView(session: Session): RegisterView {
  const vm = guest(session);
  return {
    style: session.style,
    width: session.width,
    previous: guestState(vm).before.get(session.vcpu),
    symbol: (address) => symbolAt(vm, address),
  };
}

/** `regs [GROUP|NAME ...]`: compact, flags decoded, what changed highlighted. */
export async function regs(session: Session, words: readonly string[]): Promise<Answer> {
  const registers = await registersOf(session);
  const view = registerView(session);
  const groups: RegisterGroup[] = [];
  const names: RegisterName[] = [];
  for (const word of words.length === 0 ? ["general"] : words) {
    const several = groupsNamed(word);
    if (several !== undefined) groups.push(...several);
    else names.push(nameOf(word));
  }
  let text = names.length === 0 ? "" : gdbRegisters(names, registers, view);
  for (const group of groups) {
    if (groups.length > 1) text += `${session.style.heading(group)}\n`;
    text += registerGroup(group, registers, view);
  }
  const data = registerData([...names, ...groups.flatMap((g) => REGISTER_GROUPS[g])], registers);
  if (groups.includes("general")) Object.assign(data, { mode: cpuMode(registers), cpl: cpl(registers) });
  return { text, data };
}

/** What gdb shows without a name: general registers, flags and selectors. */
const DEFAULT: readonly RegisterName[] = [
  ...REGISTER_GROUPS.general,
  "cs",
  "ss",
  "ds",
  "es",
  "fs",
  "gs",
  "fs_base",
  "gs_base",
  "cr0",
  "cr2",
  "cr3",
  "cr4",
  "cr8",
  "efer",
];

/** `info registers [NAME|GROUP ...]`, `info all-registers`. Parts such as `eax` are shown as themselves. */
export async function infoRegisters(session: Session, words: readonly string[]): Promise<Answer> {
  const registers = await registersOf(session);
  const view = registerView(session);
  if (words.length === 0) {
    return { text: gdbRegisters(DEFAULT, registers, view), data: registerData(DEFAULT, registers) };
  }
  let text = "";
  const data: Record<string, unknown> = {};
  for (const word of words) {
    const groups = groupsNamed(word);
    const part = groups === undefined ? partNamed(word) : undefined;
    const names = groups?.flatMap((g) => REGISTER_GROUPS[g]) ?? [part?.register ?? nameOf(word)];
    if (part === undefined || part.bits >= 64 || part.register === "rflags") {
      text += gdbRegisters(names, registers, view);
      Object.assign(data, registerData(names, registers));
      continue;
    }
    const value = partOf(registers[part.register], part);
    const name = word.replace(/^\$/, "");
    const shown = formatNumber(value, { letter: "d" as Letter, bits: part.bits });
    text += `${name.padEnd(15)}${hex(value).padEnd(19)}${shown}\n`;
    data[name] = value;
  }
  return { text, data };
}

function partNamed(word: string) {
  return registerPart(word.replace(/^\$/, ""));
}

function nameOf(word: string): RegisterName {
  const part = partNamed(word);
  if (part !== undefined) return part.register;
  throw new InputError(`There is no register or group "${word}"`, {
    remedy: `groups: ${groupWords().join(", ")}; a register: rax, eax, cr3, cs_base, xmm0 ...`,
  });
}
