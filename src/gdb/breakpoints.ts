/** gdb's breakpoints and watchpoints, packets `Z` and `z`: held by the same means as hvsh's own (GDB manual, E.2). */
import { gva } from "../vm/address.ts";
import type { Breakpoint, BreakpointOptions, Condition, Hit } from "../vm/breakpoint.ts";
import { FaultError, UnsupportedError } from "../vm/errors.ts";
import type { Machine } from "../vm/machine.ts";
import { evaluate, EXPRESSION_LIMIT } from "./agent.ts";
import { hexBytes, hexCount, hexNumber, PacketError } from "./text.ts";

/** Most breakpoints that a client may have in at once, and conditions that one of them has. */
const MOST = 4096;
const MOST_CONDITIONS = 64;
/** Most bytes that one watchpoint covers: it is made of pieces of at most 8. */
const WATCHED_BYTES = 64;

/** What a stop reply says of a breakpoint, or of the start of a recording: the words of "Stop Reply Packets", E.3. */
export type StopReason = "swbreak" | "hwbreak" | "watch" | "rwatch" | "awatch" | "replaylog:begin";

const REASONS: readonly StopReason[] = ["swbreak", "hwbreak", "watch", "rwatch", "awatch"];

/** Those that one client has set. */
export class GdbBreakpoints {
  readonly #vm: Machine;
  readonly #set = new Map<string, { readonly reason: StopReason; readonly held: readonly Breakpoint[] }>();

  constructor(vm: Machine) {
    this.#vm = vm;
  }

  /**
   * `Z`: sets one; setting it again gives it other conditions.
   *
   * @param text What stands behind the `Z`: `TYPE,ADDRESS,KIND[;CONDITIONS...]`.
   * @throws {PacketError} If it makes no sense.
   * @throws {HvshError} If no means works there.
   */
  async insert(text: string): Promise<void> {
    const { type, address, size, rest } = parse(text);
    const key = `${type},${address},${size}`;
    const condition = conditionOf(rest);
    const present = this.#set.get(key);
    if (present !== undefined) {
      for (const breakpoint of present.held) breakpoint.condition = condition;
      return;
    }
    if (this.#set.size >= MOST) throw new PacketError(`at most ${MOST} breakpoints can be in at once`);
    const held = await this.#hold(type, address, size, condition);
    this.#set.set(key, { reason: REASONS[type], held });
  }

  /** `z`: takes one out; one that is not in is no error. @throws {PacketError} */
  async remove(text: string): Promise<void> {
    const { type, address, size } = parse(text);
    const key = `${type},${address},${size}`;
    const present = this.#set.get(key);
    this.#set.delete(key);
    for (const breakpoint of present?.held ?? []) await breakpoint.remove();
  }

  /** Takes all out. */
  async clear(): Promise<void> {
    const all = [...this.#set.values()];
    this.#set.clear();
    for (const { held } of all) for (const breakpoint of held) await breakpoint.remove();
  }

  /** What gdb calls this breakpoint, if it is one of gdb's. */
  reasonOf(breakpoint: Breakpoint): StopReason | undefined {
    for (const { reason, held } of this.#set.values()) if (held.includes(breakpoint)) return reason;
    return undefined;
  }

  async #hold(
    type: number,
    address: bigint,
    size: number,
    condition: Condition | undefined,
  ): Promise<readonly Breakpoint[]> {
    const options: BreakpointOptions = condition === undefined ? {} : { condition };
    const { breakpoints } = this.#vm;
    if (type === 1) return [await breakpoints.add(gva(address), { ...options, kind: "hardware" })];
    if (type === 0) return [await this.#software(address, options)];
    const access = type === 2 ? "write" : "access";
    const held: Breakpoint[] = [];
    try {
      for (const piece of pieces(address, size)) {
        held.push(await breakpoints.add(gva(piece.address), { ...options, access, size: piece.size }));
      }
    } catch (error) {
      for (const breakpoint of held) await breakpoint.remove();
      throw error;
    }
    return held;
  }

  /** Debug registers are left to watchpoints and to those who ask for them; where nothing else works, one is taken. */
  async #software(address: bigint, options: BreakpointOptions): Promise<Breakpoint> {
    try {
      return await this.#vm.breakpoints.add(gva(address), { ...options, kind: "software" });
    } catch (error) {
      if (!(error instanceof UnsupportedError || error instanceof FaultError)) throw error;
      return await this.#vm.breakpoints.add(gva(address), { ...options, kind: "auto" });
    }
  }
}

function parse(text: string): { type: number; address: bigint; size: number; rest: string } {
  const [, type, address, kind, rest] = /^([0-4]),([0-9a-f]+),([0-9a-f]+)(;.*)?$/is.exec(text) ?? [];
  if (type === undefined) throw new PacketError(`"${text.slice(0, 40)}" is no breakpoint`);
  const size = hexCount(kind);
  if (Number(type) >= 2 && (size < 1 || size > WATCHED_BYTES)) {
    throw new PacketError(`a watchpoint covers 1 to ${WATCHED_BYTES} bytes, not ${size}`);
  }
  return { type: Number(type), address: hexNumber(address), size, rest: rest ?? "" };
}

/** `;X LENGTH,BYTES...`: stops if any of the expressions says so, or has no value. */
function conditionOf(text: string): Condition | undefined {
  const expressions: Uint8Array[] = [];
  // An expression may follow the one before at once, or behind another semicolon.
  const next = /^[;,]?X([0-9a-f]{1,8}),/i;
  let rest = text;
  for (;;) {
    const match = next.exec(rest);
    if (match === null) break;
    const length = hexCount(match[1]);
    const digits = rest.slice(match[0].length, match[0].length + 2 * length);
    if (length > EXPRESSION_LIMIT || digits.length !== 2 * length || expressions.length >= MOST_CONDITIONS) {
      throw new PacketError("the condition is longer than it may be, or than it is");
    }
    expressions.push(hexBytes(digits));
    rest = rest.slice(match[0].length + 2 * length);
  }
  if (rest !== "" && rest !== ";") throw new PacketError("only conditions can be given to a breakpoint");
  if (expressions.length === 0) return undefined;
  return (hit) => wants(expressions, hit, 0);
}

function wants(expressions: readonly Uint8Array[], hit: Hit, from: number): boolean | Promise<boolean> {
  for (let i = from; i < expressions.length; i++) {
    try {
      const value = evaluate(expressions[i], hit);
      if (value instanceof Promise) {
        return value.then((v) => v !== 0n || wants(expressions, hit, i + 1), () => true);
      }
      if (value !== 0n) return true;
    } catch {
      // As gdb's own conditions: one that can't be evaluated stops, so that the user sees it.
      return true;
    }
  }
  return false;
}

/** Aligned pieces of 1, 2, 4 or 8 bytes that cover a range; it wraps at 2^64. */
function pieces(address: bigint, size: number): { address: bigint; size: 1 | 2 | 4 | 8 }[] {
  const list: { address: bigint; size: 1 | 2 | 4 | 8 }[] = [];
  for (let at = address, left = size; left > 0;) {
    const fits = ([8, 4, 2, 1] as const).find((n) => n <= left && at % BigInt(n) === 0n) ?? 1;
    list.push({ address: at, size: fits });
    at = BigInt.asUintN(64, at + BigInt(fits));
    left -= fits;
  }
  return list;
}
