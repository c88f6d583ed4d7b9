import { InputError, UnsupportedError } from "../vm/errors.ts";
import {
  GENERAL,
  REGISTER_NAMES,
  registerBits,
  type RegisterName,
  type Registers,
  type RegisterValues,
} from "../vm/registers.ts";
import type { Machine } from "./machine.ts";
import { textOf } from "./packets.ts";
import { loadState, whyNotLoadable } from "./state_loader.ts";

/** Selectors that a stub sets in real mode, with the base that follows. */
const SELECTORS = ["cs", "ds", "es", "fs", "gs", "ss"] as const;
const PE = 1n;
const PG = 1n << 31n;
const LMA = 1n << 10n;
const KNOWN: ReadonlySet<string> = new Set(REGISTER_NAMES);
/** What the loader does not load. */
const OTHERS = /^(r..?|rflags|[fg]s_base|cr2|cr8|st\d|[xy]mm\d+|mxcsr|fcw|fsw|ftw|f[oid]p)$/;

/**
 * Sets registers: by the stub where it can, else by a few instructions that the guest runs in a borrowed page.
 *
 * @throws {RangeError | InputError | UnsupportedError} Before anything is set.
 */
export function planWrite(machine: Machine, index: number, now: Registers, values: RegisterValues): void {
  const wanted = checked(values);
  const changed = new Map([...wanted].filter(([name, value]) => now[name] !== value));
  if (changed.size === 0) return;
  const target = (name: RegisterName): bigint => wanted.get(name) ?? now[name];
  const real = (target("cr0") & PE) === 0n;
  if (real) dropWhatFollows(changed, target);
  const bySwitch = needsLoader(changed, now, real, machine);
  if (bySwitch !== undefined) {
    const why = whyNotLoadable(machine, target);
    if (why !== undefined) throw new UnsupportedError(bySwitch, why, { remedy: "set what the stub can set" });
    const state = new Map(REGISTER_NAMES.map((name) => [name, target(name)] as const));
    loadState(machine, index, (name) => state.get(name) ?? 0n);
    for (const name of [...GENERAL, "fs_base", "gs_base", "cr2"] as const) {
      changed.set(name, state.get(name) ?? 0n);
    }
    if (!real) { for (const name of changed.keys()) if (!OTHERS.test(name)) changed.delete(name); }
  }
  send(machine, index, changed, now, real);
}

function send(
  machine: Machine,
  index: number,
  changed: ReadonlyMap<RegisterName, bigint>,
  now: Registers,
  real: boolean,
): void {
  const { session, file } = machine;
  session.select(index);
  const packets: string[] = [];
  const put = (name: RegisterName, value: bigint) => {
    const packet = file.write(name, value);
    if (packet !== undefined) packets.push(packet);
  };
  // Control registers decide what a selector means, and the base that a selector brings is set anew behind it.
  const order = [...changed].sort(([a], [b]) => rank(a) - rank(b));
  for (const [name, value] of order) {
    // A selector that stays the same is not loaded anew, although it may mean something else now.
    if (real && isSelector(name) && (now.cr0 & PE) !== 0n) put(name, value ^ 8n);
    put(name, value);
  }
  const answers = session.connection.requests(packets);
  if (answers.length > 0 && answers.every((answer) => answer === "")) return sendAll(machine, index, order);
  const failed = answers.findIndex((answer) => answer !== "OK");
  if (failed >= 0) {
    throw new UnsupportedError(`setting ${order[failed]?.[0]}`, `the stub answers ${answers[failed]}`, {
      remedy: "check the value",
    });
  }
}

/** For a stub without `P`, such as gdbserver: all registers at once. */
function sendAll(machine: Machine, index: number, changed: readonly [RegisterName, bigint][]): void {
  const { session, file } = machine;
  // What it does not know has a place all the same.
  let digits = textOf(machine.general(index)).replaceAll("x", "0");
  for (const [name, value] of changed) digits = file.replaced(digits, name, value);
  const answer = session.connection.request(`G${digits}`);
  if (answer === "OK") return;
  throw new UnsupportedError(
    `setting ${changed.map(([name]) => name)}`,
    `the stub answers "${answer}" to P and G`,
    {
      remedy: "set what the stub can set",
    },
  );
}

function rank(name: RegisterName): number {
  if (name === "cr0" || name === "cr3" || name === "cr4" || name === "efer") return 0;
  return isSelector(name) ? 1 : 2;
}

function isSelector(name: string): name is typeof SELECTORS[number] {
  return (SELECTORS as readonly string[]).includes(name);
}

/** In real mode a selector brings base, limit and access rights with it. */
function dropWhatFollows(changed: Map<RegisterName, bigint>, target: (name: RegisterName) => bigint): void {
  for (const segment of SELECTORS) {
    if (target(`${segment}_base`) === target(segment) << 4n) changed.delete(`${segment}_base`);
    else if (changed.has(segment) && !changed.has(`${segment}_base`)) {
      changed.set(`${segment}_base`, target(`${segment}_base`));
    }
    if (target(`${segment}_limit`) === 0xffffn) changed.delete(`${segment}_limit`);
    // The stub gives CS the rights of a data segment, which in real mode makes no difference.
    if (target(`${segment}_attributes`) >> 4n === 9n) changed.delete(`${segment}_attributes`);
  }
}

/** What can't be set by a packet; undefined if all can. */
function needsLoader(
  changed: ReadonlyMap<RegisterName, bigint>,
  now: Registers,
  real: boolean,
  { file }: Machine,
): string | undefined {
  for (const [name, value] of changed) {
    const mode = (name === "cr0" && ((value ^ now.cr0) & (PE | PG)) !== 0n && !real) ||
      (name === "efer" && ((value ^ now.efer) & LMA) !== 0n && !real);
    if (mode || (isSelector(name) && !real) || !file.has(name)) return `setting ${name}`;
  }
  return undefined;
}

/** @throws {InputError} If there is no such register. @throws {RangeError} If a value does not fit. */
function checked(values: RegisterValues): Map<RegisterName, bigint> {
  const wanted = new Map<RegisterName, bigint>();
  for (const [name, value] of Object.entries(values) as [RegisterName, unknown][]) {
    if (value === undefined) continue;
    if (!KNOWN.has(name)) {
      throw new InputError(`There is no register ${name}.`, {
        remedy: "The names are those that registers() has.",
      });
    }
    const most = (1n << BigInt(registerBits(name))) - 1n;
    if (typeof value !== "bigint" || value < 0n || value > most) {
      throw new RangeError(`${String(value)} does not fit ${name}, which takes 0..0x${most.toString(16)}.`);
    }
    wanted.set(name, value);
  }
  return wanted;
}
