/**
 * Instructions that leave an HVM guest on AMD, and that Xen finishes itself. With RFLAGS.TF set it then gives the guest
 * the #DB (__update_guest_eip of its svm.c), past every monitor: a step of one would end in the guest's own handler,
 * or in a triple fault. So they are known by their bytes, and not stepped.
 */

/** Operand-size, address-size, REP, REPNE, LOCK and segment prefixes (SDM vol. 2A, 2.1.1). */
const PREFIXES = new Set([0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]);

/** One-byte opcodes. */
const PLAIN = new Map<number, string>([
  ...[0x6c, 0x6d].map((code): [number, string] => [code, "INS"]),
  ...[0x6e, 0x6f].map((code): [number, string] => [code, "OUTS"]),
  ...[0xe4, 0xe5, 0xec, 0xed].map((code): [number, string] => [code, "IN"]),
  ...[0xe6, 0xe7, 0xee, 0xef].map((code): [number, string] => [code, "OUT"]),
  [0xf4, "HLT"],
]);

/** Opcodes behind 0x0f. */
const ESCAPED = new Map<number, string>([
  [0x08, "INVD"],
  [0x09, "WBINVD"],
  ...[0x20, 0x22].map((code): [number, string] => [code, "MOV CR"]),
  ...[0x21, 0x23].map((code): [number, string] => [code, "MOV DR"]),
  [0x30, "WRMSR"],
  [0x31, "RDTSC"],
  [0x32, "RDMSR"],
  [0x33, "RDPMC"],
  [0xa2, "CPUID"],
]);

/** ModRM bytes behind 0x0f 0x01. */
const GROUP_7 = new Map<number, string>([
  [0xc8, "MONITOR"],
  [0xc9, "MWAIT"],
  [0xd1, "XSETBV"],
  [0xd9, "VMMCALL"],
  [0xf9, "RDTSCP"],
]);

/** By the middle bits of ModRM: behind 0x0f 0x00, and behind 0x0f 0x01. */
const GROUP_6 = ["SLDT", "STR", "LLDT", "LTR"];
const TABLES = ["SGDT", "SIDT", "LGDT", "LIDT"];

/** The most bytes that are looked at. */
export const LOOK_AT = 15;

/**
 * The name of the instruction that `code` starts with, if it is one of those.
 *
 * @param long Whether REX prefixes are prefixes: in 64-bit code.
 * @param descriptors Whether accesses to the registers of descriptor tables leave the guest, too.
 */
export function finishedByXen(code: Uint8Array, long: boolean, descriptors = false): string | undefined {
  let at = 0;
  while (PREFIXES.has(code[at])) at++;
  if (long && (code[at] & 0xf0) === 0x40) at++;
  if (code[at] !== 0x0f) return PLAIN.get(code[at]);
  const modrm = code[at + 2];
  if (descriptors) {
    // Group 6 up to LTR; of group 7 those with a memory operand (SDM vol. 2D, table A-6).
    if (code[at + 1] === 0x00) return GROUP_6[modrm >> 3 & 7];
    if (code[at + 1] === 0x01 && modrm < 0xc0 && (modrm >> 3 & 7) < 4) return TABLES[modrm >> 3 & 3];
  }
  if (code[at + 1] !== 0x01) return ESCAPED.get(code[at + 1]);
  // INVLPG is /7 with a memory operand; LMSW /6 writes CR0.
  if (modrm < 0xc0 && (modrm >> 3 & 7) === 7) return "INVLPG";
  return (modrm >> 3 & 7) === 6 ? "LMSW" : GROUP_7.get(modrm);
}
