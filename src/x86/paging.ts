/** Page walks: from a linear address to a guest-physical one, with what stands in each entry on the way. */
import type { MaybePromise } from "../vm/backend.ts";
import { FaultError } from "../vm/errors.ts";
import type { MachinePaging, Registers } from "../vm/registers.ts";
import { EFER_LMA_BIT, isCanonical, linearAddressBits, linearAddressMask, pagingMode } from "./mode.ts";
import type { PageEntry, PageLevel, PagingFormat } from "./page_entry.ts";
import { pageEntry, pageFlags, pagingFormat } from "./page_entry.ts";

export { type Mapping, mappings, type MappingsOptions } from "./mappings.ts";
export type { PageLevel } from "./page_entry.ts";

/** Reads guest-physical memory: fills `into` from `gpa`, at once or later. @throws {FaultError} */
export type ReadPhysical = (gpa: bigint, into: Uint8Array) => MaybePromise<void>;

/** The registers a walk depends on. */
export type WalkRegisters = Pick<Registers, "cr0" | "cr3" | "cr4" | "efer"> & MachinePaging;

/** One entry that was read on the way. */
export interface PageStep {
  /** Which kind of entry. */
  readonly level: PageLevel;
  /** Guest-physical address of the entry. */
  readonly entryAddress: bigint;
  /** The entry: 8 bytes, 4 in 32-bit paging. */
  readonly value: bigint;
  /** Names of the flags that are set: "P", "R/W", "U/S", "A", "D", "PS", "G", "XD", ... */
  readonly flags: string[];
  /** Bytes of the page it maps; undefined for an entry that points to a table or to nothing. */
  readonly pageSize?: number;
}

/** A linear address that is mapped. Rights are what the entries say together; CR0.WP, SMEP, SMAP and keys are not applied. */
export interface Mapped {
  /** Tells the two outcomes apart. */
  readonly ok: true;
  /** Entries from the top; none without paging. */
  readonly steps: readonly PageStep[];
  /** Guest-physical address of the byte. */
  readonly gpa: bigint;
  /** Bytes: 4 KiB, 2 MiB, 4 MiB, 1 GiB; 4 GiB without paging. */
  readonly pageSize: number;
  /** Whether writes are allowed. */
  readonly writable: boolean;
  /** Whether CPL 3 is allowed. */
  readonly user: boolean;
  /** Whether execution is forbidden. */
  readonly noExecute: boolean;
  /** Of the entry that maps the page. Without paging both are true. */
  readonly accessed: boolean;
  /** Whether D is set. */
  readonly dirty: boolean;
  /** Whether it survives a change of CR3. */
  readonly global: boolean;
}

/** Why a linear address is not mapped. */
export type WalkFailure = "not-present" | "reserved-bit" | "non-canonical" | "no-memory";

/** A linear address that is not mapped: `steps` ends with the entry at fault (but for "no-memory": it could not be read). */
export interface Unmapped {
  /** Tells the two outcomes apart. */
  readonly ok: false;
  /** Entries from the top. */
  readonly steps: readonly PageStep[];
  /** Why the walk ended. */
  readonly reason: WalkFailure;
  /** The kind of entry that said no; undefined for a non-canonical address. */
  readonly level?: PageLevel;
  /** The linear address. */
  readonly address: bigint;
  /** One sentence. */
  readonly message: string;
}

/** What a walk found. */
export type Translation = Mapped | Unmapped;

/** The bounds of a walk. */
export interface WalkOptions {
  /** MAXPHYADDR (CPUID.80000008H:EAX[7:0]), 32 to 52; address bits above it are reserved. 52 if left out. */
  readonly physicalBits?: number;
}

/** An entry whose flags are named only when asked for: conditions walk thousands of times and never look. */
class Step implements PageStep {
  readonly level: PageLevel;
  readonly entryAddress: bigint;
  readonly value: bigint;
  readonly pageSize?: number;
  readonly #format: PagingFormat;
  readonly #depth: number;
  constructor(format: PagingFormat, depth: number, entryAddress: bigint, value: bigint, pageSize?: number) {
    this.#format = format;
    this.#depth = depth;
    this.level = format.levels[depth].level;
    this.entryAddress = entryAddress;
    this.value = value;
    if (pageSize !== undefined) this.pageSize = pageSize;
  }
  get flags(): string[] {
    return pageFlags(this.#format, this.#depth, this.value);
  }
}

/** A walk under way; `take` is given one entry after the other. */
class Walk {
  readonly address: bigint;
  readonly format: PagingFormat;
  readonly steps: PageStep[] = [];
  readonly buffer: Uint8Array;
  readonly #view: DataView;
  #table: bigint;
  #writable = true;
  #user = true;
  #noExecute = false;

  constructor(address: bigint, format: PagingFormat) {
    this.address = address;
    this.format = format;
    this.#table = format.root;
    this.buffer = new Uint8Array(format.entryBytes);
    this.#view = new DataView(this.buffer.buffer);
  }

  get entryAddress(): bigint {
    const { shift, entries } = this.format.levels[this.steps.length];
    const index = Number(BigInt.asUintN(shift + 10, this.address) >> BigInt(shift)) & entries - 1;
    return this.#table + BigInt(index * this.format.entryBytes);
  }

  /** Judges the entry in `buffer`; gives the result when the walk is over. */
  take(at: bigint): Translation | undefined {
    const { format, steps } = this;
    const depth = steps.length;
    const { level, shift } = format.levels[depth];
    const value = format.entryBytes === 8
      ? this.#view.getBigUint64(0, true)
      : BigInt(this.#view.getUint32(0, true));
    const entry: PageEntry = pageEntry(format, depth, value);
    const maps = entry.present && entry.leaf && entry.reserved === 0n;
    steps.push(new Step(format, depth, at, value, maps ? 2 ** shift : undefined));
    if (!entry.present) return this.fail("not-present", level, `${level} at ${hex(at)} is not present`);
    if (entry.reserved !== 0n) {
      return this.fail(
        "reserved-bit",
        level,
        `${level} at ${hex(at)} (${hex(value)}) has reserved bits set: ${hex(entry.reserved)}`,
      );
    }
    this.#writable &&= entry.writable;
    this.#user &&= entry.user;
    this.#noExecute ||= entry.noExecute;
    if (!entry.leaf) {
      this.#table = entry.address;
      return undefined;
    }
    return {
      ok: true,
      steps,
      gpa: entry.address | this.address & (1n << BigInt(shift)) - 1n,
      pageSize: 2 ** shift,
      writable: this.#writable,
      user: this.#user,
      noExecute: this.#noExecute,
      accessed: entry.accessed,
      dirty: entry.dirty,
      global: entry.global,
    };
  }

  fail(reason: WalkFailure, level: PageLevel, why: string): Unmapped {
    const message = `${hex(this.address)} is not mapped: ${why}`;
    return { ok: false, steps: this.steps, reason, level, address: this.address, message };
  }

  unreadable(at: bigint, error: unknown): Unmapped {
    if (!(error instanceof FaultError)) throw error;
    const { level } = this.format.levels[this.steps.length];
    return this.fail("no-memory", level, `its ${level} would be at ${hex(at)}, where there is no memory`);
  }
}

/**
 * Translates a linear address as the CPU would. Answers at once when `read` does. Takes at most five reads.
 *
 * The A20 gate is the backend's, where memory wraps (capability "a20"). The PDPTEs of PAE paging are read from memory, where the CPU uses what it loaded at the
 * last MOV to CR3.
 *
 * @param address Linear; cut to 32 bits outside IA-32e paging.
 * @throws Whatever `read` throws, but for a FaultError, which gives "no-memory".
 */
export function walk(
  registers: WalkRegisters,
  address: bigint,
  read: ReadPhysical,
  options: WalkOptions = {},
): MaybePromise<Translation> {
  const mode = pagingMode(registers);
  const linear = BigInt.asUintN(64, address) & linearAddressMask(mode);
  const format = pagingFormat(registers, options.physicalBits);
  // Long mode without paging is no state of a processor; a stub that shows no page tables is told so.
  if (format === undefined) {
    return unpaged((registers.efer & EFER_LMA_BIT) === 0n ? linear : BigInt.asUintN(64, address));
  }
  const width = linearAddressBits(mode);
  if (width !== 32 && !isCanonical(linear, width)) {
    const message = `${hex(linear)} is not canonical: bits 63 to ${width - 1} must all be the same`;
    return { ok: false, steps: [], reason: "non-canonical", address: linear, message };
  }
  return advance(new Walk(linear, format), read);
}

/** Goes on for as long as `read` answers at once; else comes back when it has. */
function advance(state: Walk, read: ReadPhysical): MaybePromise<Translation> {
  for (;;) {
    const at = state.entryAddress;
    let pending: MaybePromise<void>;
    try {
      pending = read(at, state.buffer);
    } catch (error) {
      return state.unreadable(at, error);
    }
    if (pending !== undefined) {
      return pending.then(
        () => state.take(at) ?? advance(state, read),
        (error) => state.unreadable(at, error),
      );
    }
    const result = state.take(at);
    if (result !== undefined) return result;
  }
}

function unpaged(gpa: bigint): Mapped {
  return {
    ok: true,
    steps: [],
    gpa,
    pageSize: 2 ** 32,
    writable: true,
    user: true,
    noExecute: false,
    accessed: true,
    dirty: true,
    global: false,
  };
}

/** The error that says why a linear address can't be used. */
export function faultOf(failure: Unmapped): FaultError {
  const where = { address: failure.address, space: "gva" as const };
  return new FaultError(
    failure.message,
    failure.level === undefined ? where : { ...where, level: failure.level },
    {
      remedy: "look at the walk with `pt`, or use a guest-physical address (gpa)",
    },
  );
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
