/** trace and exits: what the guest asked of its devices. */
import type { TraceEntry, TraceFilter } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import { unwritable } from "../../dsl/file_error.ts";
import type { Answer } from "../command.ts";
import { renderStatistics, renderTrace } from "../render/trace.ts";
import { devicesElsewhere } from "./devices.ts";
import type { Session } from "../session.ts";
import { vcpuIndex } from "./breakpoints.ts";
import { guest, symbolAt } from "./selected.ts";
import { evaluate, evaluateCount } from "./values.ts";

const KINDS: readonly TraceEntry["kind"][] = ["port", "mmio", "msr", "request", "other"];
/** Lines shown unless `last N` says otherwise. */
const SHOWN = 20;

interface Wanted {
  filter: { -readonly [key in keyof TraceFilter]: TraceFilter[key] };
  save?: { readonly path: string; readonly format: "json" | "perfetto" };
  clear: boolean;
}

/**
 * `trace [port|mmio|msr|request|other] [read|write] [START[-END]] [device NAME] [vcpu N] [last N] [save FILE | perfetto
 * FILE | clear]`.
 */
export async function trace(session: Session, words: readonly string[]): Promise<Answer> {
  const vm = guest(session);
  const { filter, save, clear } = await readWords(session, words);
  if (clear) {
    vm.trace.clear();
    return { text: "Trace and counts are empty.\n", data: [] };
  }
  if (save !== undefined) {
    const text = save.format === "json" ? vm.trace.toJsonLines(filter) : vm.trace.toPerfetto(filter);
    try {
      await Deno.writeTextFile(save.path, text);
    } catch (cause) {
      throw unwritable(save.path, cause);
    }
    const entries = vm.trace.entries(filter).length;
    return {
      text: `${entries === 1 ? "1 access" : `${entries} accesses`} saved in ${save.path}.\n`,
      data: { file: save.path, entries },
    };
  }
  const entries = vm.trace.entries({ ...filter, last: filter.last ?? SHOWN });
  if (entries.length === 0) {
    return { text: devicesElsewhere(vm) || "Nothing of that kind in the trace.\n", data: [] };
  }
  const text = renderTrace(entries, session.style, session.width, (address) => symbolAt(vm, address));
  return { text, data: entries };
}

async function readWords(session: Session, words: readonly string[]): Promise<Wanted> {
  const wanted: Wanted = { filter: {}, clear: false };
  const { filter } = wanted;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const argument = (): string => {
      if (words[i + 1] === undefined) throw new InputError(`${word} needs a value behind it`);
      return words[++i];
    };
    if ((KINDS as readonly string[]).includes(word)) filter.kind = word as TraceEntry["kind"];
    else if (word === "read" || word === "write") filter.write = word === "write";
    else if (word === "device") filter.device = argument();
    else if (word === "vcpu") {
      filter.vcpu = vcpuIndex(guest(session), (await evaluate(session, argument())).value);
    } else if (word === "last") filter.last = await evaluateCount(session, argument(), "The number");
    else if (word === "save") wanted.save = { path: argument(), format: "json" };
    else if (word === "perfetto") wanted.save = { path: argument(), format: "perfetto" };
    else if (word === "clear") wanted.clear = true;
    else {
      const [, first, last] = /^([^-]+)(?:-(.+))?$/.exec(word) ?? [];
      if (first === undefined) throw new InputError(`"${word}" is not understood`);
      filter.from = BigInt.asUintN(64, (await evaluate(session, first)).value);
      filter.to = last === undefined
        ? filter.from
        : BigInt.asUintN(64, (await evaluate(session, last)).value);
    }
  }
  return wanted;
}

/** `exits [clear]`: how often the guest was left, and for what. */
export function exits(session: Session, words: readonly string[]): Answer {
  const vm = guest(session);
  if (words[0] === "clear") {
    vm.trace.clear();
    return { text: "Trace and counts are empty.\n", data: vm.trace.statistics() };
  }
  if (words.length > 0) {
    throw new InputError(`exits does not know "${words[0]}"`, {
      remedy: "exits, exits clear; trace shows them one by one",
    });
  }
  const statistics = vm.trace.statistics();
  const text = renderStatistics(statistics, session.style, session.width);
  return { text: text + devicesElsewhere(vm), data: statistics };
}
