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
 * a written one. The others are worked out when they are read.
 */
class Snapshot {
  readonly rax: bigint;
  readonly rbx: bigint;
  readonly rcx: bigint;
  readonly rdx: bigint;
  readonly rsi: bigint;
  readonly rdi: bigint;
  readonly rsp: bigint;
  readonly rbp: bigint;
  readonly r8: bigint;
  readonly r9: bigint;
  readonly r10: bigint;
  readonly r11: bigint;
  readonly r12: bigint;
  readonly r13: bigint;
  readonly r14: bigint;
  readonly r15: bigint;
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly #sregs: SregsCopy;
  readonly #source: SlowGroups;
  readonly #generation: number;
  #fetched: Fetched | undefined;

  /** @param words `struct kvm_regs`. */
  constructor(words: BigUint64Array, sregs: SregsCopy, source: SlowGroups) {
    this.#sregs = sregs;
    this.#source = source;
    this.#generation = source.generation;
    this.rax = words[0];
    this.rbx = words[1];
    this.rcx = words[2];
    this.rdx = words[3];
    this.rsi = words[4];
    this.rdi = words[5];
    this.rsp = words[6];
    this.rbp = words[7];
    this.r8 = words[8];
    this.r9 = words[9];
    this.r10 = words[10];
    this.r11 = words[11];
    this.r12 = words[12];
    this.r13 = words[13];
    this.r14 = words[14];
    this.r15 = words[15];
    this.rip = words[16];
    this.rflags = words[17];
  }

  /** A slower group, fetched when it is first read: if that is still the moment of the rest. */
  #fetch<Group extends keyof Fetched>(
    group: Group,
    name: string,
    read: (source: SlowGroups) => NonNullable<Fetched[Group]>,
  ): NonNullable<Fetched[Group]> {
    const fetched = this.#fetched ??= {};
    const present = fetched[group];
    if (present !== undefined) return present;
    if (this.#source.generation === this.#generation) return fetched[group] = read(this.#source);
    throw new StateError(
      `These registers are of an earlier moment, and the ${name} group was not read then.`,
      "stale",
      {
        remedy: "Ask for registers() again, or read one of the group before the guest goes on.",
      },
    );
  }

  static {
    const define = (name: RegisterName, get: (this: Snapshot) => bigint) =>
      Object.defineProperty(Snapshot.prototype, name, { get, enumerable: true });
    const word = (name: RegisterName, index: number) =>
      define(name, function () {
        return this.#sregs.words[index];
      });
    for (const name of SREGS_CONTROL) word(name, kvm_sregs.offsets[name] / 8);
    for (const name of SEGMENTS) {
      const first = kvm_sregs.offsets[segmentMember(name)] / 8;
      word(`${name}_base`, first);
      define(name, function () {
        return (this.#sregs.words[first + 1] >> BigInt((SEGMENT.selector - 8) * 8)) & 0xffffn;
      });
      define(`${name}_limit`, function () {
        return this.#sregs.words[first + 1] & 0xffff_ffffn;
      });
      define(`${name}_attributes`, function () {
        return attributesOf(this.#sregs.bytes, first * 8);
      });
    }
    for (const table of ["gdt", "idt"] as const) {
      const first = kvm_sregs.offsets[table] / 8;
      word(`${table}r_base`, first);
      define(`${table}r_limit`, function () {
        return this.#sregs.words[first + kvm_dtable.offsets.limit / 8] & 0xffffn;
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

/** Takes snapshots of one vCPU. */
export class Snapshots {
  readonly #page: RunPage;
  #sregs: SregsCopy | undefined;

  /** @param page Where KVM keeps the registers. */
  constructor(page: RunPage) {
    this.#page = page;
  }

  /**
   * The general, segment and control registers as the page holds them; `source` is where the rest can be fetched.
   *
   * Segment and control registers stay the same over most instructions, and comparing them costs less than a copy of
   * their own for each snapshot: a step's time is decided by how much memory it touches.
   */
  take(source: SlowGroups): Registers {
    const { regs, sregs32 } = this.#page;
    if (this.#sregs === undefined || !this.#sregs.equals(sregs32)) this.#sregs = new SregsCopy(sregs32);
    return new Snapshot(regs, this.#sregs, source) as unknown as Registers;
  }
}
