/** A Linux kernel in guest memory: where it lies, what it is called, its symbols. */
import { FaultError } from "../vm/errors.ts";
import type { Machine, PhysicalMemory, Vcpu } from "../vm/machine.ts";
import { printableName } from "../vm/printable.ts";
import type { MachinePaging } from "../vm/registers.ts";
import { isCanonical, pagingMode } from "../x86/mode.ts";
import type { WalkRegisters } from "../x86/paging.ts";
import { findKallsyms, type Kallsyms, type KernelSymbol } from "./kallsyms.ts";
import { PagedReader } from "./paged_reader.ts";

/** What is needed of a machine. */
export type Guest = Pick<Machine, "memory" | "vcpus">;

/** A kernel that was found. */
export interface Kernel {
  /** "Linux version 6.1.0-56-amd64 (...) ...", as it is in memory; printable. */
  readonly banner: string;
  /** "6.1.0-56-amd64". */
  readonly release: string;
  /** Guest-physical address of its first byte (`_text`). */
  readonly physical: bigint;
  /** What is added to a linear address of the image to get the guest-physical one, modulo 2^64. */
  readonly delta: bigint;
  /** Its symbol table. */
  readonly kallsyms: Kallsyms;
  /** The first symbol with a name. */
  lookup(name: string): bigint | undefined;
  /** Memory through the kernel's own page tables, as it is now. */
  reader(): PagedReader;
}

/** Images are aligned to 2 MiB at least, by physical and linear address (CONFIG_PHYSICAL_ALIGN). */
const ALIGN = 1n << 21n;
/** The image has 1 GiB at most (KERNEL_IMAGE_SIZE). */
const IMAGE = 1n << 30n;
/** How far above the entry code the symbol table is looked for first. */
const NEAR = 64n << 20n;
const BANNER = "Linux version ";
const MOST_BANNER = 512;

const PG_PE = 1n << 31n | 1n;
const PAE = 1n << 5n;
const LA57 = 1n << 12n;
/** EFER with LME, LMA and NXE. */
const LONG = 1n << 8n | 1n << 10n | 1n << 11n;

/**
 * Finds the kernel of a guest by its symbol table; undefined if there is none.
 *
 * @param options `near`: looks only from there on, where it is quick: see `entryCode`.
 */
export async function findKernel(
  guest: Guest,
  options: { readonly near?: bigint } = {},
): Promise<Kernel | undefined> {
  const { regions } = guest.memory;
  const last = regions[regions.length - 1];
  if (last === undefined) return undefined;
  const end = last.start + last.size;
  const near = options.near ?? await entryCode(guest.vcpus);
  const ranges: [bigint, bigint][] = [];
  if (near !== undefined && near < end) {
    ranges.push([near & ~(ALIGN - 1n), near + NEAR < end ? near + NEAR : end]);
  }
  if (options.near === undefined) ranges.push([0n, end]);
  for (const [from, to] of ranges) {
    for await (const kallsyms of findKallsyms(guest.memory, from, to)) {
      const kernel = await placed(guest, kallsyms);
      if (kernel !== undefined) return kernel;
    }
  }
  return undefined;
}

/** Whether the kernel is still where it was: another may have been booted. */
export async function stillThere(memory: PhysicalMemory, kernel: Kernel): Promise<boolean> {
  const banner = kernel.lookup("linux_banner");
  if (banner === undefined) return false;
  return await bannerAt(memory, BigInt.asUintN(64, banner + kernel.delta)) === kernel.banner;
}

/**
 * Guest-physical address of the handler of vector 0, by a vCPU's interrupt descriptor table (SDM vol. 3A, 6.14.1):
 * it lies in the kernel's text, even with page tables of a process. Saves the search of all memory.
 */
export async function entryCode(vcpus: readonly Vcpu[]): Promise<bigint | undefined> {
  for (const vcpu of vcpus) {
    const registers = await vcpu.registers();
    if (!isLong(registers)) continue;
    try {
      const gate = await vcpu.memory.read(registers.idtr_base, 16);
      const view = new DataView(gate.buffer, gate.byteOffset, gate.byteLength);
      const handler = BigInt(view.getUint16(0, true)) | BigInt(view.getUint16(6, true)) << 16n |
        BigInt(view.getUint32(8, true)) << 32n;
      if (!isCanonical(handler, 57)) continue;
      const { gpa } = await vcpu.memory.translate(handler);
      if (gpa !== undefined) return gpa;
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
  }
  return undefined;
}

function isLong(registers: WalkRegisters): boolean {
  const mode = pagingMode(registers);
  return mode === "4-level" || mode === "5-level";
}

/** The kernel that a symbol table belongs to: where its image lies, which its banner proves. */
async function placed(guest: Guest, kallsyms: Kallsyms): Promise<Kernel | undefined> {
  const byName = new Map<string, KernelSymbol>();
  for (const symbol of kallsyms.symbols) if (!byName.has(symbol.name)) byName.set(symbol.name, symbol);
  const lookup = (name: string) => byName.get(name)?.address;
  const text = lookup("_text") ?? lookup("_stext");
  const banner = lookup("linux_banner");
  if (text === undefined || banner === undefined || banner < text || banner - text > IMAGE) return undefined;
  // The symbol table lies in the image too, so the image starts at most 1 GiB below it.
  const lowest = kallsyms.at > IMAGE ? kallsyms.at - IMAGE : 0n;
  const highest = kallsyms.at - kallsyms.at % ALIGN;
  for (let start = highest + text % ALIGN; start >= lowest; start -= ALIGN) {
    const said = await bannerAt(guest.memory, start + (banner - text));
    if (said === undefined) continue;
    const delta = BigInt.asUintN(64, start - text);
    const tables = lookup("init_top_pgt") ?? lookup("init_level4_pgt");
    if (tables === undefined) return undefined;
    const registers = await walkRegisters(guest.vcpus, BigInt.asUintN(64, tables + delta));
    return {
      banner: said,
      release: said.slice(BANNER.length).split(" ", 1)[0],
      physical: start,
      delta,
      kallsyms,
      lookup,
      reader: () => new PagedReader(guest.memory, registers),
    };
  }
  return undefined;
}

async function bannerAt(memory: PhysicalMemory, at: bigint): Promise<string | undefined> {
  const region = memory.regions.find(({ start, size }) =>
    at >= start && at + BigInt(MOST_BANNER) <= start + size
  );
  if (region === undefined) return undefined;
  const text = new TextDecoder("latin1").decode(await memory.read(at, MOST_BANNER));
  if (!text.startsWith(BANNER)) return undefined;
  return printableName(text.split(/[\n\0]/, 1)[0]);
}

/** @param root Guest-physical address of the top table. */
async function walkRegisters(vcpus: readonly Vcpu[], root: bigint): Promise<WalkRegisters> {
  let cr4 = PAE;
  // A paravirtual kernel's tables hold machine addresses.
  let machine: MachinePaging = {};
  for (const vcpu of vcpus) {
    const registers = await vcpu.registers();
    if (isLong(registers)) {
      cr4 |= registers.cr4 & LA57;
      machine = registers as MachinePaging;
      break;
    }
  }
  const { physicalOf } = machine;
  return { cr0: PG_PE, cr3: root, cr4, efer: LONG, root, ...(physicalOf && { physicalOf }) };
}
