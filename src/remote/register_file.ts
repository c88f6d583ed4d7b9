import { hexValue } from "../abi/rsp.ts";
import { GENERAL, type RegisterName, SEGMENTS } from "../vm/registers.ts";
import { nonsense } from "./connection.ts";
import { textOf } from "./packets.ts";
import { registerName } from "./register_names.ts";
import type { RegisterMap } from "./snapshot.ts";
import type { StubRegister, TargetDescription } from "./target_xml.ts";

/** A stub's registers under hvsh's names: reads answers to `g`, makes `P` packets. */
export class RegisterFile {
  readonly #registers = new Map<RegisterName, StubRegister>();
  readonly #extra = new Map<string, StubRegister>();

  constructor({ registers }: TargetDescription) {
    for (const register of registers) {
      const name = registerName(register.name);
      if (name === undefined) this.#extra.set(register.name, register);
      else this.#registers.set(name, register);
    }
  }

  /** Whether these are the registers of x86 in 64 or 32 bits; what is missing, if not. */
  get missing(): readonly RegisterName[] {
    return GENERAL.filter((name) => !/^r(8|9|1\d)$/.test(name) && !this.#registers.has(name));
  }

  /** Whether the stub has a register of this name. */
  has(name: RegisterName): boolean {
    return this.#registers.has(name);
  }

  /**
   * Reads the answer to `g`, each register when it is asked for. What the stub does not have is left out.
   *
   * @param answer Its characters: two digits a byte, `xx` for one that is not known.
   * @param hidden Registers to leave out, although the stub shows them.
   * @throws {HvshError} If they are none; so does what is returned.
   */
  read(answer: Uint8Array, hidden?: ReadonlySet<RegisterName>): RegisterMap {
    if (answer.length % 2 !== 0 || answer.length === 0) throw nonsense("g", textOf(answer));
    const registers = this.#registers;
    return {
      get(name) {
        const register = hidden?.has(name) ? undefined : registers.get(name);
        return register && valueIn(answer, register);
      },
    };
  }

  /** A register under the stub's own name, from an answer to `g`. @throws {HvshError} */
  extra(name: string, answer: Uint8Array): bigint | undefined {
    const register = this.#extra.get(name);
    return register && valueIn(answer, register);
  }

  /** The digits of an answer to `g` with another value for a register, where it has a place in them. */
  replaced(digits: string, name: RegisterName, value: bigint): string {
    const register = this.#registers.get(name);
    if (register === undefined) return digits;
    const { offset, size } = register;
    if (2 * (offset + size) > digits.length) return digits;
    return digits.slice(0, 2 * offset) + digitsOf(value, size) + digits.slice(2 * (offset + size));
  }

  /** The packet that sets a register; undefined if the stub has none such. */
  write(name: RegisterName | string, value: bigint): string | undefined {
    const register = this.#registers.get(name as RegisterName) ?? this.#extra.get(name);
    if (register === undefined) return undefined;
    return `P${register.number.toString(16)}=${digitsOf(value, register.size)}`;
  }
}

/** A value's digits, least byte first. */
function digitsOf(value: bigint, size: number): string {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number(value >> BigInt(8 * i) & 0xffn);
  return bytes.toHex();
}

const PE = 1n;
const LMA = 1n << 10n;
/** Access rights of flat segments, as `_attributes` has them. */
const CODE16 = 0x9bn;
const CODE32 = 0xc09bn;
const CODE64 = 0xa09bn;
const DATA16 = 0x93n;
const DATA32 = 0xc093n;

/**
 * Most stubs show selectors alone, and some no control registers. In real mode the base follows from the selector; in protected mode flat
 * segments are assumed, of 64 bits where EFER.LMA says so.
 *
 * @param shown What the stub shows.
 * @returns The same, and what follows.
 */
export function derived(shown: RegisterMap): RegisterMap {
  const values = new Map<RegisterName, bigint>();
  const real = ((shown.get("cr0") ?? PE) & PE) === 0n;
  const efer = shown.get("efer");
  const long = efer === undefined || (efer & LMA) !== 0n;
  // Without them nothing is known of paging, and linear addresses are all there are.
  values.set("cr0", PE);
  values.set("efer", LMA);
  for (const name of SEGMENTS) {
    const code = name === "cs";
    const attributes = real ? code ? CODE16 : DATA16 : code ? long ? CODE64 : CODE32 : DATA32;
    values.set(`${name}_base`, real ? (shown.get(name) ?? 0n) << 4n : 0n);
    values.set(`${name}_limit`, real ? 0xffffn : 0xffff_ffffn);
    values.set(`${name}_attributes`, attributes);
  }
  return { get: (name) => shown.get(name) ?? values.get(name) };
}

/** A register's value, least byte first; undefined if a stub answers with fewer than it describes (E.2, `g`). */
function valueIn(answer: Uint8Array, { offset, size }: StubRegister): bigint | undefined {
  if (2 * (offset + size) > answer.length) return undefined;
  let value = 0n;
  for (let at = offset + size; at > offset;) {
    const bytes = Math.min(4, at - offset);
    at -= bytes;
    value = value << BigInt(8 * bytes) | BigInt(wordAt(answer, 2 * at, bytes));
  }
  return value;
}

/** Up to four bytes, least first, from their digits. */
function wordAt(answer: Uint8Array, at: number, bytes: number): number {
  let word = 0;
  for (let i = bytes - 1; i >= 0; i--) {
    word = word << 8 | digitAt(answer, at + 2 * i) << 4 | digitAt(answer, at + 2 * i + 1);
  }
  return word >>> 0;
}

function digitAt(answer: Uint8Array, at: number): number {
  const value = answer[at] === UNKNOWN ? 0 : hexValue(answer[at]);
  if (value < 0) throw nonsense("g", textOf(answer));
  return value;
}

/** `x`: the stub does not know (E.2, `g`). */
const UNKNOWN = 0x78;
