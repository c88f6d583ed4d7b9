/** print, output and call: values of expressions. */
import type { RegisterName } from "../../dsl/mod.ts";
import { InputError, registerBits } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { parseAssignment, type Value } from "../expression.ts";
import { formatNumber, formatString, formatVector, type Letter } from "../render/number.ts";
import { flagWords } from "../render/registers.ts";
import { far, hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { assign } from "./assign.ts";
import { stateOf } from "./state.ts";
import { guest, readPlace, registersOf, symbolAt } from "./selected.ts";
import { evaluate, placeOf } from "./values.ts";

const SIZES: Readonly<Record<string, number>> = { b: 8, h: 16, w: 32, g: 64 };
const LETTERS = "xduotacfzs";

/** Letter and size of `p/x`, `p/xb`. @throws {InputError} */
export function printFormat(format: string): { letter?: Letter | "s"; bits?: number } {
  let letter: Letter | "s" | undefined;
  let bits: number | undefined;
  for (const c of format) {
    if (LETTERS.includes(c)) letter = c as Letter | "s";
    else if (Object.hasOwn(SIZES, c)) bits = SIZES[c];
    else {
      throw new InputError(`/${format} is not a format for print`, {
        remedy: c === "i" || /\d/.test(c)
          ? "x shows memory and instructions: x/3i ADDRESS"
          : "formats: x d u o t a c f z s; sizes b h w g",
      });
    }
  }
  return { letter, bits };
}

/** `print [/FORMAT] [EXPRESSION]`; an assignment is done and its value shown. Without an expression: `$`. */
export async function print(session: Session, { rest, format, name }: Invocation): Promise<Answer> {
  const { history } = stateOf(session);
  const value = rest === "" ? history.at(-1) : await valueOf(session, rest);
  if (value === undefined) {
    throw new InputError("There is no value yet to show again", { remedy: "print EXPRESSION" });
  }
  const shown = await show(session, value, format);
  if (name === "output") return { text: shown, data: { value: value.value } };
  history.push(value);
  if (history.length > 65536) throw new InputError("The history of values is full");
  return {
    text: `$${history.length} = ${shown}\n`,
    data: { number: history.length, value: value.value, text: shown },
  };
}

async function valueOf(session: Session, source: string): Promise<Value> {
  const { target, value } = parseAssignment(source);
  if (target === undefined) return await evaluate(session, value);
  const given = await evaluate(session, value);
  await assign(session, target, given);
  return target.kind === "call" ? given : await evaluate(session, target);
}

/** A value in gdb's words: numbers in decimal, addresses in hex with their symbol, flags by name. */
export async function show(session: Session, value: Value, format: string): Promise<string> {
  const { letter, bits } = printFormat(format);
  const symbol = (address: bigint) => symbolAt(session.vm, address);
  if (letter === "s") return await stringAt(session, value);
  const width = bits ?? widthOf(value);
  if (letter !== undefined) {
    const signed = letter === "d" && bits === undefined && value.type === undefined;
    // Without a type, /d shows the number itself: only a number beyond 63 bits is negative when signed.
    const shown = signed ? Math.max(64, width) : width;
    return formatNumber(value.value, { letter, bits: shown, symbol });
  }
  if (value.segment !== undefined) {
    // The register holds an offset; `x` and `break` take it for what it leads to.
    const registers = await registersOf(session);
    const { at } = placeOf(value, registers);
    if (at !== value.value) {
      const offset = BigInt.asUintN(64, value.value);
      return `${far(registers[value.segment], offset)} (${
        formatNumber(at, { letter: "a", bits: 64, symbol })
      })`;
    }
  }
  const { place } = value;
  if (place?.kind === "register") {
    if (width > 80) return formatVector(value.value, width);
    if (width === 80) return formatNumber(value.value, { letter: "f", bits: 80 });
    const flags = place.shift === 0 && place.bits >= 16 ? flagWords(place.register, value.value) : "";
    if (flags !== "") return place.register === "rflags" ? flags : `${hex(value.value)} ${flags}`;
    if (isAddressRegister(place.register)) {
      return formatNumber(value.value, { letter: "a", bits: 64, symbol });
    }
  }
  if (value.segmented !== undefined) {
    const { selector, offset } = value.segmented;
    return `${far(selector, offset)} (${formatNumber(value.value, { letter: "a", bits: 64, symbol })})`;
  }
  if (value.pointee !== undefined || value.pointer || value.space !== undefined) {
    const text = formatNumber(value.value, { letter: "a", bits: 64, symbol });
    return value.space === "gpa" ? `phys ${text}` : text;
  }
  return value.value.toString();
}

/** Registers whose numbers are addresses or bit fields: decimal would help nobody. */
function isAddressRegister(name: RegisterName): boolean {
  return /^(rip|rsp|rbp|cr[238]|.*_base|.*_limit|.*_attributes|apic_base|dr[0-7]|[c-g]s|ss|tr|ldtr|f[it]?[pw]|fdp|fop)$/
    .test(name);
}

function widthOf(value: Value): number {
  if (value.type !== undefined) return value.type.bytes * 8;
  if (value.place?.kind === "register") {
    const { register, bits } = value.place;
    return Math.min(bits, Math.max(16, registerBits(register)));
  }
  if (value.place?.kind === "memory") return value.place.type.bytes * 8;
  return 64;
}

async function stringAt(session: Session, value: Value): Promise<string> {
  guest(session);
  const place = placeOf(value, await registersOf(session));
  const bytes = await readPlace(session, place, 201);
  const zero = bytes.indexOf(0);
  return `${hex(place.at)} ${
    formatString(zero < 0 ? bytes.subarray(0, 200) : bytes.subarray(0, zero), zero < 0)
  }`;
}
