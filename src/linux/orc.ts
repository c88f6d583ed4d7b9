/**
 * ORC, the tables by which Linux unwinds its own stack (Documentation/arch/x86/orc-unwinder.rst,
 * arch/x86/include/asm/orc_types.h): for each address, where the caller's stack pointer and RBP are.
 */
import type { Field } from "./btf.ts";
import type { Kernel } from "./kernel.ts";
import type { KernelModule } from "./modules.ts";
import type { PagedReader } from "./paged_reader.ts";
import type { KernelTypes } from "./types.ts";

/** What an offset is counted from (ORC_REG_*). */
export const ORC_REG = {
  undefined: 0,
  previousSp: 1,
  dx: 2,
  di: 3,
  bp: 4,
  sp: 5,
  r10: 6,
  r13: 7,
  bpIndirect: 8,
  spIndirect: 9,
} as const;

/** How to get from one frame to the one before. */
export interface OrcEntry {
  /** What `spOffset` is counted from. */
  readonly spReg: number;
  /** What `bpOffset` is counted from. */
  readonly bpReg: number;
  /** Bytes. */
  readonly spOffset: number;
  /** Bytes. */
  readonly bpOffset: number;
  /** What lies there: a return address, all registers (struct pt_regs), or what IRET takes. */
  readonly type: "undefined" | "end" | "call" | "regs" | "iret" | "unknown";
}

/** For a null pointer that was called: only the return address has been pushed. */
export const NULL_CALL: OrcEntry = {
  spReg: ORC_REG.sp,
  spOffset: 8,
  bpReg: ORC_REG.undefined,
  bpOffset: 0,
  type: "call",
};
/** For code without entries (BPF): as if it kept frame pointers. */
export const FRAME_POINTER: OrcEntry = {
  spReg: ORC_REG.bp,
  spOffset: 16,
  bpReg: ORC_REG.previousSp,
  bpOffset: -16,
  type: "call",
};

/** struct orc_entry: two offsets of 16 bits, then bit fields. */
const ENTRY_BYTES = 6;
/** A kernel has a million entries. */
const MOST_ENTRIES = 1 << 24;
const TYPES_OLD = ["call", "regs", "iret"] as const;
const TYPES_NEW = ["undefined", "end", "call", "regs", "iret"] as const;

/** A pair of tables: addresses, relative to where they stand, and entries. */
interface Tables {
  readonly from: bigint;
  readonly to: bigint;
  readonly ips: bigint;
  readonly entries: bigint;
  readonly count: number;
}

/** The ORC tables of a kernel and its modules. */
export class Orc {
  readonly #memory: PagedReader;
  readonly #layout: Layout;
  readonly #tables: readonly Tables[];

  private constructor(memory: PagedReader, layout: Layout, tables: readonly Tables[]) {
    this.#memory = memory;
    this.#layout = layout;
    this.#tables = tables;
  }

  /** The tables of a kernel; undefined if it was built with another unwinder. @throws {FaultError} */
  static async of(
    kernel: Kernel,
    memory: PagedReader,
    types: KernelTypes,
    modules: readonly KernelModule[],
  ): Promise<Orc | undefined> {
    const [ips, ipsEnd, entries] = ["__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind"]
      .map(kernel.lookup);
    const from = kernel.lookup("_stext");
    const to = kernel.lookup("_end");
    const layout = layoutOf(types);
    if (
      ips === undefined || ipsEnd === undefined || entries === undefined || from === undefined ||
      to === undefined || layout === undefined
    ) return undefined;
    const tables: Tables[] = [{ from, to, ips, entries, count: bounded(ipsEnd - ips) }];
    const many = types.find("module", "arch.num_orcs");
    if (many !== undefined) {
      const place = (name: string) => BigInt(types.offset("module", `arch.${name}`));
      for (const { address, ranges } of modules) {
        const count = Math.min(MOST_ENTRIES, Number(await memory.uint(address + BigInt(many), 4)));
        const own = {
          ips: await memory.u64(address + place("orc_unwind_ip")),
          entries: await memory.u64(address + place("orc_unwind")),
          count,
        };
        for (const { start, size } of ranges) {
          tables.push({ from: start, to: BigInt.asUintN(64, start + BigInt(size)), ...own });
        }
      }
    }
    return new Orc(memory, layout, tables);
  }

  /**
   * The entry for an address: the last that does not start behind it.
   *
   * @throws {FaultError} If a table leads nowhere.
   */
  async find(ip: bigint): Promise<OrcEntry | undefined> {
    const tables = this.#tables.find(({ from, to }) => ip >= from && ip < to);
    if (tables === undefined || tables.count === 0) return undefined;
    let low = 0;
    let high = tables.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = tables.ips + BigInt(4 * middle);
      const start = BigInt.asUintN(64, at + BigInt.asIntN(32, await this.#memory.uint(at, 4)));
      if (start <= ip) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const bytes = await this.#memory.read(tables.entries + BigInt(ENTRY_BYTES * (low - 1)), ENTRY_BYTES);
    return this.#layout.decode(bytes);
  }
}

function bounded(bytes: bigint): number {
  return bytes > 0n && bytes / 4n <= BigInt(MOST_ENTRIES) ? Number(bytes / 4n) : 0;
}

/** The bit fields have changed: up to 6.3 there was a bit `end`, from 6.4 it is a type. */
interface Layout {
  decode(bytes: Uint8Array): OrcEntry;
}

function layoutOf(types: KernelTypes): Layout | undefined {
  const field = (name: string) => types.field("orc_entry", name);
  const [spReg, bpReg, type, end] = [field("sp_reg"), field("bp_reg"), field("type"), field("end")];
  if (spReg === undefined || bpReg === undefined || type === undefined) return undefined;
  return {
    decode: (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const kind = bits(bytes, type);
      const sp = bits(bytes, spReg);
      return {
        spOffset: view.getInt16(0, true),
        bpOffset: view.getInt16(2, true),
        spReg: sp,
        bpReg: bits(bytes, bpReg),
        type: end === undefined
          ? TYPES_NEW[kind] ?? "unknown"
          : sp === ORC_REG.undefined
          ? bits(bytes, end) === 1 ? "end" : "undefined"
          : TYPES_OLD[kind] ?? "unknown",
      };
    },
  };
}

/** A bit field; zero where it does not lie in the entry. */
function bits(bytes: Uint8Array, { bitOffset, bits: width = 8 }: Field): number {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return Number(BigInt.asUintN(width, value >> BigInt(Math.min(bitOffset, 64))));
}
