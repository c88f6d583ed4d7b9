/** pt, info mem and info tlb: what paging does. */
import { gpa, gva, InputError, UnsupportedError } from "../../dsl/nouns.ts";
import { pagingMode } from "../../dsl/modes.ts";
import { type Mapping, mappings } from "../../dsl/x86.ts";
import type { Answer } from "../command.ts";
import { renderWalk } from "../render/page_walk.ts";
import { bare, hex, size } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest, registersOf, vcpuOf } from "./selected.ts";
import { evaluateAddress, splitExpressions } from "./values.ts";

/** Lines that a listing shows before it says how many more there are. */
const MOST_LINES = 512;

/** `pt ADDRESS`: the page walk, level by level. */
export async function pageWalk(session: Session, rest: string): Promise<Answer> {
  const place = await evaluateAddress(session, rest === "" ? "$pc" : rest);
  if (place.space === "gpa") {
    throw new InputError("A physical address is not translated", { remedy: "give a linear one: pt 0x1000" });
  }
  const walk = await vcpuOf(session).memory.translate(gva(place.at));
  return {
    text: renderWalk(place.at, walk, session.style, session.width),
    data: { address: place.at, ...walk },
  };
}

/** `info mem`: ranges with the same rights. `info tlb`: every page. Both take [FROM, TO]. */
export async function listMappings(session: Session, rest: string, pages: boolean): Promise<Answer> {
  const vm = guest(session);
  const registers = await registersOf(session);
  if (pagingMode(registers) === "none") return { text: "PG disabled\n", data: [] };
  const [first, last] = splitExpressions(rest);
  const from = first === undefined ? undefined : (await evaluateAddress(session, first)).at;
  const to = last === undefined ? undefined : (await evaluateAddress(session, last)).at;
  const read = (at: bigint, into: Uint8Array) => vm.memory.readInto(gpa(at), into);
  const found: Mapping[] = [];
  let more = 0;
  const options = { from, to, merge: pages ? "none" : "rights" } as const;
  for await (const mapping of mappings(registers, read, options)) {
    if (found.length < MOST_LINES) found.push(mapping);
    else if (++more > 1_000_000) break;
  }
  const lines = found.map((m) => (pages ? pageLine(m) : rangeLine(m)));
  if (more > 0) lines.push(`... and ${more} more: give a range, info ${pages ? "tlb" : "mem"} FROM, TO`);
  return { text: lines.map((l) => `${l}\n`).join(""), data: found };
}

/** `vmmap [ADDRESS]`: as `info mem`, or the one range that holds the address. */
export async function mapOf(session: Session, rest: string): Promise<Answer> {
  if (rest === "") return await listMappings(session, rest, false);
  const { at, space } = await evaluateAddress(session, rest);
  if (space === "gpa") {
    throw new InputError("A physical address is in no linear range", { remedy: "info mtree" });
  }
  const registers = await registersOf(session);
  if (pagingMode(registers) === "none") return { text: "PG disabled\n", data: [] };
  const { memory } = guest(session);
  const read = (from: bigint, into: Uint8Array) => memory.readInto(gpa(from), into);
  for await (const mapping of mappings(registers, read, { merge: "rights" })) {
    if (mapping.start > at) break;
    if (at - mapping.start < mapping.size) return { text: `${rangeLine(mapping)}\n`, data: [mapping] };
  }
  throw new InputError(`${hex(at)} is not mapped`, {
    remedy: `pt ${hex(at)} shows at which level that ends`,
  });
}

/** `gva2gpa ADDRESS`, in QEMU's words. */
export async function toPhysical(session: Session, rest: string): Promise<Answer> {
  if (rest === "") throw new InputError("gva2gpa needs a linear address", { remedy: "gva2gpa $rsp" });
  const { at } = await evaluateAddress(session, rest);
  const walk = await vcpuOf(session).memory.translate(gva(at));
  const to = "gpa" in walk ? walk.gpa : undefined;
  return { text: to === undefined ? "Unmapped\n" : `gpa: ${hex(to)}\n`, data: { address: at, gpa: to } };
}

/** `gva2hva`, `gpa2hva`: refused. */
export function toHost(): never {
  throw new UnsupportedError(
    "an address in the host's process",
    "guest memory is reached through hvsh alone, and its place may change",
    {
      remedy: "read it by x or xp, save it by memsave or pmemsave; gva2gpa gives the guest-physical address",
    },
  );
}

function rights(m: Mapping): string {
  return `${m.user ? "u" : "-"}r${m.writable ? "w" : "-"}${m.noExecute ? "-" : "x"}`;
}

function rangeLine(m: Mapping): string {
  return `${bare(m.start, 16)}-${bare(m.start + m.size, 16)} ${bare(m.size, 16)} ${rights(m)}`;
}

function pageLine(m: Mapping): string {
  const kind = m.pageSize === 4096 ? "" : ` ${size(m.pageSize)}`;
  return `${bare(m.start, 16)}: ${hex(m.gpa, 16)} ${rights(m)}${m.global ? " G" : ""}${kind}`;
}
