import { REGISTER_NAMES, type RegisterName } from "../vm/registers.ts";

/** What stubs call otherwise than hvsh does: gdb's own names (gdb/features/i386). */
const OTHER_NAMES: Readonly<Record<string, RegisterName>> = {
  eflags: "rflags",
  eax: "rax",
  ebx: "rbx",
  ecx: "rcx",
  edx: "rdx",
  esi: "rsi",
  edi: "rdi",
  ebp: "rbp",
  esp: "rsp",
  eip: "rip",
  fctrl: "fcw",
  fstat: "fsw",
  ftag: "ftw",
  fioff: "fip",
  fooff: "fdp",
};

const KNOWN: ReadonlySet<string> = new Set(REGISTER_NAMES);

/** hvsh's name for a stub's register; undefined if hvsh knows none such. */
export function registerName(stub: string): RegisterName | undefined {
  const name = stub.toLowerCase();
  return OTHER_NAMES[name] ?? (KNOWN.has(name) ? name as RegisterName : undefined);
}
