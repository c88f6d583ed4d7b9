/**
 * ELF core files of a whole machine, as kdump and QEMU's dump-guest-memory write them and as crash(8) and gdb read
 * them: PT_LOAD segments by physical address, a NT_PRSTATUS for each vCPU, and VMCOREINFO where there is one.
 */
import type { Registers } from "../vm/registers.ts";
import { PT_LOAD, PT_NOTE } from "./elf.ts";

/** A stretch of memory of a core file. */
export interface CoreSegment {
  /** Guest-physical address (p_paddr). */
  readonly physical: bigint;
  /** The linear address that debuggers find it by (p_vaddr). */
  readonly linear: bigint;
  /** Bytes. */
  readonly size: bigint;
}

/** A kernel's image: memory that is in a segment already, by its own linear addresses. */
export type CoreImage = CoreSegment;

/** What the start of a core file is made of. */
export interface CoreParts {
  /** All of memory, sorted, without overlap: it follows the header in this order. */
  readonly memory: readonly CoreSegment[];
  /** Memory that has a second linear address; what does not lie in one segment of `memory` is left out. */
  readonly images: readonly CoreImage[];
  /** Registers of each vCPU, by index. */
  readonly vcpus: readonly Registers[];
  /** VMCOREINFO's lines. */
  readonly vmcoreinfo?: string;
}

/** struct user_regs_struct of x86-64 (sys/user.h), 64 bits each; undefined: orig_rax, which only system calls have. */
// deno-fmt-ignore: rows are easier to check than a column
const USER_REGS = [
  "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", undefined,
  "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
] as const;
/** struct elf_prstatus (sys/procfs.h): the registers stand at 112, the process's number at 32. */
const PRSTATUS_BYTES = 336;
const PRSTATUS_PID = 32;
const PRSTATUS_REGS = 112;
const NT_PRSTATUS = 1;
const NT_VMCOREINFO = 0;

const EHDR_BYTES = 64;
const PHDR_BYTES = 56;
const ET_CORE = 4;
const EM_X86_64 = 62;
const PAGE = 4096;
/** PF_R, PF_W, PF_X. */
const RWX = 7;

/** The core file up to its memory, a multiple of 4096 bytes. */
export function coreHeader(parts: CoreParts): Uint8Array {
  const notes = [
    ...parts.vcpus.map((registers, i) => note("CORE", NT_PRSTATUS, prstatus(registers, i + 1))),
    ...parts.vmcoreinfo === undefined
      ? []
      : [note("VMCOREINFO", NT_VMCOREINFO, new TextEncoder().encode(parts.vmcoreinfo))],
  ];
  const notesBytes = notes.reduce((sum, { length }) => sum + length, 0);
  const located = locate(parts.memory);
  const loads = [...parts.images.flatMap((image) => within(image, located)), ...located];
  const notesAt = EHDR_BYTES + PHDR_BYTES * (1 + loads.length);
  const start = Math.ceil((notesAt + notesBytes) / PAGE) * PAGE;
  const bytes = new Uint8Array(start);
  const view = new DataView(bytes.buffer);
  // ELFCLASS64, ELFDATA2LSB, EV_CURRENT.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_CORE, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(EHDR_BYTES), true);
  view.setUint16(52, EHDR_BYTES, true);
  view.setUint16(54, PHDR_BYTES, true);
  view.setUint16(56, 1 + loads.length, true);
  view.setUint32(EHDR_BYTES, PT_NOTE, true);
  view.setBigUint64(EHDR_BYTES + 8, BigInt(notesAt), true);
  view.setBigUint64(EHDR_BYTES + 32, BigInt(notesBytes), true);
  view.setBigUint64(EHDR_BYTES + 40, BigInt(notesBytes), true);
  view.setBigUint64(EHDR_BYTES + 48, 4n, true);
  loads.forEach(({ physical, linear, size, offset }, i) => {
    const at = EHDR_BYTES + PHDR_BYTES * (1 + i);
    view.setUint32(at, PT_LOAD, true);
    view.setUint32(at + 4, RWX, true);
    [BigInt(start) + offset, linear, physical, size, size].forEach((value, n) =>
      view.setBigUint64(at + 8 + 8 * n, value, true)
    );
  });
  let at = notesAt;
  for (const each of notes) {
    bytes.set(each, at);
    at += each.length;
  }
  return bytes;
}

interface Located extends CoreSegment {
  /** Bytes from the end of the header. */
  readonly offset: bigint;
}

function locate(memory: readonly CoreSegment[]): Located[] {
  let offset = 0n;
  return memory.map((segment) => {
    const here = { ...segment, offset };
    offset += segment.size;
    return here;
  });
}

/** An image shares the bytes of the segment it lies in. */
function within(image: CoreImage, memory: readonly Located[]): Located[] {
  const home = memory.find(({ physical, size }) =>
    image.physical >= physical && image.physical + image.size <= physical + size
  );
  return home === undefined || image.size <= 0n
    ? []
    : [{ ...image, offset: home.offset + (image.physical - home.physical) }];
}

function prstatus(registers: Registers, pid: number): Uint8Array {
  const bytes = new Uint8Array(PRSTATUS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(PRSTATUS_PID, pid, true);
  USER_REGS.forEach((name, i) => {
    const value = name === undefined ? -1n : registers[name];
    view.setBigUint64(PRSTATUS_REGS + 8 * i, BigInt.asUintN(64, value), true);
  });
  return bytes;
}

/** A note (gABI, "Note Section"): sizes, type, name and contents, padded to 4 bytes. */
function note(name: string, type: number, description: Uint8Array): Uint8Array {
  const title = new TextEncoder().encode(`${name}\0`);
  const pad = (n: number) => Math.ceil(n / 4) * 4;
  const bytes = new Uint8Array(12 + pad(title.length) + pad(description.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, title.length, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  bytes.set(title, 12);
  bytes.set(description, 12 + pad(title.length));
  return bytes;
}
