/** Registers of HVM and PVH vCPUs: the save record CPU, and which member of it is which register. */

import { hvm_hw_cpu, hvm_save_descriptor } from "../abi/xen.ts";
import { type RegisterName, SEGMENTS } from "../vm/registers.ts";

type Member = keyof typeof hvm_hw_cpu.offsets;

const RECORD = hvm_hw_cpu.offsets;

/** Registers of 64 bits that have the same name in the record. */
// deno-fmt-ignore: rows of eight are easier to check than a column
const SAME = [
  "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
  "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
  "gdtr_base", "idtr_base",
] as const;

/** Access rights of a segment (see `Registers`) from `arbytes`: its bits 8..11 are bits 12..15 of them. */
export function rightsOf(arbytes: number, limit: number): bigint {
  // Xen keeps the VMCB's form (AMD APM vol. 2, 15.5.1): type and P in 0..7, AVL, L, D/B, G in 8..11.
  const rights = (arbytes & 0xff) | (arbytes & 0xf00) << 4;
  return BigInt(rights | ((arbytes & 0x80) === 0 && limit === 0 ? 1 << 16 : 0));
}

function arbytesOf(rights: bigint): number {
  const n = Number(rights);
  return (n & 0xff) | (n >> 4 & 0xf00);
}

/** MSRs that stand in the record, by their number. */
export const RECORD_MSRS: ReadonlyMap<number, Member> = new Map([
  [0x174, "sysenter_cs"],
  [0x175, "sysenter_esp"],
  [0x176, "sysenter_eip"],
  [0xc000_0080, "msr_efer"],
  [0xc000_0081, "msr_star"],
  [0xc000_0082, "msr_lstar"],
  [0xc000_0083, "msr_cstar"],
  [0xc000_0084, "msr_syscall_mask"],
  [0xc000_0100, "fs_base"],
  [0xc000_0101, "gs_base"],
  [0xc000_0102, "shadow_gs"],
  [0xc000_0103, "msr_tsc_aux"],
]);

/** A vCPU's record of a kind in a domain's whole state, in place; undefined if there is none. */
export function recordIn(image: Uint8Array, code: number, vcpu: number): Uint8Array | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  for (let at = 0; at + hvm_save_descriptor.size <= image.length;) {
    const { typecode, instance, length } = hvm_save_descriptor.read(view, at);
    at += hvm_save_descriptor.size;
    if (typecode === code && instance === vcpu) return image.subarray(at, at + length);
    at += length;
  }
  return undefined;
}

/** Every register that the record holds. */
export function readRecord(record: Uint8Array): Map<RegisterName, bigint> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const long = (member: Member) => view.getBigUint64(RECORD[member], true);
  const word = (member: Member) => view.getUint32(RECORD[member], true);
  const values = new Map<RegisterName, bigint>(SAME.map((name) => [name, long(name)]));
  values.set("efer", long("msr_efer"));
  for (const name of SEGMENTS) {
    values.set(name, BigInt(word(`${name}_sel`) & 0xffff));
    values.set(`${name}_base`, long(`${name}_base`));
    values.set(`${name}_limit`, BigInt(word(`${name}_limit`)));
    values.set(`${name}_attributes`, rightsOf(word(`${name}_arbytes`), word(`${name}_limit`)));
  }
  values.set("gdtr_limit", BigInt(word("gdtr_limit") & 0xffff));
  values.set("idtr_limit", BigInt(word("idtr_limit") & 0xffff));
  return values;
}

/** Writes one register into the record; false if it does not stand there. */
export function writeRecord(record: Uint8Array, name: RegisterName, value: bigint): boolean {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const [base, part] = name.split("_") as [string, string | undefined];
  if (name === "efer") view.setBigUint64(RECORD.msr_efer, value, true);
  else if ((SAME as readonly string[]).includes(name)) view.setBigUint64(RECORD[name as Member], value, true);
  else if (name === "gdtr_limit" || name === "idtr_limit") view.setUint32(RECORD[name], Number(value), true);
  else if (!(SEGMENTS as readonly string[]).includes(base)) return false;
  else if (part === undefined) view.setUint32(RECORD[`${base}_sel` as Member], Number(value), true);
  else if (part === "base") view.setBigUint64(RECORD[name as Member], value, true);
  else if (part === "limit") view.setUint32(RECORD[name as Member], Number(value), true);
  else view.setUint32(RECORD[`${base}_arbytes` as Member], arbytesOf(value), true);
  return true;
}
