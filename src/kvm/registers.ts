import { StateError } from "../vm/errors.ts";
import {
  DEBUG,
  FPU,
  GENERAL,
  type RegisterName,
  type Registers,
  type SegmentName,
  SEGMENTS,
  VECTOR,
} from "../vm/registers.ts";
import * as xsave from "../x86/xsave.ts";
import { kvm_dtable, kvm_segment, kvm_sregs } from "./abi.ts";
import type { RunPage } from "./run_page.ts";

/** Where a snapshot's slower groups come from, as long as the vCPU has not moved on. */
export interface SlowGroups {
  /** Changes whenever the vCPU runs or a register is set. */
  readonly generation: number;
  /** `struct kvm_sregs`, as 32-bit words. */
  sregs(): Uint32Array;
  /** DR0..DR3, DR6, DR7. */
  debugRegisters(): readonly bigint[];
  /** The XSAVE area. */
  xsaveArea(): Uint8Array;
  /** XCR0. */
  xcr0(): bigint;
}

const SEGMENT = kvm_segment.offsets;

/** Name of a segment register's member in `struct kvm_sregs`. */
export function segmentMember(name: SegmentName): Exclude<SegmentName, "ldtr"> | "ldt" {
  return name === "ldtr" ? "ldt" : name;
}

/** The control registers that stand in `struct kvm_sregs` as 64-bit words. */
export const SREGS_CONTROL = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base"] as const;

/** Access rights of a segment (SDM vol. 3C, 25.4.1) from the `struct kvm_segment` at byte `at`. */
function attributesOf(bytes: Uint8Array, at: number): bigint {
  return BigInt(
    bytes[at + SEGMENT.type] | (bytes[at + SEGMENT.s] << 4) | (bytes[at + SEGMENT.dpl] << 5) |
      (bytes[at + SEGMENT.present] << 7) | (bytes[at + SEGMENT.avl] << 12) | (bytes[at + SEGMENT.l] << 13) |
      (bytes[at + SEGMENT.db] << 14) | (bytes[at + SEGMENT.g] << 15) | (bytes[at + SEGMENT.unusable] << 16),
  );
}

/** What is kept of `struct kvm_sregs`: all but the interrupt bitmap at its end, which is no register. */
const SREGS_BYTES = kvm_sregs.offsets.interrupt_bitmap;

/** Segment and control registers of one moment. Never changed, so that snapshots can share it. */
class SregsCopy {
  readonly words32: Uint32Array<ArrayBuffer>;
  readonly words: BigUint64Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;

  /** @param now `struct kvm_sregs` as it lies in the shared page. */
  constructor(now: Uint32Array) {
    this.words32 = new Uint32Array(SREGS_BYTES / 4);
    for (let i = 0; i < SREGS_BYTES / 4; i++) this.words32[i] = now[i];
    this.words = new BigUint64Array(this.words32.buffer);
    this.bytes = new Uint8Array(this.words32.buffer);
  }

  /** Whether it holds what `now` holds. */
  equals(now: Uint32Array): boolean {
    const { words32 } = this;
    // They are nearly always equal: no branch for each word.
    let difference = 0;
    for (let i = 0; i < SREGS_BYTES / 4; i++) difference |= words32[i] ^ now[i];
    return difference === 0;
  }
}

/** What was fetched of the slower groups. */
interface Fetched {
  debug?: readonly bigint[];
  fpu?: Uint8Array;
  xcr0?: bigint;
}

/**
 * One vCPU's registers at one moment; see `Registers`. The general ones are plain properties, in the order of
 * `struct kvm_regs`: reading them by a computed name, as loops over register names do, is then as fast as by
 * a written one; they are declared and no more, or each would be written twice. The others are worked out when they
 * are read.
 */
class Snapshot {
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
  #sregs: SregsCopy | undefined;
  readonly #source: SlowGroups;
  readonly #generation: number;
  #fetched: Fetched | undefined;

  /** @param general The general registers in the order of `GENERAL`. */
  constructor(general: readonly bigint[], sregs: SregsCopy | undefined, source: SlowGroups) {
    this.#sregs = sregs;
    this.#source = source;
    this.#generation = source.generation;
    this.rax = general[0];
    this.rbx = general[1];
    this.rcx = general[2];
    this.rdx = general[3];
    this.rsi = general[4];
    this.rdi = general[5];
    this.rsp = general[6];
    this.rbp = general[7];
    this.r8 = general[8];
    this.r9 = general[9];
    this.r10 = general[10];
    this.r11 = general[11];
    this.r12 = general[12];
    this.r13 = general[13];
    this.r14 = general[14];
    this.r15 = general[15];
    this.rip = general[16];
    this.rflags = general[17];
  }

  /** A slower group, fetched when it is first read: if that is still the moment of the rest. */
  #fetch<Group extends keyof Fetched>(
    group: Group,
    name: string,
    read: (source: SlowGroups) => NonNullable<Fetched[Group]>,
  ): NonNullable<Fetched[Group]> {
    const fetched = this.#fetched ??= {};
    return fetched[group] ??= read(this.#current(name));
  }

  /** Where a group can still be fetched. @throws {StateError} If the guest went on since. */
  #current(name: string): SlowGroups {
    if (this.#source.generation === this.#generation) return this.#source;
    throw new StateError(
      `These registers are of an earlier moment, and the ${name} group was not read then.`,
      "stale",
      {
        remedy: "Ask for registers() again, or read one of the group before the guest goes on.",
      },
    );
  }

  /** Segment and control registers. */
  get #system(): SregsCopy {
    return this.#sregs ??= new SregsCopy(this.#current("segment and control").sregs());
  }

  static {
    const define = (name: RegisterName, get: (this: Snapshot) => bigint) =>
      Object.defineProperty(Snapshot.prototype, name, { get, enumerable: true });
    const word = (name: RegisterName, index: number) =>
      define(name, function () {
        return this.#system.words[index];
      });
    for (const name of SREGS_CONTROL) word(name, kvm_sregs.offsets[name] / 8);
    for (const name of SEGMENTS) {
      const first = kvm_sregs.offsets[segmentMember(name)] / 8;
      word(`${name}_base`, first);
      define(name, function () {
        return (this.#system.words[first + 1] >> BigInt((SEGMENT.selector - 8) * 8)) & 0xffffn;
      });
      define(`${name}_limit`, function () {
        return this.#system.words[first + 1] & 0xffff_ffffn;
      });
      define(`${name}_attributes`, function () {
        return attributesOf(this.#system.bytes, first * 8);
      });
    }
    for (const table of ["gdt", "idt"] as const) {
      const first = kvm_sregs.offsets[table] / 8;
      word(`${table}r_base`, first);
      define(`${table}r_limit`, function () {
        return this.#system.words[first + kvm_dtable.offsets.limit / 8] & 0xffffn;
      });
    }
    define("xcr0", function () {
      return this.#fetch("xcr0", "control", (source) => source.xcr0());
    });
    DEBUG.forEach((name, i) =>
      define(name, function () {
        return this.#fetch("debug", "debug", (source) => source.debugRegisters())[i];
      })
    );
    for (const name of [...FPU, ...VECTOR] as xsave.XsaveName[]) {
      define(name, function () {
        return xsave.get(this.#fetch("fpu", "fpu and vector", (source) => source.xsaveArea()), name);
      });
    }
  }

  /** What `console.log` shows: the general registers. */
  [Symbol.for("Deno.customInspect")](): string {
    const all = this as unknown as Registers;
    return `Registers { ${GENERAL.map((name) => `${name}: 0x${all[name].toString(16)}`).join(", ")} }`;
  }
}

/**
 * The general registers as `bigint`s. Making one costs more than reading its two halves, and from one instruction to
 * the next two or three registers change: the others' `bigint`s, which nobody can change, serve again.
 */
class GeneralValues {
  readonly values: bigint[] = GENERAL.map(() => 0n);
  readonly #seen = new Uint32Array(2 * GENERAL.length);

  /** Brings `values` up to date with `struct kvm_regs`, given as bigints and as its halves. */
  update(words: BigUint64Array, halves: Uint32Array): void {
    const seen = this.#seen;
    for (let i = 0; i < GENERAL.length; i++) {
      const low = halves[2 * i], high = halves[2 * i + 1];
      if (seen[2 * i] === low && seen[2 * i + 1] === high) continue;
      seen[2 * i] = low;
      seen[2 * i + 1] = high;
      this.values[i] = words[i];
    }
  }
}

/** Takes snapshots of one vCPU. */
export class Snapshots {
  readonly #page: RunPage;
  readonly #general = new GeneralValues();
  #sregs: SregsCopy | undefined;

  /** @param page Where KVM keeps the registers. */
  constructor(page: RunPage) {
    this.#page = page;
  }

  /**
   * The general registers as the page holds them, and segment and control registers if it holds those of now; `source`
   * is where the rest can be fetched.
   */
  take(source: SlowGroups, sregsFresh: boolean): Registers {
    const { regs, regs32 } = this.#page;
    this.#general.update(regs, regs32);
    const sregs = sregsFresh ? this.#shared() : undefined;
    return new Snapshot(this.#general.values, sregs, source) as unknown as Registers;
  }

  /**
   * Segment and control registers stay the same over most instructions, and comparing them costs less than a copy of
   * their own for each snapshot: a step's time is decided by how much memory it touches.
   */
  #shared(): SregsCopy {
    const { sregs32 } = this.#page;
    if (this.#sregs?.equals(sregs32) !== true) this.#sregs = new SregsCopy(sregs32);
    return this.#sregs;
  }
}
