/** watch, rwatch and awatch. */
import { type Condition, type Hit, InputError } from "../../dsl/mod.ts";
import type { Answer, Invocation } from "../command.ts";
import { parsePrefix, typeNamed, type Value } from "../expression.ts";
import type { Session } from "../session.ts";
import { breakpointData, howWords } from "./breakpoint_list.ts";
import { readTail } from "./breakpoints.ts";
import { breakpointCondition } from "./condition.ts";
import { guestState } from "./state.ts";
import {
  evaluate,
  guest,
  namesFor,
  type Place,
  placeOf,
  readPlace,
  registersOf,
  splitExpression,
  unsigned,
} from "./values.ts";

type Size = 1 | 2 | 4 | 8;

const LETTERS: Readonly<Record<string, Size>> = { b: 1, h: 2, w: 4, g: 8, "1": 1, "2": 2, "4": 4, "8": 8 };

/**
 * `watch [-l] EXPRESSION [thread N] [if CONDITION]`: memory that the expression reads, or the memory at the
 * address it gives. The size comes from the type, or from `watch/4`.
 */
export async function watch(session: Session, { name, rest, format }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const text = rest.replace(/^-(l|location)\b\s*/, "");
  if (text === "") {
    throw new InputError("Argument required (expression to watch).", { remedy: "watch *(u32*)0x1000" });
  }
  const { source, node } = splitExpression(text);
  const target = await watched(session, await evaluate(session, node), format);
  const { condition, ...where } = await readTail(session, text.slice(parsePrefix(text).end));
  const asked = condition === undefined ? undefined : await breakpointCondition(session, condition);
  const read = /^r/.test(name);
  const made = await vm.breakpoints.add(target.place.address, {
    ...where,
    access: /^w/.test(name) ? "write" : "access",
    size: target.size,
    condition: read ? await onlyReads(session, target.place, target.size, asked) : asked,
  });
  const value = unsigned(await readPlace(session, target.place, target.size));
  guestState(vm).notes.set(made.id, { what: source, condition, readOnly: read, value });
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
  if (place?.kind === "register") {
    throw new InputError(`A register can't be watched: no trap tells when ${place.register} changes`, {
      remedy:
        `step until it does, in TypeScript: await vm.step({count: 10000, each: (r) => r.${place.register} === 5n})`,
    });
  }
  return {
    place: placeOf(value, registers),
    size: asked ?? value.pointee?.bytes ?? namesFor(session, registers).word,
  };
}

/** x86 has no trap for reads alone: an access that changed the bytes was a write, as gdb judges it. */
async function onlyReads(
  session: Session,
  place: Place,
  size: number,
  asked?: Condition,
): Promise<Condition> {
  let last = (await readPlace(session, place, size)).join();
  return (hit: Hit) => {
    const now = hit.read(place.address, size).join();
    const written = last !== now;
    last = now;
    return written ? false : asked === undefined || asked(hit);
  };
}
