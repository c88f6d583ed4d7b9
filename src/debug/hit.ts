import type { AccessHit, Condition, Hit } from "../vm/breakpoint.ts";
import type { MaybePromise } from "../vm/backend.ts";
import type { Vcpu } from "../vm/machine.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import type { StopCause } from "../vm/stop.ts";
import type { ManagedBreakpoint } from "./breakpoint.ts";
import { guarded, isRunaway } from "./guard.ts";

/** Bits of CR3 that are an address: without PCID, cache bits and LAM (SDM vol. 3A, 2.5 and 4.5). */
const CR3_ADDRESS_MASK = 0x000f_ffff_ffff_f000n;

/** Reads linear or physical memory for a condition, breakpoints hidden; at once on a local backend. */
export type ConditionReader = (address: bigint, length: number) => MaybePromise<Uint8Array>;

/** What a condition sees. */
export class ConditionHit implements Hit {
  readonly vcpu: Vcpu;
  readonly registers: Registers;
  readonly hits: number;
  readonly address: bigint;
  readonly #read: ConditionReader;

  constructor(vcpu: Vcpu, registers: Registers, breakpoint: ManagedBreakpoint, read: ConditionReader) {
    this.vcpu = vcpu;
    this.registers = registers;
    this.hits = breakpoint.hits;
    this.address = breakpoint.at;
    this.#read = read;
  }

  read(address: bigint, length: number): Uint8Array {
    // Hit.read is documented to give a Promise on remote backends; the type names the local case.
    return this.#read(address, length) as Uint8Array;
  }

  readUint(address: bigint, bytes: number): bigint {
    return littleEndian(this.read(address, bytes));
  }
}

/** The unsigned number that `bytes` hold, least significant first. */
export function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return value;
}

/**
 * Counts a hit and decides whether it stops: scope, then condition, then the ignore count.
 *
 * @param makeHit Makes what the condition gets; called only if there is one.
 * @param cause The stop, if it does.
 */
export function judge(
  breakpoint: ManagedBreakpoint,
  vcpu: number,
  registers: Registers,
  makeHit: () => Hit | AccessHit,
  cause: () => StopCause,
): MaybePromise<StopCause | undefined> {
  if (!breakpoint.enabled) return undefined;
  if (breakpoint.vcpu !== undefined && breakpoint.vcpu !== vcpu) return undefined;
  if (
    breakpoint.cr3 !== undefined &&
    (breakpoint.cr3 & CR3_ADDRESS_MASK) !== (registers.cr3 & CR3_ADDRESS_MASK)
  ) return undefined;
  breakpoint.hits++;
  const { condition } = breakpoint;
  if (condition === undefined) return passIgnored(breakpoint, cause);
  try {
    // Both kinds of conditions take the hit that `makeHit` makes for this breakpoint's kind.
    const answer = guarded(() => (condition as Condition)(makeHit() as Hit));
    if (answer instanceof Promise) {
      return answer.then(
        (stops) => stops ? passIgnored(breakpoint, cause) : undefined,
        (error) => threw(breakpoint, error),
      );
    }
    return answer ? passIgnored(breakpoint, cause) : undefined;
  } catch (error) {
    if (isRunaway(error)) throw error;
    return threw(breakpoint, error);
  }
}

/** Judges several breakpoints at one place; all count, the first that stops is reported. */
export function judgeAll(
  breakpoints: readonly ManagedBreakpoint[],
  one: (breakpoint: ManagedBreakpoint) => MaybePromise<StopCause | undefined>,
): MaybePromise<StopCause | undefined> {
  if (breakpoints.length === 1) return one(breakpoints[0]);
  let result = undefined as MaybePromise<StopCause | undefined>;
  for (const breakpoint of breakpoints) {
    result = then(result, (found) => then(one(breakpoint), (mine) => found ?? mine));
  }
  return result;
}

function passIgnored(breakpoint: ManagedBreakpoint, cause: () => StopCause): StopCause | undefined {
  breakpoint.matches++;
  if (breakpoint.ignore > 0) {
    breakpoint.ignore--;
    return undefined;
  }
  return cause();
}

function threw(breakpoint: ManagedBreakpoint, error: unknown): StopCause {
  breakpoint.matches++; // as in gdb: it stopped the guest
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "fault", reason: `the condition of breakpoint ${breakpoint.id} threw: ${message}`, error };
}
