/** What the registers of a vCPU are made of: a table of getters over Xen's records, read when they are asked for. */

import { StateError } from "../vm/errors.ts";
import {
  FPU,
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
