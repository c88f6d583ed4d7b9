/** watch, rwatch and awatch. */
import type { Condition, Hit } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { parsePrefix, typeNamed, type Value } from "../expression.ts";
import type { Session } from "../session.ts";
import { breakpointData, howWords, keepNote } from "./breakpoint_list.ts";
import { readTail } from "./breakpoints.ts";
import { breakpointCondition } from "./condition.ts";
import type { BreakpointNote } from "./state.ts";
import { guest, readPlace, registersOf, unsigned } from "./selected.ts";
import { evaluate, namesFor, type Place, placeOf, splitExpression } from "./values.ts";

type Size = 1 | 2 | 4 | 8;

const LETTERS: Readonly<Record<string, Size>> = { b: 1, h: 2, w: 4, g: 8, "1": 1, "2": 2, "4": 4, "8": 8 };

/**
 * `watch [-l] EXPRESSION [thread N] [if CONDITION]`: memory that the expression reads, or the memory at the
 * address it gives. The size comes from the type, or from `watch/4`.
 */
export async function watch(session: Session, { name, rest, format }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const location = /^-(l|location)\b\s*/.exec(rest);
  const text = location === null ? rest : rest.slice(location[0].length);
  if (text === "") {
    throw new InputError("Argument required (expression to watch).", { remedy: "watch *(u32*)0x1000" });
  }
  const { source, node } = splitExpression(text);
  const target = await watched(session, await evaluate(session, node), format, location !== null);
  const { condition, ...where } = await readTail(session, text.slice(parsePrefix(text).end));
  const asked = condition === undefined ? undefined : await breakpointCondition(session, condition);
  const read = /^r/.test(name);
  const value = unsigned(await readPlace(session, target.place, target.size));
  const note: BreakpointNote = { what: source, condition, readOnly: read, value };
  const made = await vm.breakpoints.add(target.place.address, {
    ...where,
    access: /^w/.test(name) ? "write" : "access",
    size: target.size,
    condition: read || asked !== undefined
      ? following(note, target.place.address, target.size, asked)
      : undefined,
  });
  keepNote(session, vm, made.id, note);
  const kind = read
    ? "read watchpoint"
    : made.access === "write"
    ? "watchpoint"
    : "access (read/write) watchpoint";
  const head = made.how === "hardware" ? `Hardware ${kind}` : kind[0].toUpperCase() + kind.slice(1);
  return { text: `${head} ${made.id}: ${source} (${howWords(made)})\n`, data: breakpointData(vm, made) };
}

async function watched(
  session: Session,
  value: Value,
  format: string,
  location: boolean,
): Promise<{ place: Place; size: Size }> {
  const asked = format === ""
    ? undefined
    : Object.hasOwn(LETTERS, format)
    ? LETTERS[format]
    : typeNamed(format)?.bytes;
  if (format !== "" && asked === undefined) {
    throw new InputError(`/${format} is not a size`, { remedy: "sizes: /1 /2 /4 /8 or /b /h /w /g" });
  }
  const registers = await registersOf(session);
  const { place } = value;
  if (place?.kind === "memory") {
    const at: Value = { value: place.address, space: place.space };
    return { place: placeOf(at, registers), size: asked ?? place.type.bytes };
  }
  if (place?.kind === "register" && asked === undefined && !location) {
    throw new InputError(`A register can't be watched: no trap tells when ${place.register} changes`, {
      remedy:
        `to watch what it points to: watch -l $${place.register}; to step until it changes, in TypeScript: ` +
        `await vm.step({count: 10000, each: (r) => r.${place.register} === 5n})`,
    });
  }
  return {
    place: placeOf(value, registers),
    size: asked ?? value.pointee?.bytes ?? namesFor(session, registers).word,
  };
}

/**
 * Looks at the watched bytes at every hit, those that a condition passes over too, so that the stop can tell
 * the value before. x86 has no trap for reads alone: for rwatch, an access that changed the bytes was a write,
 * as gdb judges it.
 */
export function following(
  note: BreakpointNote,
  address: bigint,
  size: number,
  asked: Condition | undefined,
): Condition {
  return (hit: Hit) => {
    note.before = note.value;
    note.value = unsigned(hit.read(address, size));
    if (note.readOnly && note.before !== note.value) return false;
    return asked === undefined || asked(hit);
  };
}
