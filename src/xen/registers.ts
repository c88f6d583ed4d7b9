/** What the registers of a vCPU are made of: a table of getters over Xen's records, read when they are asked for. */

import { StateError } from "../vm/errors.ts";
import {
  FPU,
  GENERAL,
  type MachinePaging,
  REGISTER_NAMES,
  type RegisterName,
  type Registers,
  VECTOR,
} from "../vm/registers.ts";
import * as xsave from "../x86/xsave.ts";

/** Gives one register's value. */
export type Getter = () => bigint;

/** XSAVE state, fetched when the first register of it is asked for. */
export interface ExtendedState {
  readonly xcr0: bigint;
  readonly area: Uint8Array;
}

/** What a snapshot is made from. */
export interface SnapshotSource {
  /** Every register that stands in the record, by name. Those that are missing read as 0: this guest has no such. */
  readonly values: ReadonlyMap<RegisterName, bigint>;
  /** Groups of registers that are fetched at the first use of one of them. */
  readonly later?: { readonly names: readonly RegisterName[]; fetch(): ReadonlyMap<RegisterName, bigint> };
  /** XSAVE state now. */
  extended(): ExtendedState;
  /** Whether the vCPU stands where it stood when the snapshot was taken. */
  fresh(): boolean;
  /** For paravirtual guests. */
  readonly physicalOf?: MachinePaging["physicalOf"];
}

const EXTENDED: ReadonlySet<RegisterName> = new Set([...FPU, ...VECTOR]);
const REST = REGISTER_NAMES.filter((name) => !(GENERAL as readonly string[]).includes(name));

/** Where the rest of a `StepSnapshot` comes from. */
export interface StepSource {
  /** Grows with each step, and each register that is set. */
  readonly moments: number;
  /** All registers now. */
  all(): Registers;
}

/** The general registers behind a step, as what stopped it tells them; the rest is fetched when one of it is read. */
export class StepSnapshot {
  declare readonly rax: bigint;
  declare readonly rbx: bigint;
  declare readonly rcx: bigint;
  declare readonly rdx: bigint;
  declare readonly rsi: bigint;
  declare readonly rdi: bigint;
  declare readonly rsp: bigint;
  declare readonly rbp: bigint;
  declare readonly r8: bigint;
  declare readonly r9: bigint;
  declare readonly r10: bigint;
  declare readonly r11: bigint;
  declare readonly r12: bigint;
  declare readonly r13: bigint;
  declare readonly r14: bigint;
  declare readonly r15: bigint;
  declare readonly rip: bigint;
  declare readonly rflags: bigint;
  readonly #source: StepSource;
  readonly #moment: number;
  #all: Registers | undefined;

  /**
   * @param words Where the general registers stand, among others.
   * @param places Which word is which, in the order of `GENERAL`.
   * @param rflags RFLAGS, where they are not as they stand there.
   */
  constructor(source: StepSource, words: BigUint64Array, places: readonly number[], rflags?: bigint) {
    this.#source = source;
    this.#moment = source.moments;
    this.rax = words[places[0]];
    this.rbx = words[places[1]];
    this.rcx = words[places[2]];
    this.rdx = words[places[3]];
    this.rsi = words[places[4]];
    this.rdi = words[places[5]];
    this.rsp = words[places[6]];
    this.rbp = words[places[7]];
    this.r8 = words[places[8]];
    this.r9 = words[places[9]];
    this.r10 = words[places[10]];
    this.r11 = words[places[11]];
    this.r12 = words[places[12]];
    this.r13 = words[places[13]];
    this.r14 = words[places[14]];
    this.r15 = words[places[15]];
    this.rip = words[places[16]];
    this.rflags = rflags ?? words[places[17]];
  }

  #rest(name: RegisterName): bigint {
    if (this.#all === undefined) {
      if (this.#source.moments !== this.#moment) {
        throw new StateError(
          `These registers are of an earlier step, and ${name} was not read then.`,
          "stale",
          {
            remedy: "Read one that is none of the general ones before the next step, or ask for registers().",
          },
        );
      }
      this.#all = this.#source.all();
    }
    return this.#all[name];
  }

  static {
    for (const name of REST) {
      Object.defineProperty(StepSnapshot.prototype, name, {
        get(this: StepSnapshot) {
          return this.#rest(name);
        },
        enumerable: true,
      });
    }
  }
}

/** One vCPU's registers at one moment; see `Registers`. */
export function snapshot(source: SnapshotSource): Registers {
  const out: Record<string, unknown> = {};
  let extended: ExtendedState | undefined;
  let fetched: ReadonlyMap<RegisterName, bigint> | undefined;
  const fresh = (group: string) => {
    if (source.fresh()) return;
    throw new StateError(
      `These registers are of an earlier moment, and the ${group} group was not read then.`,
      "stale",
      { remedy: "Ask for registers() again, or read one of the group before the guest goes on." },
    );
  };
  const state = () => {
    if (extended === undefined) {
      fresh("fpu and vector");
      extended = source.extended();
    }
    return extended;
  };
  const later = new Set(source.later?.names);
  for (const name of REGISTER_NAMES) {
    const get: Getter | undefined = name === "xcr0"
      ? () => state().xcr0
      : EXTENDED.has(name)
      ? () => xsave.get(state().area, name as xsave.XsaveName)
      : later.has(name)
      ? () => {
        if (fetched === undefined) {
          fresh("segment and debug");
          fetched = source.later!.fetch();
        }
        return fetched.get(name) ?? 0n;
      }
      : undefined;
    if (get === undefined) out[name] = source.values.get(name) ?? 0n;
    else Object.defineProperty(out, name, { get, enumerable: true });
  }
  if (source.physicalOf !== undefined) Object.defineProperty(out, "physicalOf", { value: source.physicalOf });
  return out as Registers;
}

/** Bytes before the XSAVE area in what XEN_DOMCTL_getvcpuextstate gives: XCR0 and the accumulated XCR0. */
const HEAD = 16;
/** The legacy region with the header: a vCPU that never used its FPU has no more. */
const INITIAL = 576;

/** Takes apart what the hypervisor gave; `legacy` stands in for a vCPU that has no XSAVE state yet. */
export function decodeExtended(state: Uint8Array, legacy: Uint8Array): ExtendedState {
  if (state.length < HEAD + INITIAL) {
    const area = new Uint8Array(INITIAL);
    area.set(legacy.subarray(0, 512));
    area[512] = 3;
    return { xcr0: 1n, area };
  }
  const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
  return { xcr0: view.getBigUint64(0, true), area: state.subarray(HEAD) };
}
