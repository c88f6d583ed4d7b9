/** catch: stops at accesses to ports, MMIO and MSRs, and at what a hypervisor reports. */
import type { AccessBreakOptions, AccessPoint, Breakpoint } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { msrNumber } from "../../dsl/x86.ts";
import type { Session } from "../session.ts";
import { ONE_OF, placeWords } from "../render/access.ts";
import { hex } from "../render/text.ts";
import { breakpointData, keepNote } from "./breakpoint_list.ts";
import { accessCondition } from "./condition.ts";
import { guest } from "./selected.ts";
import { evaluate, splitExpression } from "./values.ts";

const SPACES: Readonly<Record<string, AccessBreakOptions["space"]>> = {
  port: "port",
  io: "port",
  mmio: "mmio",
  msr: "msr",
  cpuid: "cpuid",
};
/** Every leaf of CPUID. */
const LEAVES = 1n << 32n;

/** `catch port|mmio|msr|cpuid START[-END|+LENGTH] [read|write] [if CONDITION]`, `catch cr3`; `tcatch` stops once. */
export async function catchAccess(session: Session, { name, rest }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const [, word, text] = /^(\w*)\s*([^]*)$/.exec(rest) ?? [];
  const one = ONE_OF.get(word);
  const space = one?.space ?? (Object.hasOwn(SPACES, word) ? SPACES[word] : undefined);
  const all = space === "cpuid" && /^(if\b|$)/.test(text);
  if (space === undefined || (text === "" && one === undefined && !all)) {
    const what = word === ""
      ? "catch needs to know what"
      : space === undefined
      ? `catch ${word} is not known`
      : `catch ${word} needs to know where`;
    throw new InputError(what, {
      remedy:
        "catch port 0x3f8, catch mmio 0xfee00000+0x1000 write, catch msr 0x10 if $rip > 0x1000, catch cr3",
    });
  }
  const { start, length, after } = one !== undefined
    ? { start: one.start, length: 1n, after: text }
    : all
    ? { start: 0n, length: LEAVES, after: text }
    : await range(session, space, text);
  const [, way, condition] = /^(?:(read|write|r|w)\b\s*)?(?:if\b\s*([^]+))?$/.exec(after) ?? [];
  if (way === undefined && condition === undefined && after !== "") {
    throw new InputError(`"${after}" is not understood`, {
      remedy: "what may follow: read, write, if CONDITION",
    });
  }
  const direction = way === undefined ? undefined : way.startsWith("r") ? "read" : "write";
  const made = await vm.breakpoints.onAccess({
    space,
    start,
    length,
    direction,
    once: name.startsWith("t"),
    condition: condition === undefined ? undefined : await accessCondition(session, condition),
  });
  const until = length > 1n ? `-${hex(start + length - 1n)}` : "";
  const place = all ? space : `${placeWords(space, start)}${until}`;
  const what = `${place}${direction === undefined ? "" : ` ${direction}`}`;
  keepNote(session, vm, made.id, { what: "", catch: what, condition });
  return { text: `Catchpoint ${made.id} (${what})\n`, data: breakpointData(vm, made) };
}

/**
 * `break on port|mmio|msr START ...` is catch; `break on DEVICE [read|write]` stops at all of a device's ranges, and
 * `break on DEVICE WHAT` at what the device names itself ("command" of ide0, "request" of a virtio device).
 */
export async function breakOn(session: Session, name: string, rest: string): Promise<Answer> {
  const vm = guest(session);
  // `break on virtio blk0 request` says what blk0 is, which a device's name says too.
  const named = vm.devices.get("virtio") === undefined ? rest.replace(/^virtio\s+/, "") : rest;
  const [, word, what = ""] = /^(\S+)\s*([^]*)$/.exec(named) ?? [];
  const once = name.startsWith("t");
  if (Object.hasOwn(SPACES, word)) {
    return await catchAccess(session, { name: once ? "tcatch" : "catch", format: "", rest, words: [] });
  }
  const handle = vm.devices.get(word);
  if (handle === undefined) {
    throw new InputError(`There is no device "${word}"`, {
      remedy: `break on port 0x3f8 write, or a device: ${vm.devices.list().map((d) => d.name).join(", ")}`,
    });
  }
  const points = handle.device.points ?? {};
  const direction = what === "read" || what === "write" ? what : undefined;
  const places: readonly AccessPoint[] | undefined = direction !== undefined || what === ""
    ? handle.ranges.map((range) => ({ ...range, ...(direction && { direction }) }))
    : Object.hasOwn(points, what)
    ? points[what]
    : undefined;
  if (places === undefined || places.length === 0) {
    throw new InputError(
      places === undefined ? `${word} has no "${what}"` : `${word} answers nowhere now`,
      { remedy: `what may follow: ${["read", "write", ...Object.keys(points)].join(", ")}` },
    );
  }
  const made: Breakpoint[] = [];
  for (const { space, start, length, direction } of places) {
    const one = await vm.breakpoints.onAccess({
      space,
      start,
      length,
      once,
      ...(direction && { direction }),
    });
    keepNote(session, vm, one.id, {
      what: "",
      catch: `${rest} (${space} ${hex(BigInt(start))})`,
      condition: undefined,
    });
    made.push(one);
  }
  const ids = made.map(({ id }) => id).join(", ");
  return { text: `Catchpoint ${ids} (${rest})\n`, data: made.map((one) => breakpointData(vm, one)) };
}

async function range(
  session: Session,
  space: string,
  text: string,
): Promise<{ start: bigint; length: bigint; after: string }> {
  const named = space === "msr" ? /^([A-Za-z_]\w*)\s*([^]*)$/.exec(text) : null;
  const number = named === null ? undefined : msrNumber(named[1]);
  if (named !== null && number !== undefined) return { start: BigInt(number), length: 1n, after: named[2] };
  // START-END and START+LENGTH without blanks are ranges; with blanks or parentheses it is arithmetic.
  const plain = /^(\w+)(?:([-+])(\w+))?(?=\s|$)\s*([^]*)$/.exec(text);
  if (plain !== null) {
    const start = (await evaluate(session, plain[1])).value;
    if (plain[2] === undefined) return { start, length: 1n, after: plain[4] };
    const other = (await evaluate(session, plain[3])).value;
    const length = plain[2] === "+" ? other : other - start + 1n;
    if (length < 1n) throw new InputError(`The range ${plain[1]}-${plain[3]} ends before it begins`);
    return { start, length, after: plain[4] };
  }
  const { node, rest } = splitExpression(text);
  return { start: BigInt.asUintN(64, (await evaluate(session, node)).value), length: 1n, after: rest };
}
