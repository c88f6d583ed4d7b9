/** Exceptions and interrupts by vector (SDM vol. 3A, table 6-1). */
import { decodeFlags } from "./flags.ts";

/** One vector of the first 32. */
export interface ExceptionRow {
  /** 0 to 31. */
  readonly vector: number;
  /** "#DE", "#PF"; "NMI" for vector 2. */
  readonly name: string;
  /** What it is, in words. */
  readonly meaning: string;
  /** Where RIP points: at the instruction (fault), behind it (trap), anywhere (abort); not of the program's making (interrupt). */
  readonly kind: "fault" | "trap" | "fault or trap" | "abort" | "interrupt";
  /** Whether an error code is pushed. */
  readonly errorCode: boolean;
}

function row(
  vector: number,
  name: string,
  meaning: string,
  kind: ExceptionRow["kind"] = "fault",
  errorCode = false,
): ExceptionRow {
  return { vector, name, meaning, kind, errorCode };
}

/** The vectors that are defined; 28 to 30 by AMD (APM vol. 2, table 8-1). */
export const EXCEPTIONS: readonly ExceptionRow[] = [
  row(0, "#DE", "divide error"),
  row(1, "#DB", "debug", "fault or trap"),
  row(2, "NMI", "non-maskable interrupt", "interrupt"),
  row(3, "#BP", "breakpoint", "trap"),
  row(4, "#OF", "overflow", "trap"),
  row(5, "#BR", "bound range exceeded"),
  row(6, "#UD", "invalid opcode"),
  row(7, "#NM", "device not available"),
  row(8, "#DF", "double fault", "abort", true),
  row(9, "#CSO", "coprocessor segment overrun", "abort"),
  row(10, "#TS", "invalid TSS", "fault", true),
  row(11, "#NP", "segment not present", "fault", true),
  row(12, "#SS", "stack-segment fault", "fault", true),
  row(13, "#GP", "general protection", "fault", true),
  row(14, "#PF", "page fault", "fault", true),
  row(16, "#MF", "x87 floating-point error"),
  row(17, "#AC", "alignment check", "fault", true),
  row(18, "#MC", "machine check", "abort"),
  row(19, "#XM", "SIMD floating-point exception"),
  row(20, "#VE", "virtualization exception"),
  row(21, "#CP", "control protection", "fault", true),
  row(28, "#HV", "hypervisor injection", "interrupt"),
  row(29, "#VC", "VMM communication", "fault", true),
  row(30, "#SX", "security exception", "fault", true),
];

const BY_VECTOR = new Map(EXCEPTIONS.map((r) => [r.vector, r]));

/** "#PF" for 14; undefined for a vector that is no exception. */
export function exceptionName(vector: number): string | undefined {
  return BY_VECTOR.get(vector)?.name;
}

/** The whole row of a vector. */
export function exception(vector: number): ExceptionRow | undefined {
  return BY_VECTOR.get(vector);
}

/** The vector of a name, with or without "#", in any case. */
export function exceptionVector(name: string): number | undefined {
  const wanted = name.toUpperCase().replace(/^#/, "");
  return EXCEPTIONS.find((r) => r.name.replace("#", "") === wanted)?.vector;
}

/** Whether delivering the vector pushes an error code (not in real mode). */
export function hasErrorCode(vector: number): boolean {
  return BY_VECTOR.get(vector)?.errorCode ?? false;
}

const CONTROL_PROTECTION = ["", "near RET", "far RET or IRET", "ENDBRANCH", "RSTORSSP", "SETSSBSY"];

/**
 * What an error code says, in words: "not present", "write", "user" for #PF, "selector 0x10 in GDT" for those
 * that carry a selector. Empty for one that says nothing.
 */
export function describeErrorCode(vector: number, code: number): string {
  if (vector === 14) {
    const flags = new Set(decodeFlags("pf-error", BigInt(code >>> 0)));
    const words = [
      flags.has("P") ? flags.has("RSVD") ? "reserved bit" : "protection" : "not present",
      flags.has("I/D") ? "fetch" : flags.has("W/R") ? "write" : "read",
      flags.has("U/S") ? "user" : "supervisor",
    ];
    for (const name of ["PK", "SS", "HLAT", "SGX", "RMP"]) if (flags.has(name)) words.push(name);
    return words.join(", ");
  }
  if (vector === 21) return CONTROL_PROTECTION[code & 0x7fff] ?? "";
  if (code === 0 || ![10, 11, 12, 13].includes(vector)) return "";
  // SDM vol. 3A, 6.13: EXT, IDT, TI, and the selector's index.
  const index = code & 0xfff8;
  const outside = code & 1 ? ", during an external event" : "";
  if (code & 2) return `vector 0x${(index >> 3).toString(16)} in IDT${outside}`;
  return `selector 0x${index.toString(16)} in ${code & 4 ? "LDT" : "GDT"}${outside}`;
}
