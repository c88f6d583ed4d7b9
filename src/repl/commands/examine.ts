/** x and xp: memory in every format. */
import { syntaxSetting } from "./settings.ts";
import { gpa, gva, InputError } from "../../dsl/nouns.ts";
import { bitness } from "../../dsl/modes.ts";
import { disassembler, type Instruction } from "../../dsl/x86.ts";
import type { Answer, Invocation } from "../command.ts";
import { instructionData, instructionLines } from "../render/disassembly.ts";
import { formatNumber, formatString, type Letter } from "../render/number.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { type ExamineState, stateOf } from "./state.ts";
import { guest, linearPc, littleEndian, readPlace, registersOf, symbolAt, unsigned } from "./selected.ts";
import { evaluateAddress, evaluateCount, namesFor, splitExpressions } from "./values.ts";

type SizeLetter = ExamineState["size"];

const BYTES: Readonly<Record<SizeLetter, 1 | 2 | 4 | 8>> = { b: 1, h: 2, w: 4, g: 8 };
/** Sizes of `db` and its like. */
const WORDS: Readonly<Record<string, SizeLetter>> = { db: "b", dw: "h", dd: "w", dq: "g" };
/** gdb's numbers in a row. */
const PER_LINE: Readonly<Record<SizeLetter, number>> = { b: 8, h: 8, w: 4, g: 2 };
const LETTERS = "oxdutfaicsz";
/** 64 Ki of anything is more than anyone reads. */
const MOST = 65536;

/** What stands behind the slash. */
export interface ExamineFormat {
  /** Negative: that many before the address. */
  readonly count: number;
  readonly letter?: string;
  readonly size?: SizeLetter;
}

/** Reads `16xb`, `-3i`, `s`. @throws {InputError} */
export function parseFormat(format: string): ExamineFormat {
  const [, digits, letters] = /^(-?\d*)([a-z]*)$/.exec(format) ?? [];
  if (letters === undefined) {
    throw new InputError(`/${format} is not a format`, {
      remedy: "a count, a letter of oxdutfaicsz, a size of bhwg: x/16xb",
    });
  }
  let letter: string | undefined;
  let size: SizeLetter | undefined;
  for (const c of letters) {
    if (LETTERS.includes(c)) letter = c;
    else if (Object.hasOwn(BYTES, c)) size = c as SizeLetter;
    else {
      throw new InputError(`Undefined output format "${c}".`, {
        remedy: "formats: o x d u t f a i c s z; sizes: b h w g",
      });
    }
  }
  const count = digits === "" ? 1 : digits === "-" ? -1 : Number(digits);
  if (Math.abs(count) > MOST) throw new InputError(`x shows at most ${MOST} units at once`);
  return { count, letter, size };
}

/** `x/FMT [ADDRESS]`; `xp` reads guest-physical memory. */
export async function examine(session: Session, { rest, format, name }: Invocation): Promise<Answer> {
  const state = stateOf(session).examine;
  const asked = parseFormat(format);
  if (rest !== "") {
    const place = await evaluateAddress(session, rest);
    const physical = name === "xp" || place.space === "gpa";
    state.space = physical ? "gpa" : "gva";
    state.next = name === "xp" ? BigInt.asUintN(64, place.value.value) : place.at;
    if (place.value.pointee !== undefined && asked.size === undefined && asked.letter === undefined) {
      state.size = (["b", "h", "w", "g"] as const)[Math.log2(place.value.pointee.bytes)];
    }
  }
  if (asked.letter !== undefined) state.letter = asked.letter;
  if (asked.size !== undefined) state.size = asked.size;
  // A size says that numbers are wanted, whatever was shown last.
  if (asked.size !== undefined && asked.letter === undefined && /[is]/.test(state.letter)) state.letter = "x";
  if (asked.size === undefined && (asked.letter === "a" || asked.letter === "f")) {
    state.size = await naturalSize(session, asked.letter);
  } else if (asked.size === undefined && asked.letter === "c") state.size = "b";
  switch (state.letter) {
    case "i":
      return await instructions(session, state, asked.count);
    case "s":
      return await strings(session, state, asked.count);
    default:
      return await numbers(session, state, asked.count);
  }
}

/** `db`, `dw`, `dd`, `dq ADDRESS [COUNT]`: 64 bytes unless told a number. */
export async function words(session: Session, { name, rest }: Invocation): Promise<Answer> {
  const size = WORDS[name] ?? "b";
  const items = splitExpressions(rest);
  if (items.length > 2) {
    throw new InputError(`${name} takes an address and a count`, { remedy: `${name} $rsp 8` });
  }
  const [address = "", counted] = items;
  const count = counted === undefined
    ? 64 / BYTES[size]
    : await evaluateCount(session, counted, "The count", BigInt(MOST));
  return await examine(session, { name, rest: address, words: [], format: `${count}x${size}` });
}

async function naturalSize(session: Session, letter: string): Promise<SizeLetter> {
  if (letter === "f") return "g";
  const { word } = namesFor(session, await registersOf(session));
  return word === 8 ? "g" : word === 4 ? "w" : "h";
}

function label(session: Session, state: ExamineState, at: bigint): string {
  const symbol = state.space === "gva" ? symbolAt(session.vm, at) : undefined;
  return `${session.style.address(hex(at))}${
    symbol === undefined ? "" : ` <${session.style.symbol(symbol)}>`
  }:`;
}

/** Bytes where devices are, read by units as the guest would: each read may have its side effects. */
async function deviceBytes(
  session: Session,
  at: bigint,
  unit: 1 | 2 | 4 | 8,
  length: number,
): Promise<Uint8Array> {
  const vm = guest(session);
  const data = new Uint8Array(length);
  for (let done = 0; done + unit <= length; done += unit) {
    data.set(littleEndian(await vm.readMmio(gpa(at + BigInt(done)), unit), unit), done);
  }
  return data;
}

/** Whether a device answers at a guest-physical address. */
function isDevice(session: Session, at: bigint): boolean {
  return guest(session).devices.list().some(({ ranges }) =>
    ranges.some((r) => r.space === "mmio" && at >= BigInt(r.start) && at < BigInt(r.start) + BigInt(r.length))
  );
}

async function numbers(session: Session, state: ExamineState, count: number): Promise<Answer> {
  const bytes = BYTES[state.size];
  const units = Math.abs(count);
  const start = BigInt.asUintN(64, count < 0 ? state.next - BigInt(units * bytes) : state.next);
  const letter = (state.letter === "i" || state.letter === "s" ? "x" : state.letter) as Letter;
  const { data, failed } = state.space === "gpa" && isDevice(session, start)
    ? { data: await deviceBytes(session, start, bytes, units * bytes), failed: undefined }
    : await readSome(session, { ...state, at: start }, units * bytes);
  const values: bigint[] = [];
  for (let at = 0; at + bytes <= data.length; at += bytes) {
    values.push(unsigned(data.subarray(at, at + bytes)));
  }
  let text = "";
  const columns = letter === "c" || letter === "a" && bytes === 8
    ? Math.min(8, PER_LINE[state.size])
    : PER_LINE[state.size];
  for (let i = 0; i < values.length; i += columns) {
    const row = values.slice(i, i + columns).map((value) =>
      formatNumber(value, { letter, bits: bytes * 8, padded: true, symbol: (a) => symbolAt(session.vm, a) })
    );
    text += `${label(session, state, start + BigInt(i * bytes))}\t${row.join("\t")}\n`;
  }
  state.next = count < 0 ? start : start + BigInt(values.length * bytes);
  if (failed !== undefined) {
    if (values.length === 0) throw failed;
    text += `${session.style.error(failed.message)}\n`;
  }
  // As gdb has it: the last address that was shown, and what is there.
  const last = values.at(-1);
  if (last !== undefined) {
    const { variables } = stateOf(session);
    variables.set("_", start + BigInt((values.length - 1) * bytes));
    variables.set("__", last);
  }
  return { text, data: { address: start, space: state.space, size: bytes, format: letter, values } };
}

async function strings(session: Session, state: ExamineState, count: number): Promise<Answer> {
  if (count < 0) {
    throw new InputError("x/s goes forwards only", { remedy: "give the address where the string begins" });
  }
  const limit = 200;
  let text = "";
  const found: { address: bigint; text: string }[] = [];
  for (let i = 0; i < count; i++) {
    const at = state.next;
    const { data, failed } = await readSome(session, { ...state, at }, limit + 1);
    if (data.length === 0 && failed !== undefined) {
      if (i === 0) throw failed;
      text += `${session.style.error(failed.message)}\n`;
      break;
    }
    const zero = data.indexOf(0);
    const whole = data.subarray(0, zero < 0 ? Math.min(limit, data.length) : Math.min(zero, limit));
    text += `${label(session, state, at)}\t${formatString(whole, zero < 0)}\n`;
    found.push({ address: at, text: new TextDecoder("latin1").decode(whole) });
    state.next = at + BigInt(zero < 0 ? whole.length : zero + 1);
  }
  return { text, data: found };
}

async function instructions(session: Session, state: ExamineState, count: number): Promise<Answer> {
  const vm = guest(session);
  const list = state.space === "gpa"
    ? await physicalInstructions(session, state.next, count)
    : count < 0
    ? await vm.disassemble(gva(state.next), {
      count: 0,
      before: -count,
      vcpu: session.vcpu,
      syntax: syntaxSetting(session),
    })
    : await vm.disassemble(gva(state.next), { count, vcpu: session.vcpu, syntax: syntaxSetting(session) });
  const last = list.at(-1);
  if (last !== undefined) stateOf(session).variables.set("_", last.address);
  if (count < 0) state.next = list[0]?.address ?? state.next;
  else if (last !== undefined) state.next = last.address + BigInt(last.length);
  const pc = state.space === "gva" ? await linearPc(session) : undefined;
  const text = instructionLines(list, {
    style: session.style,
    pc,
    symbol: (address) => (state.space === "gva" ? symbolAt(vm, address) : undefined),
    tabs: true,
  });
  return { text, data: list.map(instructionData) };
}

/** Code at a guest-physical address, as if it ran where it lies. */
async function physicalInstructions(session: Session, at: bigint, count: number): Promise<Instruction[]> {
  if (count < 0) throw new InputError("xp/i goes forwards only", { remedy: "give an address before it" });
  const longest = 15;
  const { data, failed } = await readSome(session, { space: "gpa", at }, count * longest);
  if (data.length === 0 && failed !== undefined) throw failed;
  return (await disassembler()).list(data, bitness(await registersOf(session)), at, count);
}

/** Reads up to `length` bytes: what can be read, and the error where it ended. */
async function readSome(
  session: Session,
  place: { space: "gpa" | "gva"; at: bigint },
  length: number,
): Promise<{ data: Uint8Array; failed?: Error }> {
  try {
    return { data: await readPlace(session, place, length) };
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "FaultError") throw error;
    const { address } = error as Error & { address: bigint };
    const readable = Number(address - place.at);
    if (readable <= 0 || readable >= length) return { data: new Uint8Array(), failed: error };
    return { data: await readPlace(session, place, readable), failed: error };
  }
}
